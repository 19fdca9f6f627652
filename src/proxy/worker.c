/* What all parts of a worker ask of it. */
#include "proxy/worker.h"

#include "base/clock.h"

#include <errno.h>
#include <sys/epoll.h>

uint32_t worker_number(const struct worker *w)
{
	return (uint32_t)(w - w->shared->workers);
}

void worker_set_clock(struct worker *w)
{
	w->now_ns = clock_now_ns();
	w->now_ms = w->now_ns / 1000000;
}

int worker_watch(struct worker *w, int fd, void *owner, enum event_tag tag)
{
	struct epoll_event event = {.data.u64 = (uint64_t)(uintptr_t)owner | tag};

	/* Listeners and mail are level-triggered: what one turn leaves is seen in the next. */
	switch (tag) {
	case TAG_END_0:
	case TAG_END_1:
		event.events = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET;
		break;
	case TAG_LISTENER:
		event.events = EPOLLIN | EPOLLEXCLUSIVE;
		break;
	case TAG_MAILBOX:
		event.events = EPOLLIN;
		break;
	}
	return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}
