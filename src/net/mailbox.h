/* A mailbox: how one thread hands something to another. Many senders, one receiver, no lock: a
 * stack that the receiver takes whole and turns round, and an eventfd that wakes its epoll loop.
 *
 * Not bounded by itself: what is sent must be bounded by its kind (one table at a time, connections
 * counted by max-conn). */
#ifndef NET_MAILBOX_H
#define NET_MAILBOX_H

#include "base/check.h"

#include <stdatomic.h>

struct message {
	struct message *next;
	int kind; /* the receiver's enum */
};

struct mailbox {
	_Atomic(struct message *) head;
	int event_fd; /* readable when something waits */
};

/* 0 or -errno. */
MUST_CHECK int mailbox_init(struct mailbox *m);
/* The receiver has taken everything: messages still inside are not freed. */
void mailbox_done(struct mailbox *m);
/* Any thread. The message belongs to the receiver from now on. */
void mailbox_send(struct mailbox *m, struct message *msg);
/* Any thread: makes it readable though there may be nothing inside. */
void mailbox_wake(struct mailbox *m);
/* The receiver: all messages in the order sent, linked by next; NULL when there are none. */
struct message *mailbox_take(struct mailbox *m);

#endif
