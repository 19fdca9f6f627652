/* A line of the log as a syslog message. Pure; any thread. */
#ifndef OBSERVE_SYSLOG_MESSAGE_H
#define OBSERVE_SYSLOG_MESSAGE_H

#include "base/log.h"

#include <stddef.h>
#include <sys/types.h>
#include <time.h>

/* Facility local0, severity informational (RFC 5424, 6.2.1). */
#define SYSLOG_PRIORITY (16 * 8 + 6)
#define SYSLOG_HEADER_MAX 512
#define SYSLOG_MESSAGE_MAX (LOG_LINE_BYTES + SYSLOG_HEADER_MAX)

/* As RFC 5424 has it, for the network: host (up to 255 bytes of visible ASCII; "" for none) and
 * process, the event as MSGID, the time of the line. line: finished, len bytes, without its end.
 * Returns the length. */
size_t syslog_message_rfc5424(char buf[SYSLOG_MESSAGE_MAX], const char *host, pid_t pid,
                              const char *line, size_t len);
/* As syslog(3) sends it to the daemon of this machine: now is in the machine's own time zone. */
size_t syslog_message_local(char buf[SYSLOG_MESSAGE_MAX], const struct tm *now, pid_t pid,
                            const char *line, size_t len);

#endif
