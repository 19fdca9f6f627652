/* System calls for TCP sockets, with the options that a proxy wants. Nothing here blocks: sockets
 * are non-blocking from birth. */
#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* After keepalive_secs of silence: a probe each KEEPALIVE_INTERVAL_SECS, given up after
 * KEEPALIVE_PROBES of them. */
#define KEEPALIVE_INTERVAL_SECS 10
#define KEEPALIVE_PROBES 3

static int set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) == 0 ? 0 : -errno;
}

/* Accepted sockets inherit these, which saves as many system calls for each client. */
static void tune_listener(int fd, const struct listen_options *options)
{
	socket_nodelay(fd);
	socket_tune(fd, &options->tcp);
	socket_tune_long(fd, &options->tcp);
	if (options->fastopen > 0)
		(void)set_int(fd, IPPROTO_TCP, TCP_FASTOPEN, options->fastopen);
}

static int bound_address(int fd, struct endpoint *ret_bound)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0)
		return -errno;
	return endpoint_from_sockaddr((struct sockaddr *)&sa, ret_bound);
}

static int bind_and_listen(int fd, const struct endpoint *addr,
                           const struct listen_options *options, struct endpoint *ret_bound)
{
	struct sockaddr_storage sa;
	socklen_t len = endpoint_to_sockaddr(addr, &sa);
	int err = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);

	if (err == 0 && sa.ss_family == AF_INET6)
		err = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	if (err != 0)
		return err;
	tune_listener(fd, options);
	if (bind(fd, (struct sockaddr *)&sa, len) != 0 || listen(fd, options->backlog) != 0)
		return -errno;
	return bound_address(fd, ret_bound);
}

int listen_socket_new(const struct endpoint *addr, const struct listen_options *options,
                      struct listen_socket **ret_socket)
{
	struct listen_socket *s = malloc(sizeof(*s));
	int err;

	if (s == NULL)
		return -ENOMEM;
	s->fd = socket(ip_is_v4(&addr->ip) ? AF_INET : AF_INET6,
	               SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0) {
		err = -errno;
		free(s);
		return err;
	}
	err = bind_and_listen(s->fd, addr, options, &s->addr);
	if (err != 0) {
		close(s->fd);
		free(s);
		return err;
	}
	s->borrowed = false;
	atomic_init(&s->refs, 1);
	*ret_socket = s;
	return 0;
}

static int get_int(int fd, int level, int option)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, option, &value, &len) == 0 ? value : -errno;
}

int listen_socket_adopt(int fd, const struct listen_options *options, bool borrowed,
                        struct listen_socket **ret_socket)
{
	struct listen_socket *s;
	struct endpoint bound;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	if (get_int(fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM ||
	    get_int(fd, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_TCP ||
	    get_int(fd, SOL_SOCKET, SO_ACCEPTCONN) != 1 || bound_address(fd, &bound) != 0)
		return -EINVAL;
	/* Once more: the backlog may be another than that of whoever opened it. */
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
	    listen(fd, options->backlog) != 0)
		return -errno;
	s = malloc(sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	tune_listener(fd, options);
	atomic_init(&s->refs, 1);
	s->fd = fd;
	s->addr = bound;
	s->borrowed = borrowed;
	*ret_socket = s;
	return 0;
}

struct listen_socket *listen_socket_ref(struct listen_socket *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void listen_socket_unref(struct listen_socket *s)
{
	if (s == NULL || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}

void listen_socket_stop(struct listen_socket *s)
{
	/* For a listening TCP socket this is the way back to CLOSED. */
	if (s != NULL && s->fd >= 0 && !s->borrowed)
		(void)shutdown(s->fd, SHUT_RD);
}

void listen_socket_let_go(struct listen_socket *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

int socket_set_congestion(int fd, const char *name)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) == 0
	               ? 0
	               : -errno;
}

void socket_nodelay(int fd)
{
	(void)set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

void socket_tune(int fd, const struct tcp_options *options)
{
	(void)set_int(fd, SOL_SOCKET, SO_OOBINLINE, 1); /* an urgent byte is a byte of the stream */
	if (options->congestion != NULL && options->congestion[0] != '\0' &&
	    socket_set_congestion(fd, options->congestion) != 0)
		return; /* a socket with the kernel's own still relays */
}

void socket_tune_long(int fd, const struct tcp_options *options)
{
	if (options->keepalive_secs != 0) {
		(void)set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
		(void)set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)options->keepalive_secs);
		(void)set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECS);
		(void)set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
	}
	if (options->user_timeout_ms != 0)
		(void)set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)options->user_timeout_ms);
}

int socket_congestion_usable(const char *name)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	err = socket_set_congestion(fd, name);
	close(fd);
	return err;
}

/* 0 when the connect is under way, or -errno. */
static int begin_connect(int fd, const struct sockaddr *sa, socklen_t len,
                         struct first_bytes *first)
{
	ssize_t n;

	if (first == NULL || first->len == 0)
		return connect(fd, sa, len) == 0 || errno == EINPROGRESS ? 0 : -errno;
	n = sendto(fd, first->data, first->len, MSG_FASTOPEN | MSG_NOSIGNAL, sa, len);
	if (n < 0 && errno != EINPROGRESS)
		return -errno;
	first->sent = n > 0 ? (size_t)n : 0;
	return 0;
}

int socket_connect(const struct endpoint *peer, const struct tcp_options *options,
                   struct first_bytes *first)
{
	struct sockaddr_storage sa;
	socklen_t len = endpoint_to_sockaddr(peer, &sa);
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	socket_tune(fd, options);
	err = begin_connect(fd, (struct sockaddr *)&sa, len, first);
	if (err == 0)
		return fd;
	close(fd);
	return err;
}

int socket_error(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 ? err : errno;
}

void socket_reset(int fd)
{
	/* Close with a linger of zero is how TCP is told to abort (RFC 9293, 3.10.5). */
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

uint32_t socket_waiting(int fd)
{
	int bytes = 0;

	return ioctl(fd, SIOCINQ, &bytes) == 0 && bytes > 0 ? (uint32_t)bytes : 0;
}

uint32_t socket_unacked(int fd)
{
	int bytes = 0;

	return ioctl(fd, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? (uint32_t)bytes : 0;
}
