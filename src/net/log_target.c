/* Reads and writes the targets of a log. Strict: paths are absolute, since nobody knows where a
 * service was started; addresses are literal, since a name that cannot be resolved must not keep a
 * proxy from starting. */
#include "net/log_target.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define SYSLOG_PATH "/dev/log"
#define JOURNALD_PATH "/run/systemd/journal/socket"

static const char *const words[] = {
	[LOG_TARGET_STDERR] = "stderr",     [LOG_TARGET_STDOUT] = "stdout",
	[LOG_TARGET_OFF] = "off",           [LOG_TARGET_FILE] = "file",
	[LOG_TARGET_SYSLOG] = "syslog",     [LOG_TARGET_SYSLOG_UDP] = "syslog",
	[LOG_TARGET_JOURNALD] = "journald",
};

static int refuse(const char *why, const char **ret_why)
{
	*ret_why = why;
	return -EINVAL;
}

static int path_parse(const char *text, size_t room, struct log_target *t, const char **ret_why)
{
	size_t len = strlen(text);

	if (text[0] != '/')
		return refuse("the path does not begin with /", ret_why);
	if (len >= room)
		return refuse("the path is too long", ret_why);
	memcpy(t->path, text, len + 1);
	return 0;
}

static int addr_parse(const char *text, struct log_target *t, const char **ret_why)
{
	t->kind = LOG_TARGET_SYSLOG_UDP;
	if (endpoint_parse(text, false, &t->addr) != 0)
		return refuse("neither a path nor an address with a port", ret_why);
	if (ip_is_unspecified(&t->addr.ip))
		return refuse("no address to send to", ret_why);
	return 0;
}

/* The kind that the first len bytes name. False: none. */
static bool find_kind(const char *text, size_t len, enum log_target_kind *ret_kind)
{
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strlen(words[i]) == len && memcmp(words[i], text, len) == 0) {
			*ret_kind = (enum log_target_kind)i;
			return true;
		}
	}
	return false;
}

int log_target_parse(const char *text, struct log_target *ret_target, const char **ret_why)
{
	const size_t socket_room = sizeof(((struct sockaddr_un *)NULL)->sun_path);
	size_t len = strcspn(text, ":");
	const char *rest = text[len] == ':' ? text + len + 1 : NULL;
	struct log_target t = {.kind = LOG_TARGET_OFF};
	int err = 0;

	if (!find_kind(text, len, &t.kind))
		return refuse("no such target", ret_why);
	switch (t.kind) {
	case LOG_TARGET_FILE:
		err = path_parse(rest != NULL ? rest : "", sizeof(t.path), &t, ret_why);
		break;
	case LOG_TARGET_SYSLOG:
	case LOG_TARGET_SYSLOG_UDP:
		if (rest != NULL && rest[0] != '/')
			err = addr_parse(rest, &t, ret_why);
		else
			err = path_parse(rest != NULL ? rest : SYSLOG_PATH, socket_room, &t,
			                 ret_why);
		break;
	case LOG_TARGET_JOURNALD:
		err = path_parse(rest != NULL ? rest : JOURNALD_PATH, socket_room, &t, ret_why);
		break;
	case LOG_TARGET_STDERR:
	case LOG_TARGET_STDOUT:
	case LOG_TARGET_OFF:
		if (rest != NULL)
			err = refuse("there is nothing to say behind this word", ret_why);
		break;
	}
	if (err == 0)
		*ret_target = t;
	return err;
}

char *log_target_format(const struct log_target *t, char buf[LOG_TARGET_TEXT_MAX])
{
	char addr[ENDPOINT_TEXT_MAX];
	const char *detail = t->kind == LOG_TARGET_SYSLOG_UDP ? endpoint_format(&t->addr, addr)
	                                                      : t->path;

	snprintf(buf, LOG_TARGET_TEXT_MAX, "%s%s%s", words[t->kind], detail[0] != '\0' ? ":" : "",
	         detail);
	return buf;
}
