/* The lines of the log: built on the caller's stack, finished, and handed to a writer
 * (log_writer.c), the main log's or another. The main log goes to standard error. */
#include "base/log.h"

#include "base/log_ring.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* How long a line that goes past the buffer may wait for room. */
#define LOG_AT_ONCE_NS 100000000

/* Room that log_end() needs behind the last value: a mark for a cut line, braces, the new line. */
#define LOG_TAIL_BYTES 32

static const char *const level_words[] = {"error", "warn", "info", "debug"};

static enum log_level least_level = LOG_INFO;
static enum log_format line_format;
static struct log_writer main_writer = LOG_WRITER_INITIALIZER;

void log_setup(enum log_level level, enum log_format format)
{
	least_level = level;
	line_format = format;
}

bool log_wanted(enum log_level level)
{
	return level <= least_level;
}

static void write_all(const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDERR_FILENO, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			struct pollfd writable = {.fd = STDERR_FILENO, .events = POLLOUT};

			(void)poll(&writable, 1, -1);
			continue;
		}
		if (n <= 0)
			return; /* nobody is left to tell */
		data += n;
		len -= (size_t)n;
	}
}

static ssize_t write_lines(void *arg, const char *lines, size_t len)
{
	size_t done = 0;

	(void)arg;
	log_ring_note(lines, len);
	/* Other processes of an upgrade, and an access log on standard output, may have the same
	 * pipe. */
	while (done < len) {
		size_t n = log_writer_piece(lines + done, len - done);

		write_all(lines + done, n);
		done += n;
	}
	return (ssize_t)len;
}

static void finish(struct log_line *l);

static void say_dropped(void *arg, uint64_t lines)
{
	struct log_line l;

	(void)arg;
	log_begin(&l, LOG_ERROR, "log_dropped");
	log_uint(&l, "lines", lines);
	finish(&l);
	write_all(l.text, l.len);
}

int log_start(void)
{
	return log_writer_start(&main_writer, &(struct log_writer_options){
						      .name = "log",
						      .write = write_lines,
						      .dropped = say_dropped,
					      });
}

void log_stop(void)
{
	(void)log_writer_stop(&main_writer);
}

uint64_t log_dropped(void)
{
	return log_writer_dropped(&main_writer);
}

static void append(struct log_line *l, const char *data, size_t len)
{
	if (l->cut)
		return;
	if (len > sizeof(l->text) - LOG_TAIL_BYTES - l->len) {
		l->cut = true;
		return;
	}
	memcpy(l->text + l->len, data, len);
	l->len += len;
}

/* The separator and `key=` or `"key":`. */
static void append_key(struct log_line *l, const char *key)
{
	if (line_format == LOG_JSON) {
		append(l, ",\"", 2);
		append(l, key, strlen(key));
		append(l, "\":", 2);
	} else {
		append(l, " ", 1);
		append(l, key, strlen(key));
		append(l, "=", 1);
	}
}

/* The length of the UTF-8 sequence at p, or 0 when the bytes there are none (RFC 3629). */
static size_t utf8_length(const unsigned char *p, size_t left)
{
	size_t n = p[0] < 0x80                   ? 1
	           : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
	           : (p[0] & 0xf0) == 0xe0       ? 3
	                                         : 4;

	if (n == 1)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

/* Between quotes, valid in JSON and readable in text: control bytes as \u00xx, bytes that are not
 * UTF-8 as U+FFFD. */
static void append_quoted(struct log_line *l, const char *value, size_t len)
{
	const unsigned char *p = (const unsigned char *)value;

	append(l, "\"", 1);
	for (size_t i = 0; i < len && !l->cut;) {
		size_t n = utf8_length(p + i, len - i);

		if (p[i] == '"' || p[i] == '\\') {
			append(l, (const char[]){'\\', (char)p[i]}, 2);
		} else if (p[i] < 0x20 || p[i] == 0x7f) {
			char escape[8];

			snprintf(escape, sizeof(escape), "\\u%04x", p[i]);
			append(l, escape, 6);
		} else if (n == 0) {
			append(l, "\xef\xbf\xbd", 3);
		} else {
			append(l, value + i, n);
		}
		i += n == 0 ? 1 : n;
	}
	append(l, "\"", 1);
}

static bool plain(const char *value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (value[i] <= ' ' || value[i] == '"' || value[i] == '=' || value[i] == '\\' ||
		    value[i] > '~')
			return false;
	return len > 0;
}

void log_strn(struct log_line *l, const char *key, const char *value, size_t len)
{
	if (!l->wanted || value == NULL)
		return;

	/* A value that does not fit is left out whole: half a key would not parse. */
	size_t before = l->len;
	bool was_cut = l->cut;

	append_key(l, key);
	if (line_format == LOG_TEXT && plain(value, len))
		append(l, value, len);
	else
		append_quoted(l, value, len);
	if (l->cut && !was_cut)
		l->len = before;
}

void log_str(struct log_line *l, const char *key, const char *value)
{
	if (value != NULL)
		log_strn(l, key, value, strlen(value));
}

static void append_number(struct log_line *l, const char *key, const char *digits, int len)
{
	size_t before = l->len;
	bool was_cut = l->cut;

	append_key(l, key);
	append(l, digits, (size_t)len);
	if (l->cut && !was_cut)
		l->len = before;
}

void log_int(struct log_line *l, const char *key, int64_t value)
{
	char digits[24];

	if (l->wanted)
		append_number(l, key, digits,
		              snprintf(digits, sizeof(digits), "%lld", (long long)value));
}

void log_uint(struct log_line *l, const char *key, uint64_t value)
{
	char digits[24];
	char *p = digits + sizeof(digits);

	if (!l->wanted)
		return;
	/* By hand: the session line has many of these, and printf is the larger part of its cost.
	 */
	do {
		*--p = (char)('0' + value % 10);
		value /= 10;
	} while (value != 0);
	append_number(l, key, p, (int)(digits + sizeof(digits) - p));
}

void log_real(struct log_line *l, const char *key, double value)
{
	char digits[32];

	if (l->wanted)
		append_number(l, key, digits, snprintf(digits, sizeof(digits), "%.6g", value));
}

void log_ms(struct log_line *l, const char *key, uint64_t ns)
{
	char digits[32];
	char *p = digits + sizeof(digits);
	uint64_t us = ns / 1000;

	if (!l->wanted)
		return;
	for (int i = 0; us != 0 || i < 4; i++) {
		*--p = (char)('0' + us % 10);
		us /= 10;
		if (i == 2)
			*--p = '.';
	}
	append_number(l, key, p, (int)(digits + sizeof(digits) - p));
}

void log_fmt(struct log_line *l, const char *key, const char *format, ...)
{
	char text[LOG_LINE_BYTES];
	va_list args;

	if (!l->wanted)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_str(l, key, text);
}

void log_errno(struct log_line *l, int err)
{
	char text[128];

	if (l->wanted)
		log_str(l, "error", strerror_r(err < 0 ? -err : err, text, sizeof(text)));
}

/* "2026-11-22T02:03:43.123456Z". The date is worked out once a second and a thread. */
static void append_time(struct log_line *l)
{
	static _Thread_local time_t second = -1;
	static _Thread_local char text[32];
	struct timespec now;
	char digits[8];

	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec != second) {
		struct tm tm;

		gmtime_r(&now.tv_sec, &tm);
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
		second = now.tv_sec;
	}
	append(l, text, 19);
	for (int i = 6, us = (int)(now.tv_nsec / 1000); i > 0; i--, us /= 10)
		digits[i] = (char)('0' + us % 10);
	digits[0] = '.';
	digits[7] = 'Z';
	append(l, digits, 8);
}

static void begin(struct log_line *l, struct log_writer *to, bool wanted, enum log_level level,
                  const char *event)
{
	l->to = to;
	l->wanted = wanted;
	l->len = 0;
	l->cut = false;
	l->minor = false;
	if (!l->wanted)
		return;
	if (line_format == LOG_JSON) {
		append(l, "{\"time\":\"", 9);
		append_time(l);
		append(l, "\"", 1);
	} else {
		append(l, "time=", 5);
		append_time(l);
	}
	log_str(l, "level", level_words[level]);
	log_str(l, "event", event);
}

void log_begin(struct log_line *l, enum log_level level, const char *event)
{
	begin(l, &main_writer, log_wanted(level), level, event);
}

void log_begin_to(struct log_line *l, struct log_writer *to, const char *event)
{
	begin(l, to, true, LOG_INFO, event);
}

/* What ends every line. */
static void finish(struct log_line *l)
{
	if (l->cut) {
		static const char text_mark[] = " cut=1", json_mark[] = ",\"cut\":1";
		const char *mark = line_format == LOG_JSON ? json_mark : text_mark;

		memcpy(l->text + l->len, mark, strlen(mark));
		l->len += strlen(mark);
	}
	if (line_format == LOG_JSON)
		l->text[l->len++] = '}';
	l->text[l->len++] = '\n';
}

void log_end_at_once(struct log_line *l)
{
	static const struct timespec patience = {.tv_nsec = LOG_AT_ONCE_NS};
	struct pollfd writable = {.fd = STDERR_FILENO, .events = POLLOUT};

	if (!l->wanted)
		return;
	finish(l);
	/* A pipe that has room has it for a whole line (PIPE_BUF). */
	if (ppoll(&writable, 1, &patience, NULL) > 0) {
		ssize_t ignored = write(STDERR_FILENO, l->text, l->len);

		(void)ignored;
	}
}

void log_end(struct log_line *l)
{
	if (!l->wanted)
		return;
	finish(l);
	if (l->to->running)
		log_writer_put(l->to, l->text, l->len, l->minor);
	else
		write_all(l->text, l->len);
}
