/* Messages between two generations. The other side is another version of this program under the
 * same user: it is believed, but a message that has another shape than expected ends the upgrade
 * rather than the process. */
#include "control/handover.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* What goes over the wire: everything before the descriptors. */
#define WIRE_BYTES offsetof(struct handover_message, fd_count)

union control_space {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(HANDOVER_FDS_MAX * sizeof(int))];
};

int handover_pair(int ret_ends[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ret_ends) == 0
	               ? 0
	               : -errno;
}

int handover_take_variable(void)
{
	const char *text = getenv(HANDOVER_VARIABLE);
	struct stat st;
	char *end;
	long fd = -1;

	if (text != NULL && *text >= '0' && *text <= '9') {
		fd = strtol(text, &end, 10);
		if (*end != '\0' || fd > INT16_MAX || fstat((int)fd, &st) != 0 ||
		    !S_ISSOCK(st.st_mode) || fcntl((int)fd, F_SETFD, FD_CLOEXEC) != 0)
			fd = -1;
	}
	unsetenv(HANDOVER_VARIABLE);
	return (int)fd;
}

int handover_send(int link, const struct handover_message *m)
{
	union control_space control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)m, .iov_len = WIRE_BYTES};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	size_t bytes = m->fd_count * sizeof(int);

	CHECK(m->fd_count <= HANDOVER_FDS_MAX);
	if (m->fd_count > 0) {
		struct cmsghdr *c;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(bytes);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(c), m->fds, bytes);
	}
	if (sendmsg(link, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return 0;
	return errno == ECONNRESET ? -EPIPE : -errno;
}

static void take_fds(struct msghdr *msg, struct handover_message *ret)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		ret->fd_count = (uint32_t)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(ret->fds, CMSG_DATA(c), ret->fd_count * sizeof(int));
	}
}

/* Has the message as many descriptors as its kind needs? */
static bool whole(const struct handover_message *m)
{
	switch ((enum handover_kind)m->kind) {
	case HANDOVER_COUNTS:
		return m->fd_count == 3 || m->fd_count == 4;
	case HANDOVER_SOCKETS:
		return m->count <= HANDOVER_SOCKETS_MAX && m->fd_count == m->count;
	case HANDOVER_READY:
	case HANDOVER_STATE:
	case HANDOVER_NEWS:
		return m->fd_count == 1;
	case HANDOVER_GO:
		return m->count <= PREDECESSORS_MAX && m->fd_count == 1 + 2 * m->count;
	case HANDOVER_HELLO:
	case HANDOVER_START:
	case HANDOVER_TAKEN:
	case HANDOVER_ACCEPTING:
		return m->fd_count == 0;
	}
	return false;
}

int handover_receive(int link, struct handover_message *ret)
{
	union control_space control;
	struct iovec iov = {.iov_base = ret, .iov_len = WIRE_BYTES};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	ret->fd_count = 0;
	n = recvmsg(link, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : errno == EINTR ? -EAGAIN : -errno;
	if (n == 0)
		return -EPIPE;
	take_fds(&msg, ret);
	if ((msg.msg_flags & MSG_CTRUNC) != 0) { /* no room for the descriptors */
		handover_close_fds(ret);
		return -EMFILE;
	}
	if ((size_t)n != WIRE_BYTES || (msg.msg_flags & MSG_TRUNC) != 0 ||
	    ret->version != HANDOVER_VERSION || !whole(ret)) {
		handover_close_fds(ret);
		return -EPROTO;
	}
	return 0;
}

int handover_await(int link, enum handover_kind kind, int timeout_ms, struct handover_message *ret)
{
	uint64_t until_ms = clock_now_ms() + (uint64_t)timeout_ms;
	int err;

	while ((err = handover_receive(link, ret)) == -EAGAIN) {
		struct pollfd readable = {.fd = link, .events = POLLIN};
		uint64_t now_ms = clock_now_ms();

		if (now_ms >= until_ms)
			return -ETIMEDOUT;
		(void)poll(&readable, 1, (int)(until_ms - now_ms));
	}
	if (err == 0 && ret->kind != (uint32_t)kind) {
		handover_close_fds(ret);
		err = -EPROTO;
	}
	return err;
}

void handover_close_fds(struct handover_message *m)
{
	for (uint32_t i = 0; i < m->fd_count; i++) {
		if (m->fds[i] >= 0)
			close(m->fds[i]);
	}
	m->fd_count = 0;
}
