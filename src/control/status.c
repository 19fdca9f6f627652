/* The control thread's one-line answer to `edgeproxy healthcheck`. It is the control thread that
 * answers because a proxy whose control thread hangs is not healthy, whatever its workers do.
 *
 * The caller is not trusted: nothing is read from it, the line fits into an empty socket buffer,
 * and a caller that does not take it loses it. */
#include "control/status.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static socklen_t status_address(const char *listen_text, struct sockaddr_un *ret)
{
	int len;

	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	/* A NUL in front makes the name abstract: no file is left behind. */
	len = snprintf(ret->sun_path + 1, sizeof(ret->sun_path) - 1, "edgeproxy/%s", listen_text);
	if ((size_t)len > sizeof(ret->sun_path) - 2)
		len = (int)sizeof(ret->sun_path) - 2; /* cut, the same way on both sides */
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
}

int status_open(const char *listen_text, int *ret_fd)
{
	struct sockaddr_un address;
	socklen_t len = status_address(listen_text, &address);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, len) != 0 || listen(fd, STATUS_BURST) != 0) {
		err = -errno;
		close(fd);
		return err;
	}
	*ret_fd = fd;
	return 0;
}

void status_answer(int fd, const char *line)
{
	for (int i = 0; i < STATUS_BURST; i++) {
		int caller = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (caller < 0)
			return;
		(void)send(caller, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL);
		close(caller);
	}
}

/* What comes until the end of the line or of the connection. */
static int read_line(int fd, uint64_t until_ms, char ret_line[STATUS_TEXT_MAX])
{
	char line[STATUS_TEXT_MAX];
	size_t len = 0;

	for (;;) {
		struct pollfd readable = {.fd = fd, .events = POLLIN};
		uint64_t now_ms = clock_now_ms();
		ssize_t n;

		if (now_ms >= until_ms || poll(&readable, 1, (int)(until_ms - now_ms)) == 0)
			return -ETIMEDOUT;
		n = recv(fd, line + len, sizeof(line) - 1 - len, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return -errno;
		len += (size_t)n;
		line[len] = '\0';
		if (n == 0 || strchr(line, '\n') != NULL || len == sizeof(line) - 1)
			break;
	}
	line[strcspn(line, "\n")] = '\0';
	memcpy(ret_line, line, strlen(line) + 1);
	return 0;
}

int status_ask(const char *listen_text, uint32_t timeout_ms, char ret_line[STATUS_TEXT_MAX])
{
	uint64_t until_ms = clock_now_ms() + timeout_ms;
	struct sockaddr_un address;
	socklen_t len = status_address(listen_text, &address);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int rc;

	if (fd < 0)
		return -errno;
	/* Completes at once, or fails with EAGAIN when too many others call. */
	if (connect(fd, (struct sockaddr *)&address, len) != 0)
		rc = errno == EAGAIN ? -ETIMEDOUT : -errno;
	else
		rc = read_line(fd, until_ms, ret_line);
	close(fd);
	return rc;
}
