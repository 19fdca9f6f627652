/* Sockets: the few system calls with the options that a proxy wants. Everything is non-blocking and
 * close-on-exec. Any thread. */
#ifndef NET_SOCKET_H
#define NET_SOCKET_H

#include "base/check.h"
#include "net/addr.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A listening socket that tables, workers and an upgrade share: closed when the last lets go. */
struct listen_socket {
	atomic_uint refs;
	int fd;
	struct endpoint addr; /* as bound: a port 0 is resolved */
};

struct tcp_options {
	uint32_t keepalive_secs;  /* idle time before the first probe; 0: no keepalive */
	uint32_t user_timeout_ms; /* TCP_USER_TIMEOUT; 0: the kernel's default */
};

struct listen_options {
	int backlog;            /* 1..65535, capped by net.core.somaxconn */
	struct tcp_options tcp; /* what accepted sockets inherit */
};

/* Binds and listens. "[::]:port" also takes IPv4 (IPV6_V6ONLY off). 0 or -errno. */
MUST_CHECK int listen_socket_new(const struct endpoint *addr, const struct listen_options *options,
                                 struct listen_socket **ret_socket);
struct listen_socket *listen_socket_ref(struct listen_socket *s);
void listen_socket_unref(struct listen_socket *s); /* NULL-safe */
/* Ends listening whoever else holds a reference: connects are refused from now on. NULL-safe. */
void listen_socket_stop(struct listen_socket *s);

/* TCP_NODELAY, and the options above. Best effort: a socket without them still relays. */
void socket_tune(int fd, const struct tcp_options *options);
/* A socket that is connecting to peer: fd, or -errno (also for a connect refused at once). */
MUST_CHECK int socket_connect(const struct endpoint *peer, const struct tcp_options *options);
/* The pending error of a socket, as a positive errno value; 0 if there is none. Clears it. */
int socket_error(int fd);
/* Closes so that the peer sees a reset, not an end. */
void socket_reset(int fd);
/* Bytes that have come and not been read; 0 when unknown. */
uint32_t socket_waiting(int fd);
/* Bytes sent but not yet acknowledged by the peer; 0 when unknown. */
uint32_t socket_unacked(int fd);

#endif
