/* Sees threads that have stopped turning. Each watched thread stamps its heartbeat once a turn of
 * its loop; the watchdog, a thread of its own, looks every WATCHDOG_TICK_MS and wakes those that
 * have had nothing to do, so that silence means one thing only. A thread that stays silent for
 * WATCHDOG_STALL_TICKS looks is logged with its stack, and what then happens is an option.
 *
 * The log thread is not watched: it waits for whoever reads the log, which is not this program's
 * fault, and the watchdog's own words would wait there too. */
#ifndef BASE_WATCHDOG_H
#define BASE_WATCHDOG_H

#include "base/check.h"
#include "base/list.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define WATCHDOG_TICK_MS 1000
/* A stall is seen after 3 to 4 seconds. */
#define WATCHDOG_STALL_TICKS 4
/* A thread that is asked for its stack has so long to answer. */
#define WATCHDOG_STACK_MS 500
#define WATCHDOG_FRAMES_MAX 24

enum watchdog_mode { WATCHDOG_OFF, WATCHDOG_LOG, WATCHDOG_ABORT };

struct heartbeat {
	_Atomic uint64_t turns; /* written by the thread alone */

	/* The watchdog's, under its lock. */
	struct list node;
	char name[16];
	pid_t tid;
	void (*wake)(void *arg); /* any thread; NULL: it wakes by itself often enough */
	void *arg;
	uint64_t seen;
	unsigned silent; /* looks without a turn */
	bool stalled;
};

/* Starts the thread; WATCHDOG_OFF: nothing. 0 or -errno. */
MUST_CHECK int watchdog_start(enum watchdog_mode mode);
void watchdog_stop(void);

/* By which the watchdog asks a thread for its stack: no watched thread blocks it. */
int watchdog_signal(void);

/* The calling thread is watched from now on, and no more. */
void heartbeat_begin(struct heartbeat *h, const char *name, void (*wake)(void *arg), void *arg);
void heartbeat_end(struct heartbeat *h);

/* Once a turn. */
static inline void heartbeat_turn(struct heartbeat *h)
{
	uint64_t turns = atomic_load_explicit(&h->turns, memory_order_relaxed);

	atomic_store_explicit(&h->turns, turns + 1, memory_order_relaxed);
}

#endif
