/* What a process has learnt, as bytes: the affinity table, the backends that it names, and what was
 * seen of them. For a restart (control/state_file.h) and for an upgrade (control/handover.h), in
 * one format.
 *
 * A header, then records, each with a type, a length and a checksum, the last of type STATE_END.
 * Records of an unknown type are skipped, so a later version may add some. Numbers are in the order
 * of this machine's bytes: the file stays on the machine. Control thread only. */
#ifndef CONTROL_STATE_H
#define CONTROL_STATE_H

#include "base/check.h"
#include "control/fault_watch.h"
#include "control/state_seen.h"
#include "route/affinity.h"
#include "route/live.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATE_MAGIC "epstate\n"
#define STATE_VERSION 1
#define STATE_BOOT_BYTES 16
/* Of one record's payload; a multiple of 8, as every payload. */
#define STATE_RECORD_MAX (1u << 20)
#define STATE_ERROR_MAX 256

struct state_header {
	char magic[8];
	uint32_t version;
	uint32_t header_bytes;
	/* When it was written, on both clocks: the monotonic one is right for as long as the
	 * machine is up, and means nothing after that. */
	uint64_t wall_ms;
	uint64_t monotonic_ms;
	uint8_t boot[STATE_BOOT_BYTES]; /* the kernel's random id of this boot */
	uint64_t checksum;              /* of what stands before */
};

enum state_type {
	STATE_END = 0,      /* struct state_end */
	STATE_BACKENDS = 1, /* struct state_backend, each with its id behind it */
	STATE_BINDINGS = 2, /* struct state_binding */
	STATE_SEEN = 3,     /* struct state_seen */
};

struct state_record {
	uint32_t type;
	uint32_t bytes; /* of the payload that follows */
	uint64_t checksum;
};

struct state_end {
	uint64_t records; /* before this one */
};

struct state_backend {
	uint32_t slot; /* the writer's; names the backend in the bindings of this file */
	uint32_t generation;
	uint32_t id_bytes; /* 1..BACKEND_ID_MAX; the id is padded to a multiple of 4 with zeroes */
};

struct state_binding {
	uint8_t client[16];
	uint32_t service;
	uint32_t slot;
	uint64_t age_ms; /* since its last use, when the file was written */
};

uint64_t state_checksum(const void *data, size_t bytes, uint64_t seed);

/* ---- writing, in steps ---- */

struct state_times {
	uint64_t wall_ms;
	uint64_t monotonic_ms;
};

struct state_times state_times_now(void);

struct state_writer;

struct state_source {
	const struct live *live;
	const struct fault_watch *faults; /* NULL: nothing of what was seen of backends */
	struct affinity *affinity;        /* NULL: no bindings */
	uint64_t since_ms;                /* of them only what was used then (monotonic) or later */
};

/* fd is borrowed, and what from points to. 0 or -ENOMEM. */
MUST_CHECK int state_writer_new(int fd, const struct state_source *from,
                                struct state_writer **ret_writer);
/* Writes a little more: a good part of a millisecond. 1: there is more to come; 0: that was all;
 * -errno. */
MUST_CHECK int state_writer_step(struct state_writer *w);
/* All that is left. 0 or -errno. */
MUST_CHECK int state_writer_finish(struct state_writer *w);
uint64_t state_writer_bindings(const struct state_writer *w);
void state_writer_free(struct state_writer *w); /* NULL-safe */

/* ---- reading ---- */

/* Called with each backend, what was seen, and binding, in their order, once all of the bytes have
 * been found to be good. The slot of the latter two is one that came before as a backend's. NULL:
 * not wanted. */
struct state_reader {
	/* 0, or -errno, which ends the reading. id has an end. */
	int (*backend)(void *arg, uint32_t slot, uint32_t generation, const char *id);
	void (*binding)(void *arg, const struct state_binding *binding);
	void (*seen)(void *arg, const struct state_seen *seen);
	void *arg;
};

/* Takes any bytes. 0; -EBADMSG (not a state, or a damaged one) or -EPROTO (of another version) with
 * one line in error; what reader->backend() returned. The header is copied once it is good. */
MUST_CHECK int state_parse(const uint8_t *data, size_t bytes, const struct state_reader *reader,
                           struct state_header *ret_header, char error[STATE_ERROR_MAX]);

/* The time since a state was written: by the monotonic clock in the same boot, by the wall clock
 * after another, where a clock that was set back counts as no time at all. */
uint64_t state_age_ms(const struct state_header *h, const struct state_times *now,
                      const uint8_t boot[STATE_BOOT_BYTES]);
/* Zeroes where the kernel does not tell; two such are not the same. */
void state_boot_id(uint8_t ret_boot[STATE_BOOT_BYTES]);

/* ---- reading into the tables ---- */

struct state_import {
	struct live *live;
	struct affinity *affinity;
	uint64_t ttl_ms;
	/* False: it replaces older bindings; true: these are late news of sessions that went on
	 * elsewhere, and a binding to another backend, made meanwhile, is left alone. */
	bool late;
	struct fault_watch *faults; /* NULL: what was seen of backends is not wanted */
};

struct state_summary {
	uint64_t bindings; /* taken over */
	uint64_t expired;
	uint64_t unknown; /* to backends that are not there any more */
	uint64_t faults;  /* backends that have one now because of it */
	uint64_t age_ms;
};

/* Reads all of fd (from its beginning, whatever its offset). Every binding is put at its true age,
 * the oldest first. 0, or -errno with one line in error and nothing taken over. */
MUST_CHECK int state_import(int fd, const struct state_import *to, struct state_summary *ret,
                            char error[STATE_ERROR_MAX]);
/* The bytes of fd, to be freed. 0 or -errno with one line in error. */
MUST_CHECK int state_slurp(int fd, uint8_t **ret_data, size_t *ret_bytes,
                           char error[STATE_ERROR_MAX]);

#endif
