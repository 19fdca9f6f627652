/* The listening sockets, kept open across tables: a reload that leaves an address alone never drops
 * a client that is just connecting there. The control thread only. */
#ifndef CONTROL_LISTENERS_H
#define CONTROL_LISTENERS_H

#include "base/check.h"
#include "net/socket.h"
#include "route/table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How long an address that no table has any more stays open: by then every worker has swapped its
 * table and accepts there no more. */
#define LISTENER_RETIRE_MS 1000

struct listening {
	struct endpoint addr; /* as configured */
	struct listen_socket *socket;
	bool wanted;
	bool unmatched; /* was offered, and no service has taken it yet */
	uint64_t unwanted_since_ms;
};

struct listeners {
	struct listen_options options;
	struct listening *all;
	size_t count;
	bool closed; /* opens no more: another process listens now */
};

void listeners_init(struct listeners *l, const struct listen_options *options);
void listeners_done(struct listeners *l);

/* Takes over a socket that listens already (net/socket.h), for a service of its address as
 * configured or as bound. 0 or -errno: then fd is still the caller's. */
MUST_CHECK int listeners_offer(struct listeners *l, const struct endpoint *addr, int fd,
                               bool borrowed);
/* Another process listens now: lets go of all sockets, and opens none any more. */
void listeners_let_go(struct listeners *l);

/* The socket of an address (also given as bound, where its port was 0), opened if need be; a
 * reference for the caller. 0 or -errno (-ESHUTDOWN: closed). */
MUST_CHECK int listeners_get(struct listeners *l, const struct endpoint *addr,
                             struct listen_socket **ret_socket);
/* Is bound, an address as bound, the one that the socket of addr got? */
bool listeners_same(const struct listeners *l, const struct endpoint *bound,
                    const struct endpoint *addr);
/* After each table, and each tick: sockets that no service of t has, and has had for
 * LISTENER_RETIRE_MS, stop listening, even where a session still holds them. */
void listeners_sweep(struct listeners *l, const struct table *t, uint64_t now_ms);

#endif
