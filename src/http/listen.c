/* The API's listening socket. A Unix socket has a file, which outlives a process that was killed:
 * it is removed only where nobody answers, or where it is still one's own.
 *
 * To see that nobody answers, to remove the file and to bind are three steps, and of several
 * processes that start at once each could remove what another has just bound. So they are taken
 * only with the right to the path (path_lock.h), which is kept until the socket is closed. In an
 * upgrade the predecessor has it until it closes its doors, and the successor tries again until
 * then. That nobody answers is looked at all the same: an older release takes no lock, and somebody
 * may have tidied the lock's file away. */
#include "http/listen.h"

#include "http/path_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 128
#define UNIX_MODE 0660

int http_listen_unix(const char *path, struct http_listen *ret)
{
	struct http_listen l = {.is_unix = true, .local.sun_family = AF_UNIX, .lock_fd = -1};

	if (path[0] != '/' || strlen(path) >= sizeof(l.local.sun_path))
		return -EINVAL;
	memcpy(l.local.sun_path, path, strlen(path));
	*ret = l;
	return 0;
}

int http_listen_parse(const char *text, struct http_listen *ret)
{
	struct http_listen l = {.lock_fd = -1};

	if (strncmp(text, LISTEN_UNIX_PREFIX, strlen(LISTEN_UNIX_PREFIX)) == 0)
		return http_listen_unix(text + strlen(LISTEN_UNIX_PREFIX), ret);
	if (endpoint_parse(text, true, &l.addr) != 0)
		return -EINVAL;
	*ret = l;
	return 0;
}

bool http_listen_is_local(const struct http_listen *l)
{
	static const struct ip loopback6 = {.b = {[15] = 1}};

	return l->is_unix || ip_equal(&l->addr.ip, &loopback6) ||
	       (ip_is_v4(&l->addr.ip) && l->addr.ip.b[12] == 127);
}

/* Does anybody listen there? A doubt counts as yes. *ret_pid is whose process, or 0. */
static bool is_answered(const struct sockaddr_un *at, pid_t *ret_pid)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct ucred listener = {0};
	socklen_t len = sizeof(listener);
	bool answered = true;

	*ret_pid = 0;
	if (fd < 0)
		return true;
	if (connect(fd, (const struct sockaddr *)at, sizeof(*at)) != 0)
		answered = errno != ECONNREFUSED && errno != ENOENT;
	else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &listener, &len) == 0)
		*ret_pid = listener.pid; /* 0: of another PID namespace */
	close(fd);
	return answered;
}

/* With the lock. */
static int bind_locked(struct http_listen *l, int fd)
{
	const char *path = l->local.sun_path;
	struct stat st;
	pid_t pid;

	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
		if (is_answered(&l->local, &pid))
			return -EADDRINUSE;
		(void)unlink(path);
	}
	/* Nobody can connect before listen(), so the mode is right in time. */
	if (bind(fd, (struct sockaddr *)&l->local, sizeof(l->local)) != 0 ||
	    chmod(path, UNIX_MODE) != 0 || stat(path, &st) != 0)
		return -errno;
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	return 0;
}

static void unlock(struct http_listen *l)
{
	if (l->lock_fd >= 0)
		path_lock_release(l->local.sun_path, l->lock_fd);
	l->lock_fd = -1;
}

static int bind_unix(struct http_listen *l, int fd)
{
	int err = path_lock_take(l->local.sun_path, &l->lock_fd);

	if (err != 0)
		return err;
	err = bind_locked(l, fd);
	if (err != 0)
		unlock(l);
	return err;
}

static int bind_tcp(struct http_listen *l, int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = endpoint_to_sockaddr(&l->addr, &sa);
	int one = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&sa, len) != 0)
		return -errno;
	len = sizeof(sa);
	if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0)
		return -errno;
	return endpoint_from_sockaddr((struct sockaddr *)&sa, &l->addr);
}

int http_listen_open(struct http_listen *l, int *ret_fd)
{
	struct sockaddr_storage sa;
	int family = AF_UNIX;
	int fd, err;

	if (!l->is_unix) {
		(void)endpoint_to_sockaddr(&l->addr, &sa);
		family = sa.ss_family;
	}
	fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	err = l->is_unix ? bind_unix(l, fd) : bind_tcp(l, fd);
	if (err == 0 && listen(fd, BACKLOG) != 0)
		err = -errno;
	if (err != 0) {
		unlock(l);
		close(fd);
		return err;
	}
	*ret_fd = fd;
	return 0;
}

void http_listen_explain(const struct http_listen *l, int err, char ret_text[LISTEN_ERROR_MAX])
{
	const char *path = l->local.sun_path;
	struct stat st;
	pid_t pid;

	if (!l->is_unix || (err != -EADDRINUSE && err != -EACCES)) {
		snprintf(ret_text, LISTEN_ERROR_MAX, "%s", strerror(-err));
		return;
	}
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		snprintf(ret_text, LISTEN_ERROR_MAX,
		         "there is something that is no socket: remove it, or give another path");
	else if (is_answered(&l->local, &pid) && pid != 0)
		snprintf(ret_text, LISTEN_ERROR_MAX,
		         "process %d listens there: stop it, or give this one a path of its own",
		         (int)pid);
	else if (err == -EACCES)
		snprintf(ret_text, LISTEN_ERROR_MAX,
		         "%s: this user must be able to make it and %.108s" PATH_LOCK_SUFFIX,
		         strerror(-err), path);
	else
		snprintf(ret_text, LISTEN_ERROR_MAX,
		         "another process has it (%.108s" PATH_LOCK_SUFFIX
		         " is locked): stop that one, or give this one a path of its own",
		         path);
}

void http_listen_close(struct http_listen *l, int fd)
{
	struct stat st;

	if (l->is_unix && stat(l->local.sun_path, &st) == 0 && st.st_dev == l->dev &&
	    st.st_ino == l->ino)
		(void)unlink(l->local.sun_path);
	unlock(l);
	close(fd);
}
