/* What one client may take: so many connections at a time, and so many new ones in a period. A
 * client is an address, or all that share its first bits: of IPv6 usually a /64.
 *
 * Bounded: where a new client finds the table full, the one that has had no connection for longest
 * is forgotten; where all have some, the new client is let in without being counted. Of one process
 * alone: in an upgrade what a client has in those that drain is not counted in the new one. To hand
 * it over exactly, each would have to tell the others of every end of a session. Sharded, one
 * short lock a shard; any thread. Times are nanoseconds of a monotonic clock, given by the caller.
 */
#ifndef ROUTE_CLIENT_LIMITS_H
#define ROUTE_CLIENT_LIMITS_H

#include "base/check.h"
#include "net/addr.h"

#include <stdint.h>

struct client_limits;

#define CLIENT_LIMITS_ENTRIES_MAX 10000000

struct client_limits_options {
	uint32_t max_entries; /* 1..CLIENT_LIMITS_ENTRIES_MAX */
	uint32_t max_conn;    /* at a time; 0: any number */
	uint32_t rate;        /* new connections in a period; 0: any number */
	uint32_t burst;       /* of them, at once; 0: as many as rate */
	uint64_t period_ns;
	unsigned v4_bits; /* 1..32 */
	unsigned v6_bits; /* 1..128 */
	uint64_t seed;    /* a secret, so that clients cannot choose colliding keys */
};

enum client_verdict {
	CLIENT_COUNTED,   /* may come in; client_limits_leave() when it goes */
	CLIENT_UNCOUNTED, /* may come in, since the table is full */
	CLIENT_AT_LIMIT,  /* has max_conn connections */
	CLIENT_TOO_FAST,
};

/* NULL: out of memory. About 48 bytes an entry, taken as they are used. */
struct client_limits *client_limits_new(const struct client_limits_options *options);
void client_limits_free(struct client_limits *c); /* NULL-safe */

/* A connection wants to come in. One that may not changes nothing. */
MUST_CHECK enum client_verdict client_limits_enter(struct client_limits *c, const struct ip *client,
                                                   uint64_t now_ns);
/* One that was counted has gone. */
void client_limits_leave(struct client_limits *c, const struct ip *client);
/* What client_limits_enter() would say, with how many connections the client has in *ret_count; a
 * look that changes nothing and that nobody remembers. */
MUST_CHECK enum client_verdict client_limits_look(struct client_limits *c, const struct ip *client,
                                                  uint64_t now_ns, uint32_t *ret_count);
/* Clients that are remembered now. */
uint32_t client_limits_count(struct client_limits *c);

#endif
