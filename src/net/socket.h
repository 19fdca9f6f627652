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
	bool borrowed;        /* a service manager listens too: it is never ended, only let go */
};

struct tcp_options {
	uint32_t keepalive_secs;  /* idle time before the first probe; 0: no keepalive */
	uint32_t user_timeout_ms; /* TCP_USER_TIMEOUT; 0: the kernel's default */
	const char *congestion;   /* TCP_CONGESTION; NULL or "": the kernel's default */
};

struct listen_options {
	int backlog;            /* 1..65535, capped by net.core.somaxconn */
	int fastopen;           /* TCP Fast Open requests that may be pending (RFC 7413); 0: off */
	struct tcp_options tcp; /* what accepted sockets inherit */
};

/* Binds and listens. "[::]:port" also takes IPv4 (IPV6_V6ONLY off). 0 or -errno. */
MUST_CHECK int listen_socket_new(const struct endpoint *addr, const struct listen_options *options,
                                 struct listen_socket **ret_socket);
/* Takes over fd, a socket that listens already, from a predecessor or (borrowed) from a service
 * manager. 0; -EINVAL (it is no listening TCP socket) or another -errno, and fd is still the
 * caller's. */
MUST_CHECK int listen_socket_adopt(int fd, const struct listen_options *options, bool borrowed,
                                   struct listen_socket **ret_socket);
struct listen_socket *listen_socket_ref(struct listen_socket *s);
void listen_socket_unref(struct listen_socket *s); /* NULL-safe */
/* Ends listening whoever else holds a reference: connects are refused from now on, unless it is
 * borrowed. NULL-safe. */
void listen_socket_stop(struct listen_socket *s);
/* Closes this process's descriptor, whoever holds a reference; another process goes on listening.
 * Nobody watches it any more. */
void listen_socket_let_go(struct listen_socket *s);

/* Of the options below: what every connection wants from its start (urgent bytes in line,
 * congestion control); what it wants before it sends a second time, since only the first small
 * packet waits for no acknowledgement (TCP_NODELAY, RFC 896); and what only a long one needs
 * (keepalive, user timeout). Best effort: a socket without them still relays. Each is a system
 * call. */
void socket_tune(int fd, const struct tcp_options *options);
void socket_nodelay(int fd);
void socket_tune_long(int fd, const struct tcp_options *options);
/* Sets the congestion control of a socket, for a listener of those that it accepts from now on. 0
 * or -errno. */
int socket_set_congestion(int fd, const char *name);
/* Is this congestion control there to be used? 0 or -errno (-ENOENT: the kernel has none of that
 * name; -EPERM: only root may use it, see net.ipv4.tcp_allowed_congestion_control). */
MUST_CHECK int socket_congestion_usable(const char *name);

/* What TCP Fast Open may send along with the first packet. */
struct first_bytes {
	const void *data;
	size_t len;
	size_t sent; /* set by socket_connect(): 0 where the kernel has no cookie of the peer yet */
};

/* A socket that is connecting to peer, with socket_tune() alone: fd, or -errno (also for a connect
 * refused at once). first may be NULL: no fast open. */
MUST_CHECK int socket_connect(const struct endpoint *peer, const struct tcp_options *options,
                              struct first_bytes *first);
/* The pending error of a socket, as a positive errno value; 0 if there is none. Clears it. */
int socket_error(int fd);
/* Closes so that the peer sees a reset, not an end. */
void socket_reset(int fd);
/* Bytes that have come and not been read; 0 when unknown. */
uint32_t socket_waiting(int fd);
/* Bytes sent but not yet acknowledged by the peer; 0 when unknown. */
uint32_t socket_unacked(int fd);

#endif
