/* Ties a target to a writer, and decides what is said about it: a failure when it begins
 * (access_log_failed), and that it is over (access_log_recovered). Both are the words of the
 * writer's thread, in the main log. Lines that could not be written wait in the buffer, so that a
 * daemon that restarts, or a disk that is full for a while, costs none. */
#include "observe/access_sink.h"

#include "base/clock.h"
#include "base/log.h"
#include "observe/journal_message.h"
#include "observe/log_file.h"
#include "observe/log_socket.h"
#include "observe/syslog_message.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HOST_MAX 256

struct access_sink {
	struct log_target target;
	struct log_writer writer;
	atomic_bool reopen;

	/* The writer's thread's own, once it runs. */
	struct log_file file;
	struct log_socket socket;
	int failure;      /* errno; 0: all is well */
	bool said;        /* that it failed */
	uint64_t say_ms;  /* not before */
	uint64_t well_ms; /* since when a UDP socket has not failed any more; 0: it has */
	char host[HOST_MAX];
};

static bool has_file(const struct access_sink *s)
{
	return s->target.kind == LOG_TARGET_FILE || s->target.kind == LOG_TARGET_STDOUT;
}

/* ---- what is said ---- */

static void log_target(const struct access_sink *s, struct log_line *l)
{
	char text[LOG_TARGET_TEXT_MAX];

	log_str(l, "target", log_target_format(&s->target, text));
}

static const char *advice(int err)
{
	switch (err) {
	case ENOSPC:
	case EDQUOT:
		return "make room on its disk; lines wait in memory, then they are dropped";
	case EFBIG:
		return "its size is limited (ulimit -f): rotate it; lines wait in memory, then "
		       "they are dropped";
	case EACCES:
	case EPERM:
	case EROFS:
		return "let the user of this process write there; it is tried again each second";
	case ENXIO:
		return "nobody reads the FIFO: start its reader; lines wait in memory, then they "
		       "are dropped";
	case ENOENT:
	case ECONNREFUSED:
		return "nobody is there: start who should be; lines wait in memory, then they are "
		       "dropped";
	default:
		return "it is tried again each second; lines wait in memory, then they are dropped";
	}
}

static void note_failure(struct access_sink *s, int err)
{
	uint64_t now_ms = clock_now_ms();
	struct log_line l;

	s->failure = -err;
	s->well_ms = 0;
	if (now_ms < s->say_ms)
		return;
	s->said = true;
	s->say_ms = now_ms + ACCESS_SINK_SAY_MS;
	log_begin(&l, LOG_ERROR, "access_log_failed");
	log_target(s, &l);
	log_errno(&l, err);
	log_str(&l, "advice", advice(-err));
	log_end(&l);
}

static void note_success(struct access_sink *s)
{
	struct log_line l;

	if (s->failure == 0)
		return;
	/* A datagram that went out has not arrived: its refusal comes with a later one. */
	if (s->target.kind == LOG_TARGET_SYSLOG_UDP) {
		uint64_t now_ms = clock_now_ms();

		if (s->well_ms == 0)
			s->well_ms = now_ms;
		if (now_ms - s->well_ms < LOG_RETRY_MS)
			return;
	}
	s->failure = 0;
	if (!s->said)
		return;
	s->said = false;
	log_begin(&l, LOG_INFO, "access_log_recovered");
	log_target(s, &l);
	log_end(&l);
}

static void say_reopened(const struct access_sink *s, const char *by)
{
	struct log_line l;

	log_begin(&l, LOG_INFO, "access_log_reopened");
	log_target(s, &l);
	log_str(&l, "by", by);
	log_end(&l);
}

static void say_dropped(void *arg, uint64_t lines)
{
	struct access_sink *s = arg;
	struct log_line l;

	log_begin(&l, LOG_ERROR, "access_log_dropped");
	log_target(s, &l);
	log_uint(&l, "lines", lines);
	log_end(&l);
}

/* ---- files ---- */

/* Does the error mean that the descriptor will never be good again? Where a disk is full it will.
 */
static bool is_lasting(int err)
{
	return err != -EAGAIN && err != -ENOSPC && err != -EDQUOT && err != -EFBIG;
}

/* 0, or -errno: it is not the file that it should be. */
static int tend_file(struct access_sink *s, bool reopen)
{
	int err;

	if (!reopen && s->file.fd >= 0) {
		err = log_file_follow(&s->file, clock_now_ms());
		if (err > 0)
			say_reopened(s, "rotated");
		return err < 0 ? err : 0;
	}
	err = log_file_open(&s->file);
	if (err == 0 && reopen)
		say_reopened(s, "signal");
	return err;
}

static ssize_t write_file(struct access_sink *s, bool reopen, const char *lines, size_t len)
{
	int err = tend_file(s, reopen);
	ssize_t n = err;

	if (s->file.fd >= 0) {
		n = log_file_write(&s->file, lines, len);
		if (n < 0 && is_lasting((int)n))
			log_file_close(&s->file);
		if (n < 0 && n != -EAGAIN)
			err = (int)n;
	}
	if (err != 0)
		note_failure(s, err);
	else if (n >= 0)
		note_success(s);
	return n;
}

/* ---- sockets ---- */

static int send_line(struct access_sink *s, const char *line, size_t len)
{
	char message[JOURNAL_MESSAGE_MAX > SYSLOG_MESSAGE_MAX ? JOURNAL_MESSAGE_MAX
	                                                      : SYSLOG_MESSAGE_MAX];
	size_t message_len;

	if (s->target.kind == LOG_TARGET_JOURNALD) {
		message_len = journal_message(message, line, len);
	} else if (s->target.kind == LOG_TARGET_SYSLOG) {
		time_t now = time(NULL);
		struct tm tm;

		localtime_r(&now, &tm);
		message_len = syslog_message_local(message, &tm, getpid(), line, len);
	} else {
		message_len = syslog_message_rfc5424(message, s->host, getpid(), line, len);
	}
	return log_socket_send(&s->socket, message, message_len);
}

/* Sends lines until one fails; the bytes of those that went, or -errno. */
static ssize_t send_lines(struct access_sink *s, const char *lines, size_t len)
{
	size_t done = 0;

	while (done < len) {
		const char *end = memchr(lines + done, '\n', len - done);
		int err = send_line(s, lines + done, (size_t)(end - lines) - done);

		/* One that is too long would be too long again. */
		if (err == -EMSGSIZE)
			note_failure(s, err);
		else if (err != 0)
			return done > 0 ? (ssize_t)done : err;
		done = (size_t)(end - lines) + 1;
	}
	return (ssize_t)len;
}

static ssize_t write_socket(struct access_sink *s, bool reopen, const char *lines, size_t len)
{
	int err = reopen || s->socket.fd < 0 ? log_socket_open(&s->socket) : 0;
	ssize_t n;

	if (err != 0) {
		note_failure(s, err);
		return err;
	}
	if (reopen)
		say_reopened(s, "signal");
	n = send_lines(s, lines, len);
	if (n < 0 && n != -EAGAIN) {
		note_failure(s, (int)n);
		log_socket_close(&s->socket);
	} else if (n > 0) {
		note_success(s);
	}
	return n;
}

/* ---- the whole ---- */

static ssize_t write_lines(void *arg, const char *lines, size_t len)
{
	struct access_sink *s = arg;
	bool reopen = atomic_exchange_explicit(&s->reopen, false, memory_order_relaxed);

	return has_file(s) ? write_file(s, reopen, lines, len)
	                   : write_socket(s, reopen, lines, len);
}

/* A file that cannot be opened is somebody's mistake; that nobody is there yet is none. */
static int open_first(struct access_sink *s)
{
	int err = has_file(s) ? log_file_open(&s->file) : log_socket_open(&s->socket);

	if (err == 0)
		return 0;
	if (has_file(s) && err != -ENXIO)
		return err;
	note_failure(s, err);
	return 0;
}

/* For syslog_message_rfc5424(). */
static void read_host(char host[HOST_MAX])
{
	if (gethostname(host, HOST_MAX - 1) != 0)
		host[0] = '\0';
	for (const char *p = host; *p != '\0'; p++)
		if (*p <= ' ' || *p > '~')
			host[0] = '\0';
}

int access_sink_new(const struct log_target *target, struct access_sink **ret_sink)
{
	struct access_sink *s = calloc(1, sizeof(*s));
	int err;

	CHECK(target->kind != LOG_TARGET_STDERR && target->kind != LOG_TARGET_OFF);
	if (s == NULL)
		return -ENOMEM;
	s->target = *target;
	log_writer_init(&s->writer);
	log_file_init(&s->file, target->kind == LOG_TARGET_FILE ? s->target.path : NULL);
	log_socket_init(&s->socket, &s->target);
	read_host(s->host);
	err = open_first(s);
	if (err == 0)
		err = log_writer_start(&s->writer,
		                       &(struct log_writer_options){
					       .name = "access-log",
					       .write = write_lines,
					       .dropped = say_dropped,
					       .dropped_every_ms = ACCESS_SINK_DROPPED_MS,
					       .arg = s,
				       });
	if (err != 0) {
		log_file_close(&s->file);
		log_socket_close(&s->socket);
		free(s);
		return err;
	}
	*ret_sink = s;
	return 0;
}

struct log_writer *access_sink_writer(struct access_sink *s)
{
	return &s->writer;
}

void access_sink_reopen(struct access_sink *s)
{
	atomic_store_explicit(&s->reopen, true, memory_order_relaxed);
	log_writer_wake(&s->writer);
}

uint64_t access_sink_dropped(struct access_sink *s)
{
	return log_writer_dropped(&s->writer);
}

void access_sink_free(struct access_sink *s)
{
	if (s == NULL || !log_writer_stop(&s->writer))
		return; /* nobody reads: it is the thread's until exit() */
	log_file_close(&s->file);
	log_socket_close(&s->socket);
	free(s);
}
