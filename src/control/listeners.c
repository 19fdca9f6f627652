/* One entry for each address that listens. A socket leaves in two steps: it becomes unwanted when a
 * table without it is published, and stops listening a moment later, when all workers have let go.
 * If its address comes back in between, nothing has happened.
 *
 * Sockets may also come from outside, listening already: from a process that this one follows, or
 * from a service manager. They wait here for a service of their address as sockets of a service
 * that has gone do.
 *
 * Closing would not be enough: sessions hold their service, and a service its socket, so a listener
 * would go on queueing clients that nobody accepts for as long as one old session lives. shutdown()
 * ends listening whoever holds the descriptor, and frees the address for the next bind. */
#include "control/listeners.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void listeners_init(struct listeners *l, const struct listen_options *options)
{
	memset(l, 0, sizeof(*l));
	l->options = *options;
}

void listeners_done(struct listeners *l)
{
	for (size_t i = 0; i < l->count; i++)
		listen_socket_unref(l->all[i].socket);
	free(l->all);
	memset(l, 0, sizeof(*l));
}

static int make_room(struct listeners *l)
{
	struct listening *all = realloc(l->all, (l->count + 1) * sizeof(*all));

	if (all == NULL)
		return -ENOMEM;
	l->all = all;
	return 0;
}

int listeners_offer(struct listeners *l, const struct endpoint *addr, int fd, bool borrowed)
{
	struct listen_socket *socket;
	int rc = make_room(l);

	if (rc == 0)
		rc = listen_socket_adopt(fd, &l->options, borrowed, &socket);
	if (rc == 0)
		l->all[l->count++] = (struct listening){
			.addr = addr != NULL ? *addr : socket->addr,
			.socket = socket,
			.wanted = true,
			.unmatched = true,
		};
	return rc;
}

void listeners_let_go(struct listeners *l)
{
	for (size_t i = 0; i < l->count; i++)
		listen_socket_let_go(l->all[i].socket);
	l->closed = true;
}

int listeners_get(struct listeners *l, const struct endpoint *addr,
                  struct listen_socket **ret_socket)
{
	struct listen_socket *socket;
	int rc;

	for (size_t i = 0; i < l->count; i++) {
		if (endpoint_equal(&l->all[i].addr, addr) ||
		    endpoint_equal(&l->all[i].socket->addr, addr)) {
			l->all[i].unmatched = false;
			*ret_socket = listen_socket_ref(l->all[i].socket);
			return 0;
		}
	}
	if (l->closed)
		return -ESHUTDOWN;
	rc = make_room(l);
	if (rc == 0)
		rc = listen_socket_new(addr, &l->options, &socket);
	if (rc != 0)
		return rc;
	l->all[l->count++] = (struct listening){.addr = *addr, .socket = socket, .wanted = true};
	*ret_socket = listen_socket_ref(socket);
	return 0;
}

bool listeners_same(const struct listeners *l, const struct endpoint *bound,
                    const struct endpoint *addr)
{
	for (size_t i = 0; i < l->count; i++) {
		if (endpoint_equal(&l->all[i].addr, addr))
			return endpoint_equal(&l->all[i].socket->addr, bound);
	}
	return false;
}

static bool table_listens(const struct table *t, const struct listen_socket *socket)
{
	for (uint32_t i = 0; i < t->service_count; i++) {
		if (t->services[i]->socket == socket)
			return true;
	}
	return false;
}

static void log_unmatched(const struct listening *one)
{
	char addr[ENDPOINT_TEXT_MAX];
	struct log_line l;

	log_begin(&l, LOG_WARN, "socket_unmatched");
	log_str(&l, "addr", endpoint_format(&one->socket->addr, addr));
	log_str(&l, "effect", "no service listens there: the socket is closed");
	log_end(&l);
}

void listeners_sweep(struct listeners *l, const struct table *t, uint64_t now_ms)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->count; i++) {
		struct listening *one = &l->all[i];
		bool wanted = table_listens(t, one->socket);

		if (one->wanted && !wanted)
			one->unwanted_since_ms = now_ms;
		one->wanted = wanted;
		if (!wanted && now_ms - one->unwanted_since_ms >= LISTENER_RETIRE_MS) {
			if (one->unmatched)
				log_unmatched(one);
			listen_socket_stop(one->socket);
			listen_socket_unref(one->socket);
			continue;
		}
		l->all[kept++] = *one;
	}
	l->count = kept;
}
