/* A bounded buffer of finished log lines and the thread that writes them: the main log has one, an
 * access log that goes elsewhere has another, so that neither can take the room of the other.
 *
 * Whoever has a line hands it over in one short critical section and never waits for the reader.
 * When the reader is too slow, lines are dropped, counted, and the count is told. */
#ifndef BASE_LOG_WRITER_H
#define BASE_LOG_WRITER_H

#include "base/check.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Bytes of finished lines that may wait for the writer; minor lines have half of them. */
#define LOG_BUFFER_BYTES (1u << 20)
#define LOG_MINOR_BYTES (LOG_BUFFER_BYTES / 2)
/* How long log_writer_stop() waits for the reader to take what is left. */
#define LOG_STOP_SECS 2
/* A write that failed is tried again after so long. */
#define LOG_RETRY_MS 1000

struct log_writer_options {
	const char *name; /* of the thread, up to 15 bytes */
	/* Both are called by the thread alone. write: len bytes that end with a line; they begin
	 * with one too unless part of it has been taken. Returns how many it took; it is called
	 * again with the rest. -EAGAIN: nothing, after a wait of its own, call again; another
	 * -errno: nothing, call again after LOG_RETRY_MS. With len 0 after log_writer_wake(). Not
	 * called any more once lines had to be given up, at the end. */
	ssize_t (*write)(void *arg, const char *lines, size_t len);
	/* So many lines have been dropped since this was last called. */
	void (*dropped)(void *arg, uint64_t lines);
	uint64_t dropped_every_ms; /* it is called so often at most */
	void *arg;
};

struct log_writer {
	struct log_writer_options options;
	pthread_mutex_t lock;
	pthread_cond_t news; /* for the thread */
	pthread_t thread;
	bool running;
	bool stopping;
	bool woken;
	char *filling;       /* callers append here */
	char *writing;       /* the thread's own */
	size_t used;         /* of filling */
	uint64_t lost;       /* lines, since log_writer_init() */
	uint64_t give_up_ms; /* when stopping */

	/* The thread's own. */
	uint64_t told;
	uint64_t tell_ms; /* not before */
};

#define LOG_WRITER_INITIALIZER \
	{ \
		.lock = PTHREAD_MUTEX_INITIALIZER, .news = PTHREAD_COND_INITIALIZER \
	}

/* For one that is not static. */
void log_writer_init(struct log_writer *w);
/* Starts the thread; options are copied. 0 or -errno. */
MUST_CHECK int log_writer_start(struct log_writer *w, const struct log_writer_options *options);
/* Writes what waits and ends the thread. False: nobody takes it. Then the thread, and whatever its
 * callbacks use, are left to exit(). */
bool log_writer_stop(struct log_writer *w);
/* A finished line, from any thread while it runs. */
void log_writer_put(struct log_writer *w, const char *line, size_t len, bool minor);
/* Any thread: write() is called soon, whether there are lines or not, and a wait of LOG_RETRY_MS is
 * cut short. */
void log_writer_wake(struct log_writer *w);
/* For write(): how many of the len bytes, which end with a line, to write at once where somebody
 * else may write as well. A pipe takes a piece as a whole (PIPE_BUF), so no line is torn. Pure. */
size_t log_writer_piece(const char *lines, size_t len);
/* Lines dropped so far. Any thread. */
uint64_t log_writer_dropped(struct log_writer *w);

#endif
