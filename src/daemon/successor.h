/* An upgrade, seen from the old process: it starts the program at its own path anew and hands over
 * to it, step by step, while it serves. Control thread. See control/handover.h. */
#ifndef DAEMON_SUCCESSOR_H
#define DAEMON_SUCCESSOR_H

#include "base/check.h"
#include "daemon/runner.h"

#include <stdbool.h>

/* The new process may take so long until it is ready, and again to read what was learnt; then,
 * while nobody accepts, for each answer. */
#define SUCCESSOR_START_MS 60000
#define SUCCESSOR_ANSWER_MS 5000
/* A retired process tells what its sessions have learnt no more often than this. */
#define SUCCESSOR_NEWS_MS 1000

/* SIGUSR2. What goes wrong is logged, now or later, and leaves this process as it was. */
void successor_start(struct runner *r);
/* What is to be done next. */
void successor_tick(struct runner *r, uint64_t now_ms);
/* Is an upgrade under way? Then nothing is reloaded: the new process has this one's slots. */
bool successor_starts(const struct runner *r);
/* Has this process retired? */
bool successor_serves(const struct runner *r);
/* This process is told to stop while an upgrade is under way: ends that, unless the new process
 * accepts already; then this one has retired. */
void successor_refuse(struct runner *r, uint64_t now_ms);
/* A retired process ends: it tells its last news. */
void successor_leave(struct runner *r);

#endif
