/* Between those who have lines and one who writes them.
 *
 * There are two buffers: callers fill one while the thread writes the other, so no caller ever
 * waits for the reader. The thread sleeps a moment (LOG_BATCH_NS) after it is woken, so a busy
 * proxy pays one write and one wake-up for many lines. What cannot be written stays in the thread's
 * buffer and is tried again: a disk that is full for a minute loses nothing, until the other buffer
 * is full as well. From then on lines are dropped and counted: a log that nobody takes must not
 * stop traffic. */
#include "base/log_writer.h"

#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOG_BATCH_NS 5000000
/* Told to stop, the thread itself gives up a slow reader so early that it can still say so. */
#define LOG_GIVE_UP_MS (LOG_STOP_SECS * 1000 - 500)

void log_writer_init(struct log_writer *w)
{
	*w = (struct log_writer)LOG_WRITER_INITIALIZER;
}

/* With the lock held: waits for news, at most until then (0: for ever). False: it is later now. */
static bool wait_for_news(struct log_writer *w, uint64_t until_ms)
{
	const struct timespec until = {.tv_sec = (time_t)(until_ms / 1000),
	                               .tv_nsec = (long)(until_ms % 1000) * 1000000};

	if (until_ms == 0)
		return pthread_cond_wait(&w->news, &w->lock) == 0;
	return pthread_cond_clockwait(&w->news, &w->lock, CLOCK_MONOTONIC, &until) == 0;
}

/* Says what was dropped, unless it has just done so. */
static void tell(struct log_writer *w, bool now)
{
	uint64_t now_ms = clock_now_ms();
	uint64_t lost = log_writer_dropped(w);

	if (lost == w->told || (!now && now_ms < w->tell_ms))
		return;
	w->options.dropped(w->options.arg, lost - w->told);
	w->told = lost;
	w->tell_ms = now_ms + w->options.dropped_every_ms;
}

static void lose(struct log_writer *w, const char *lines, size_t len)
{
	uint64_t count = 0;

	for (size_t i = 0; i < len; i++)
		count += lines[i] == '\n';
	pthread_mutex_lock(&w->lock);
	w->lost += count;
	pthread_mutex_unlock(&w->lock);
}

/* After a failure. True: one more try, then give up. */
static bool rest(struct log_writer *w, bool wait)
{
	uint64_t until_ms = clock_now_ms() + LOG_RETRY_MS;
	bool give_up;

	tell(w, false);
	pthread_mutex_lock(&w->lock);
	while (wait && !w->stopping && !w->woken && wait_for_news(w, until_ms))
		;
	w->woken = false;
	give_up = w->stopping && (wait || clock_now_ms() >= w->give_up_ms);
	pthread_mutex_unlock(&w->lock);
	return give_up;
}

/* False: it had to be given up, and perhaps within a line: nothing may be written behind that. */
static bool write_batch(struct log_writer *w, const char *lines, size_t len)
{
	bool give_up = false;

	while (len > 0) {
		ssize_t n = w->options.write(w->options.arg, lines, len);

		if (n >= 0) {
			lines += n;
			len -= (size_t)n;
		} else if (give_up) {
			lose(w, lines, len);
			return false;
		} else {
			give_up = rest(w, n != -EAGAIN);
		}
	}
	return true;
}

/* With the lock held. False: there is nothing more to do, ever. */
static bool wait_for_work(struct log_writer *w)
{
	while (w->used == 0 && !w->stopping && !w->woken) {
		/* tell() keeps some for later; the thread alone changes told. */
		uint64_t until_ms = w->lost != w->told ? w->tell_ms : 0;

		if (!wait_for_news(w, until_ms))
			break;
	}
	return w->used != 0 || !w->stopping;
}

static void *run(void *arg)
{
	static const struct timespec batch = {.tv_nsec = LOG_BATCH_NS};
	struct log_writer *w = arg;
	bool given_up = false;

	pthread_setname_np(pthread_self(), w->options.name);
	pthread_mutex_lock(&w->lock);
	while (wait_for_work(w)) {
		bool hurry = w->stopping || w->used == 0;

		if (!hurry) {
			pthread_mutex_unlock(&w->lock);
			nanosleep(&batch, NULL);
			pthread_mutex_lock(&w->lock);
		}

		char *lines = w->filling;
		size_t len = w->used;
		bool woken = w->woken;

		w->filling = w->writing;
		w->writing = lines;
		w->used = 0;
		w->woken = false;
		pthread_mutex_unlock(&w->lock);
		if (given_up) {
			lose(w, lines, len);
		} else {
			if (woken)
				(void)w->options.write(w->options.arg, lines, 0);
			given_up = !write_batch(w, lines, len);
		}
		tell(w, false);
		pthread_mutex_lock(&w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	tell(w, true);
	return NULL;
}

int log_writer_start(struct log_writer *w, const struct log_writer_options *options)
{
	int err = ENOMEM;

	w->options = *options;
	w->stopping = false;
	w->filling = malloc(LOG_BUFFER_BYTES);
	w->writing = malloc(LOG_BUFFER_BYTES);
	if (w->filling != NULL && w->writing != NULL)
		err = pthread_create(&w->thread, NULL, run, w);
	w->running = err == 0;
	if (err != 0) {
		free(w->filling);
		free(w->writing);
	}
	return -err;
}

bool log_writer_stop(struct log_writer *w)
{
	struct timespec give_up;

	if (!w->running)
		return true;
	pthread_mutex_lock(&w->lock);
	w->stopping = true;
	w->give_up_ms = clock_now_ms() + LOG_GIVE_UP_MS;
	pthread_cond_signal(&w->news);
	pthread_mutex_unlock(&w->lock);
	w->running = false;
	clock_gettime(CLOCK_REALTIME, &give_up);
	give_up.tv_sec += LOG_STOP_SECS;
	if (pthread_timedjoin_np(w->thread, NULL, &give_up) != 0)
		return false;
	free(w->filling);
	free(w->writing);
	return true;
}

void log_writer_put(struct log_writer *w, const char *line, size_t len, bool minor)
{
	pthread_mutex_lock(&w->lock);
	if (w->used + len > (minor ? LOG_MINOR_BYTES : LOG_BUFFER_BYTES)) {
		w->lost++;
	} else {
		if (w->used == 0)
			pthread_cond_signal(&w->news);
		memcpy(w->filling + w->used, line, len);
		w->used += len;
	}
	pthread_mutex_unlock(&w->lock);
}

void log_writer_wake(struct log_writer *w)
{
	pthread_mutex_lock(&w->lock);
	w->woken = true;
	pthread_cond_signal(&w->news);
	pthread_mutex_unlock(&w->lock);
}

uint64_t log_writer_dropped(struct log_writer *w)
{
	pthread_mutex_lock(&w->lock);
	uint64_t lost = w->lost;
	pthread_mutex_unlock(&w->lock);
	return lost;
}

size_t log_writer_piece(const char *lines, size_t len)
{
	const char *end;

	if (len <= PIPE_BUF)
		return len;
	end = memrchr(lines, '\n', PIPE_BUF);
	return end != NULL ? (size_t)(end - lines) + 1 : PIPE_BUF;
}
