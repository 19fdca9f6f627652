/* The log: one line an event, `key=value` text or JSON, written by a thread of its own
 * (log_writer.h).
 *
 * A line is built in the caller's stack and handed over in one short critical section; the caller
 * never waits for the disk or the terminal. When the reader is too slow, lines are dropped and
 * counted, and the count is logged.
 *
 *     struct log_line l;
 *     log_begin(&l, LOG_WARN, "row_quarantined");
 *     log_str(&l, "column", "port");
 *     log_int(&l, "value", 70000);
 *     log_end(&l);
 *
 * Any thread, after log_start(); before it (and after log_stop()) lines go to standard error at
 * once. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/log_writer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A longer line is cut, at a value's end where possible. */
#define LOG_LINE_BYTES 2048

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

struct log_line {
	struct log_writer *to;
	size_t len;
	bool wanted; /* false: the level is off and every call on this line does nothing */
	bool cut;
	bool minor; /* set behind log_begin(): of a kind of which a flood may come, so it has less
	               room */
	char text[LOG_LINE_BYTES];
};

/* Sets level and format. Call before threads start. */
void log_setup(enum log_level level, enum log_format format);
/* Is this level written? Lets a caller skip work that only a debug line needs. */
bool log_wanted(enum log_level level);

/* Starts the writer thread; 0 or -errno. log_stop() writes what waits and ends the thread; where
 * nobody reads the log any more it gives up after two seconds. */
int log_start(void);
void log_stop(void);
/* Lines dropped since the start because the buffer was full. */
uint64_t log_dropped(void);

void log_begin(struct log_line *l, enum log_level level, const char *event);
/* A line for another writer than the main log's, which runs: at info, whatever level is set. */
void log_begin_to(struct log_line *l, struct log_writer *to, const char *event);
/* A NULL value is left out. Text is escaped; it may hold any bytes. */
void log_str(struct log_line *l, const char *key, const char *value);
void log_strn(struct log_line *l, const char *key, const char *value, size_t len);
void log_int(struct log_line *l, const char *key, int64_t value);
void log_uint(struct log_line *l, const char *key, uint64_t value);
void log_real(struct log_line *l, const char *key, double value);
/* A duration given in nanoseconds, written in milliseconds with three decimals. */
void log_ms(struct log_line *l, const char *key, uint64_t ns);
void log_fmt(struct log_line *l, const char *key, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* "error" with the text of errno value err (positive or negative). */
void log_errno(struct log_line *l, int err);
void log_end(struct log_line *l);
/* The same past the buffer and its lock, for one who must not wait for either: to standard error at
 * once, or, where nobody reads that, nowhere. */
void log_end_at_once(struct log_line *l);

#endif
