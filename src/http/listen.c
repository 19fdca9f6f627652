/* The API's listening socket. A Unix socket has a file, which outlives a process that was killed
 * and which a successor may have replaced: it is removed only where nobody answers, or where it is
 * still one's own. */
#include "http/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 128
#define UNIX_MODE 0660

int http_listen_unix(const char *path, struct http_listen *ret)
{
	struct http_listen l = {.is_unix = true, .local.sun_family = AF_UNIX};

	if (path[0] != '/' || strlen(path) >= sizeof(l.local.sun_path))
		return -EINVAL;
	memcpy(l.local.sun_path, path, strlen(path));
	*ret = l;
	return 0;
}

int http_listen_parse(const char *text, struct http_listen *ret)
{
	struct http_listen l = {0};

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

/* Does anybody listen there? A doubt counts as yes. */
static bool is_answered(const struct sockaddr_un *at)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool answered = true;

	if (fd < 0)
		return true;
	if (connect(fd, (const struct sockaddr *)at, sizeof(*at)) != 0)
		answered = errno != ECONNREFUSED && errno != ENOENT;
	close(fd);
	return answered;
}

static int bind_unix(struct http_listen *l, int fd)
{
	const char *path = l->local.sun_path;
	struct stat st;

	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
		if (is_answered(&l->local))
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
		close(fd);
		return err;
	}
	*ret_fd = fd;
	return 0;
}

void http_listen_close(const struct http_listen *l, int fd)
{
	struct stat st;

	if (l->is_unix && stat(l->local.sun_path, &st) == 0 && st.st_dev == l->dev &&
	    st.st_ino == l->ino)
		(void)unlink(l->local.sun_path);
	close(fd);
}
