/* A mailbox is a lock-free stack of messages (push by compare-and-swap, taken whole by exchange)
 * with an eventfd beside it. Only the sender that finds the stack empty rings the bell, so a burst
 * of messages costs one wake-up. */
#include "net/mailbox.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int mailbox_init(struct mailbox *m)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	m->event_fd = fd;
	atomic_init(&m->head, NULL);
	return 0;
}

void mailbox_done(struct mailbox *m)
{
	close(m->event_fd);
}

void mailbox_wake(struct mailbox *m)
{
	uint64_t one = 1;
	/* It can only fail when the counter is full, and then the bell rings already. */
	ssize_t ignored = write(m->event_fd, &one, sizeof(one));

	(void)ignored;
}

void mailbox_send(struct mailbox *m, struct message *msg)
{
	struct message *head = atomic_load_explicit(&m->head, memory_order_relaxed);

	do
		msg->next = head;
	while (!atomic_compare_exchange_weak_explicit(&m->head, &head, msg, memory_order_release,
	                                              memory_order_relaxed));
	if (head == NULL)
		mailbox_wake(m);
}

struct message *mailbox_take(struct mailbox *m)
{
	struct message *in_order = NULL;
	uint64_t count;
	/* The bell is silenced before the stack is taken: a message that comes between the two
	 * rings it again. */
	ssize_t ignored = read(m->event_fd, &count, sizeof(count));

	(void)ignored;

	struct message *newest = atomic_exchange_explicit(&m->head, NULL, memory_order_acquire);

	while (newest != NULL) {
		struct message *older = newest->next;

		newest->next = in_order;
		in_order = newest;
		newest = older;
	}
	return in_order;
}
