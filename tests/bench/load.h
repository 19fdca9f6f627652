/* The load generator of the bench: what its server and its client agree on.
 *
 * The first byte that a client sends says what the connection is for; everything after it follows
 * from that. There is no other protocol, so any TCP proxy can stand between. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LOAD_DOWN 'd' /* the server sends for ever */
#define LOAD_UP 'u'   /* the server reads for ever */
#define LOAD_PING 'p' /* the server echoes */
#define LOAD_ONCE 'c' /* the server answers one message and closes */

/* A ping, and the request and the answer of LOAD_ONCE. */
#define LOAD_MESSAGE_BYTES 64

/* One send or receive of bulk. The buffer stays in the second-level cache. */
#define LOAD_BULK_BYTES (256u << 10)

#define LOAD_EVENTS 256
/* How long a wait without an event may be. */
#define LOAD_TICK_MS 100

#define LOAD_NEED(ok) ((ok) ? (void)0 : load_die(#ok, __LINE__))

_Noreturn static inline void load_die(const char *what, int line)
{
	fprintf(stderr, "load: line %d: %s: %m\n", line, what);
	exit(1);
}

static inline uint64_t load_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Beside pings, bulk threads stand for machines of their own: whoever waits for their CPU goes
 * first. Otherwise a ping's time would be that of this generator's bulk, a few milliseconds. */
static inline void load_give_way(void)
{
	sched_yield();
}

/* Listens on 127.0.0.1, on count ports from port on, and serves until a signal ends it. */
_Noreturn void load_serve(uint16_t port, unsigned count);

#endif
