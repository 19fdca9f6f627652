/* A line of the log as an entry for the systemd journal, in its native protocol
 * (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/). Pure; any thread. */
#ifndef OBSERVE_JOURNAL_MESSAGE_H
#define OBSERVE_JOURNAL_MESSAGE_H

#include "base/log.h"

#include <stddef.h>

/* The line once as MESSAGE, and once in fields. */
#define JOURNAL_MESSAGE_MAX (6 * LOG_LINE_BYTES)

/* MESSAGE, PRIORITY, SYSLOG_IDENTIFIER, SYSLOG_FACILITY, and EDGEPROXY_<KEY> for each key but the
 * level. line: finished, len bytes, without its end. Returns the length; fields for which there is
 * no room are left out. */
size_t journal_message(char buf[JOURNAL_MESSAGE_MAX], const char *line, size_t len);

#endif
