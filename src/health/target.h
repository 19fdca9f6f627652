/* Something that is checked: a backend, or its agent, with what is known of it. The health
 * thread's.
 */
#ifndef HEALTH_TARGET_H
#define HEALTH_TARGET_H

#include "base/list.h"
#include "health/agent.h"
#include "health/check.h"
#include "health/probe.h"
#include "net/timer.h"
#include "route/live.h"
#include "route/table.h"

#include <stdbool.h>
#include <stdint.h>

struct flight;
struct schedule;

struct target {
	/* The schedule's alone (health/schedule.h). */
	struct schedule *schedule;
	struct timer due;      /* armed while it is not under way and does not wait */
	struct list queue;     /* while it waits for a place among those under way */
	struct flight *flight; /* NULL: not under way */
	uint64_t wanted_ms;    /* when the present probe should have started */
	uint64_t started_ms;   /* the last probe */

	uint32_t slot;
	bool agent;
	bool silent;                        /* an agent that has not answered the last time */
	const struct health_check_row *row; /* of the present table; NULL: the environment alone */
	struct endpoint addr;               /* of the backend */
	struct check_state state;
};

/* How it is checked: its row and the environment made one. False: it is not. */
bool target_spec(const struct target *t, const struct config *config, struct check_spec *ret_spec);

/* Makes of a finished probe what it means: into live, and one line of the log where anything has
 * changed. */
void target_result(struct target *t, struct live *live, const struct check_spec *spec,
                   enum probe_verdict verdict, const struct probe *probe, uint64_t now_ms);
/* One that has just begun goes on from what live says that an earlier process has found. continued:
 * that process was checking it until now. */
void target_adopt(struct target *t, const struct live *live, bool continued);
/* Nothing is said of the backend any more. */
void target_forget(const struct target *t, struct live *live);

#endif
