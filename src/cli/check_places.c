/* What open() and bind() would say at a start, asked of the file system and of the configuration
 * alone, since a proxy may be serving with this very environment. Whether somebody else has an
 * address cannot be known that way; that two options of one proxy ask for the same one can. */
#include "cli/check_places.h"

#include "http/door.h"
#include "net/log_target.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX 512

/* May a file be made in its folder? 0 or -errno. */
static int folder_usable(const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[PATH_MAX];
	int len = slash == path ? 1 : (int)(slash - path);

	snprintf(folder, sizeof(folder), "%.*s", len, path);
	return access(folder, W_OK | X_OK) == 0 ? 0 : -errno;
}

/* A name that is taken is written to, or replaced where it is a socket. 0 or -errno. */
static int log_usable(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return errno == ENOENT ? folder_usable(path) : -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	return access(path, W_OK) == 0 ? 0 : -errno;
}

/* One that is there has been made by a proxy, whoever asks. */
static int socket_usable(const char *path)
{
	struct stat st;

	if (lstat(path, &st) == 0)
		return S_ISSOCK(st.st_mode) ? 0 : -ENOTSOCK;
	return folder_usable(path);
}

static void check_access_log(const struct config *c, const struct places_report *report)
{
	char target[LOG_TARGET_TEXT_MAX];
	char text[LOG_TARGET_TEXT_MAX + TEXT_MAX];
	int err = c->access_log.kind == LOG_TARGET_FILE ? log_usable(c->access_log.path) : 0;

	if (err == 0)
		return;
	snprintf(text, sizeof(text), "EDGEPROXY_ACCESS_LOG=%s: %s",
	         log_target_format(&c->access_log, target), strerror(-err));
	report->fault(report->arg, true,
	              "name a file in a folder that the user of the proxy can write to", text);
}

static void check_socket(const struct door *d, const struct places_report *report)
{
	char text[TEXT_MAX];
	int err = socket_usable(d->listen.local.sun_path);

	if (err == 0)
		return;
	snprintf(text, sizeof(text), "%s=%s: %s", door_option(d->kind), d->where,
	         err == -ENOTSOCK ? "there is something that is no socket" : strerror(-err));
	report->fault(report->arg, err != -ENOENT,
	              err == -ENOTSOCK
	                      ? "remove it, or give another path"
	                      : "make the folder, and let the user of the proxy write to it",
	              text);
}

static void check_shared(const char *option, const char *where, const char *other,
                         const struct places_report *report)
{
	char text[TEXT_MAX];

	snprintf(text, sizeof(text), "%s=%s: %s has this address too", option, where, other);
	report->fault(report->arg, true, "give each its own port", text);
}

/* Port 0 is another one each time. "[::]" takes all of IPv4, too. */
static bool clash(const struct endpoint *a, const struct endpoint *b)
{
	static const struct ip any6;

	if (a->port != b->port || a->port == 0)
		return false;
	if (ip_equal(&a->ip, &b->ip) || ip_equal(&a->ip, &any6) || ip_equal(&b->ip, &any6))
		return true;
	return ip_is_v4(&a->ip) == ip_is_v4(&b->ip) &&
	       (ip_is_unspecified(&a->ip) || ip_is_unspecified(&b->ip));
}

void check_places(const struct config *c, const struct places_report *report)
{
	struct door doors[DOOR_COUNT];

	check_access_log(c, report);
	for (int i = 0; i < DOOR_COUNT; i++) {
		struct door *d = &doors[i];

		if (door_read(c, (enum door_kind)i, d) != 0)
			d->wanted = false;
		if (!d->wanted)
			continue;
		if (d->listen.is_unix) {
			if (!d->optional)
				check_socket(d, report);
			continue;
		}
		if (config_listens(c) && clash(&d->listen.addr, &c->listen_addr))
			check_shared(door_option(d->kind), d->where, "EDGEPROXY_LISTEN_ADDR",
			             report);
		for (int j = 0; j < i; j++)
			if (doors[j].wanted && !doors[j].listen.is_unix &&
			    clash(&d->listen.addr, &doors[j].listen.addr))
				check_shared(door_option(d->kind), d->where,
				             door_option(doors[j].kind), report);
	}
}
