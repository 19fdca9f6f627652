/* The conversation of an upgrade: two processes, one Unix socket, messages with descriptors.
 *
 *     new  HELLO       version, pid
 *     old  COUNTS      the common counts, the old one's own, its slots, its status socket
 *     old  SOCKETS …   listening sockets, a batch each; then START
 *     new  READY       its own counts; it has validated everything and could accept now
 *     old  STATE       what it has learnt, while it still serves
 *     new  TAKEN       (it has read that)
 *     old  GO          it accepts no more; what it has learnt since, and seen of backends; its
 *                      own predecessors
 *     new  ACCEPTING   from now on it accepts: there is no way back from here
 *     old  NEWS …      what its sessions learn while they go on; then the end of the stream
 *
 * Until ACCEPTING the old one can take everything back: it only has to end the new one. Control
 * thread of either. */
#ifndef CONTROL_HANDOVER_H
#define CONTROL_HANDOVER_H

#include "base/check.h"
#include "net/addr.h"

#include <stdbool.h>
#include <stdint.h>

/* Names the new process's end; the program takes it out of its environment. */
#define HANDOVER_VARIABLE "EDGEPROXY_UPGRADE_FD"
#define HANDOVER_VERSION 1
/* Processes that drain at one time, and are passed on with two descriptors each. */
#define PREDECESSORS_MAX 100
/* Listening sockets in one message. */
#define HANDOVER_SOCKETS_MAX 100
/* The kernel's limit for one message is 253. */
#define HANDOVER_FDS_MAX (2 * PREDECESSORS_MAX + 1)

enum handover_kind {
	HANDOVER_HELLO = 1,
	HANDOVER_COUNTS,  /* fds: common counts, own counts, slots (control/state.h), status */
	HANDOVER_SOCKETS, /* fds: one for each of sockets */
	HANDOVER_START,
	HANDOVER_READY, /* fds: own counts */
	HANDOVER_STATE, /* fds: a state */
	HANDOVER_TAKEN,
	HANDOVER_GO, /* fds: a state, then for each of pids: link, own counts */
	HANDOVER_ACCEPTING,
	HANDOVER_NEWS, /* fds: a state */
};

struct handover_socket {
	struct endpoint addr; /* as configured */
	bool borrowed;        /* net/socket.h */
};

struct handover_message {
	uint32_t kind;
	uint32_t version;
	int32_t pid;    /* the sender's */
	uint32_t count; /* of sockets, or of pids */
	union {
		struct handover_socket sockets[HANDOVER_SOCKETS_MAX];
		int32_t pids[PREDECESSORS_MAX];
	};
	/* Not part of the message itself. */
	uint32_t fd_count;
	int fds[HANDOVER_FDS_MAX];
};

/* Two ends, close-on-exec. 0 or -errno. */
MUST_CHECK int handover_pair(int ret_ends[2]);
/* Takes the descriptor of HANDOVER_VARIABLE out of the environment: it, close-on-exec; -1: there is
 * none, or it is no socket. */
int handover_take_variable(void);

/* Never blocks. The descriptors stay the caller's. 0 or -errno (-EAGAIN, -EPIPE: the other is
 * gone). */
MUST_CHECK int handover_send(int link, const struct handover_message *m);
/* Never blocks. The descriptors are the caller's, close-on-exec: see handover_close_fds(). 0;
 * -EAGAIN (there is none yet); -EPIPE (the end); -EPROTO (not what another edgeproxy sends);
 * another -errno. */
MUST_CHECK int handover_receive(int link, struct handover_message *ret);
/* Waits for a message of this kind; any other is -EPROTO. -ETIMEDOUT. */
MUST_CHECK int handover_await(int link, enum handover_kind kind, int timeout_ms,
                              struct handover_message *ret);
/* Closes those that were not taken (set to -1). */
void handover_close_fds(struct handover_message *m);

#endif
