/* Where a log goes, as people write it. Values; any thread. */
#ifndef NET_LOG_TARGET_H
#define NET_LOG_TARGET_H

#include "base/check.h"
#include "net/addr.h"

#include <stddef.h>

#define LOG_TARGET_PATH_MAX 1024 /* with the end */
#define LOG_TARGET_TEXT_MAX (LOG_TARGET_PATH_MAX + 16)

enum log_target_kind {
	LOG_TARGET_STDERR,
	LOG_TARGET_STDOUT,
	LOG_TARGET_OFF,
	LOG_TARGET_FILE,
	LOG_TARGET_SYSLOG,     /* a local datagram socket: path */
	LOG_TARGET_SYSLOG_UDP, /* addr */
	LOG_TARGET_JOURNALD,   /* path */
};

struct log_target {
	enum log_target_kind kind;
	char path[LOG_TARGET_PATH_MAX]; /* absolute; "" where there is none */
	struct endpoint addr;
};

/* What log_target_parse() takes, for people. */
#define LOG_TARGET_FORMS \
	"stderr, stdout, off, file:/PATH, syslog, syslog:/PATH, syslog:ADDRESS:PORT, journald, " \
	"journald:/PATH"

/* 0; -EINVAL, with the reason in *ret_why. */
MUST_CHECK int log_target_parse(const char *text, struct log_target *ret_target,
                                const char **ret_why);
/* As it is parsed, with the default paths. Returns buf. */
char *log_target_format(const struct log_target *t, char buf[LOG_TARGET_TEXT_MAX]);

#endif
