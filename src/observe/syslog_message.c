/* Headers in front of lines. The two forms differ because the readers do: over the network RFC
 * 5424, in the socket of this machine the form of syslog(3), which has no host and is the one that
 * every daemon and journald take apart. */
#include "observe/syslog_message.h"

#include "base/check.h"
#include "base/log_field.h"

#include <stdio.h>
#include <string.h>

/* The line's own time and event; "-" for what is not there. */
static void read_head(const char *line, size_t len, char time[40], char event[LOG_KEY_MAX])
{
	struct log_field f;
	size_t at = 0;

	memcpy(time, "-", 2);
	memcpy(event, "-", 2);
	for (int i = 0; i < 3 && log_field_next(line, len, &at, &f); i++) {
		if (strcmp(f.key, "time") == 0 && f.len < 40)
			snprintf(time, 40, "%.*s", (int)f.len, f.value);
		if (strcmp(f.key, "event") == 0 && f.len < 33) /* RFC 5424: MSGID */
			snprintf(event, LOG_KEY_MAX, "%.*s", (int)f.len, f.value);
	}
}

static size_t append(char buf[SYSLOG_MESSAGE_MAX], int header, const char *line, size_t len)
{
	CHECK(header > 0 && header < SYSLOG_HEADER_MAX && len <= LOG_LINE_BYTES);
	memcpy(buf + header, line, len);
	return (size_t)header + len;
}

size_t syslog_message_rfc5424(char buf[SYSLOG_MESSAGE_MAX], const char *host, pid_t pid,
                              const char *line, size_t len)
{
	char time[40];
	char event[LOG_KEY_MAX];

	read_head(line, len, time, event);
	return append(buf,
	              snprintf(buf, SYSLOG_HEADER_MAX, "<%d>1 %s %.255s edgeproxy %d %s - ",
	                       SYSLOG_PRIORITY, time, host[0] != '\0' ? host : "-", (int)pid,
	                       event),
	              line, len);
}

size_t syslog_message_local(char buf[SYSLOG_MESSAGE_MAX], const struct tm *now, pid_t pid,
                            const char *line, size_t len)
{
	static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
	                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

	/* Not strftime(): the names are English whatever the locale. */
	return append(buf,
	              snprintf(buf, SYSLOG_HEADER_MAX, "<%d>%s %2d %02d:%02d:%02d edgeproxy[%d]: ",
	                       SYSLOG_PRIORITY, months[now->tm_mon], now->tm_mday, now->tm_hour,
	                       now->tm_min, now->tm_sec, (int)pid),
	              line, len);
}
