/* A datagram socket to somebody who collects logs: a syslog daemon or the journal of this machine,
 * or a syslog daemon elsewhere (UDP). One thread at a time. */
#ifndef OBSERVE_LOG_SOCKET_H
#define OBSERVE_LOG_SOCKET_H

#include "base/check.h"
#include "net/log_target.h"

#include <stddef.h>

/* How long a send waits for a receiver that is behind. */
#define LOG_SOCKET_WAIT_MS 100

struct log_socket {
	const struct log_target *target; /* outlives this */
	int fd;                          /* -1: not connected */
};

void log_socket_init(struct log_socket *s, const struct log_target *target);
/* 0 or -errno (-ENOENT, -ECONNREFUSED: nobody is there). Closes what was open. */
MUST_CHECK int log_socket_open(struct log_socket *s);
/* 0 or -errno; -EAGAIN: the receiver is behind. A UDP socket's error is that of an earlier
 * datagram; this one was not sent. */
MUST_CHECK int log_socket_send(struct log_socket *s, const char *message, size_t len);
void log_socket_close(struct log_socket *s);

#endif
