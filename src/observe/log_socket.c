/* Connected datagram sockets: the kernel tells a connected one when nobody is there. What the
 * messages say is syslog_message.c's and journal_message.c's business. */
#include "observe/log_socket.h"

#include "net/addr.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void log_socket_init(struct log_socket *s, const struct log_target *target)
{
	*s = (struct log_socket){.target = target, .fd = -1};
}

void log_socket_close(struct log_socket *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static socklen_t make_addr(const struct log_target *t, struct sockaddr_storage *ret_addr)
{
	struct sockaddr_un local = {.sun_family = AF_UNIX};

	if (t->kind == LOG_TARGET_SYSLOG_UDP)
		return endpoint_to_sockaddr(&t->addr, ret_addr);
	CHECK(strlen(t->path) < sizeof(local.sun_path));
	memcpy(local.sun_path, t->path, sizeof(local.sun_path)); /* t->path is longer */
	memcpy(ret_addr, &local, sizeof(local));
	return sizeof(local);
}

int log_socket_open(struct log_socket *s)
{
	struct sockaddr_storage addr;
	socklen_t len = make_addr(s->target, &addr);

	log_socket_close(s);
	s->fd = socket(addr.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return -errno;
	if (connect(s->fd, (const struct sockaddr *)&addr, len) != 0) {
		int err = errno;

		log_socket_close(s);
		return -err;
	}
	return 0;
}

int log_socket_send(struct log_socket *s, const char *message, size_t len)
{
	struct pollfd writable = {.fd = s->fd, .events = POLLOUT};

	for (;;) {
		if (send(s->fd, message, len, MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		if (poll(&writable, 1, LOG_SOCKET_WAIT_MS) <= 0)
			return -EAGAIN;
	}
}
