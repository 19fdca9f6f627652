/* When each target is checked, and the checks that are under way. It never blocks. The health
 * thread only. Times are milliseconds of the monotonic clock. */
#ifndef HEALTH_SCHEDULE_H
#define HEALTH_SCHEDULE_H

#include "base/check.h"
#include "base/list.h"
#include "base/pool.h"
#include "base/rng.h"
#include "config/config.h"
#include "health/probe.h"
#include "health/target.h"
#include "net/timer.h"
#include "route/live.h"
#include "route/table.h"

#include <stdint.h>

/* When checks start, in steps of this: those of one step are one wake-up. */
#define SCHEDULE_TICK_MS 10
/* The same trouble of this machine is logged no more often. */
#define SCHEDULE_TROUBLE_QUIET_MS 10000
/* Scripts under way at one time: each is a process. */
#define SCHEDULE_SCRIPTS_MAX 32

/* Places for checks under way, and who waits for one. */
struct schedule_lane {
	struct list waiting; /* targets */
	uint32_t under_way;
	uint32_t places;
};

enum { SCHEDULE_CONNECT, SCHEDULE_SCRIPT, SCHEDULE_LANES };

struct schedule {
	const struct config *config;
	struct live *live;
	/* The present one, the owner's to set: whoever is checked is in it. */
	const struct table *table;
	struct rng rng;
	struct timer_wheel wheel;
	struct schedule_lane lanes[SCHEDULE_LANES];
	struct object_pool flights;
	struct probe_context context;
	uint64_t trouble_ms; /* logged; 0: never */
};

/* All that is pointed to outlives the schedule. */
struct schedule_options {
	const struct config *config;
	struct live *live;
	uint32_t concurrency; /* checks under way at one time, 1.. */
	uint64_t seed;
	int epoll_fd;           /* the owner's; has probes as data, for schedule_event() */
	const char *script_dir; /* absolute */
};

/* 0 or -ENOMEM. */
MUST_CHECK int schedule_init(struct schedule *s, const struct schedule_options *options,
                             uint64_t now_ms);
/* No target is left in it. Zeroed is fine. */
void schedule_done(struct schedule *s);

/* A target that is new: its first check comes soon. */
void schedule_add(struct schedule *s, struct target *t, const struct check_spec *spec,
                  uint64_t now_ms);
/* No more checks: ends without a verdict what is under way. */
void schedule_remove(struct target *t);
/* It is checked in another way from now on: schedule_remove(), and the first check comes soon. */
void schedule_restart(struct target *t, const struct check_spec *spec, uint64_t now_ms);
/* It is checked as before, but the texts of its spec lie elsewhere. */
void schedule_respec(struct target *t, const struct check_spec *spec);

/* What a turn of the thread does, in this order: wait so long (-1: for ever), then the events of
 * epoll, then the time, then whatever is due and has a place. */
int schedule_wait_ms(const struct schedule *s, uint64_t now_ms);
void schedule_event(struct schedule *s, struct probe *probe, uint32_t events, uint64_t now_ms);
void schedule_advance(struct schedule *s, uint64_t now_ms);
void schedule_start(struct schedule *s, uint64_t now_ms);

/* Logs something of this machine that keeps a check from being made; now and then. */
void schedule_trouble(struct schedule *s, const char *event, const struct target *t,
                      const char *reason, uint64_t now_ms);

#endif
