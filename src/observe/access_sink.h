/* Where the lines about sessions go when they do not go to the main log: a bounded buffer and a
 * thread of its own (base/log_writer.h), and behind it a file, standard output, a syslog daemon or
 * the journal. What goes wrong there is said in the main log, once, and tried on; nobody who hands
 * over lines notices. */
#ifndef OBSERVE_ACCESS_SINK_H
#define OBSERVE_ACCESS_SINK_H

#include "base/check.h"
#include "base/log_writer.h"
#include "net/log_target.h"

#include <stdint.h>

/* A failure that goes on, and one that comes back, is said so often. */
#define ACCESS_SINK_SAY_MS 60000
/* How many lines have been dropped is said so often, and at the end. */
#define ACCESS_SINK_DROPPED_MS 10000

struct access_sink;

/* Copies target, which is not LOG_TARGET_STDERR or LOG_TARGET_OFF. 0; -ENOMEM; for a file that
 * cannot be opened -errno. A daemon that is not there yet, or a FIFO without a reader, is waited
 * for. */
MUST_CHECK int access_sink_new(const struct log_target *target, struct access_sink **ret_sink);
/* For log_begin_to(); from any thread. */
struct log_writer *access_sink_writer(struct access_sink *s);
/* Opens the file, or connects, anew, soon. Any thread. */
void access_sink_reopen(struct access_sink *s);
/* Lines that were dropped so far. Any thread. */
uint64_t access_sink_dropped(struct access_sink *s);
/* Writes what waits, for two seconds at most, and frees. Nobody uses its writer any more.
 * NULL-safe. */
void access_sink_free(struct access_sink *s);

#endif
