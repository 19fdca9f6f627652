/* When a backend is checked, and when it counts as down: a state machine without I/O. The time and
 * the random source are arguments, so it runs under virtual time as well. The owner thread only. */
#ifndef HEALTH_CHECK_H
#define HEALTH_CHECK_H

#include "base/rng.h"

#include <stdbool.h>
#include <stdint.h>

struct check_timing {
	uint32_t inter_ms;     /* from one check to the next */
	uint32_t fastinter_ms; /* the same while results are turning */
	uint32_t downinter_ms; /* the same while down */
	uint32_t timeout_ms;
	uint32_t grace_ms; /* failures so soon after the first sight do not count */
	uint32_t rise;     /* 1..: passes in a row that bring it up */
	uint32_t fall;     /* 1..: failures in a row that take it down */
};

struct check_state {
	bool down;
	bool passed;             /* ever */
	uint32_t streak;         /* results in a row that speak against the present state */
	uint64_t grace_until_ms; /* failures before this do not count */
	uint64_t changed_ms;     /* since when it is what it is */
};

enum check_change { CHECK_UNCHANGED, CHECK_WENT_DOWN, CHECK_CAME_UP };

/* A backend that is seen for the first time: up until checks say otherwise. */
void check_begin(struct check_state *s, const struct check_timing *t, uint64_t now_ms);
/* Then, where another process has checked it before: it is down, and stays so until rise; or it is
 * up, and takes as many failures as one that has passed. */
void check_adopt(struct check_state *s, bool down);
/* When its first check is due: anywhere within one interval, so that many do not start at once. */
uint64_t check_first_ms(const struct check_timing *t, uint64_t now_ms, struct rng *rng);
/* What a result makes of it. Before the first pass one failure is enough: a backend that was down
 * when it was first seen never served anybody. */
enum check_change check_result(struct check_state *s, const struct check_timing *t, bool passed,
                               uint64_t now_ms);
/* When the check after one that started at started_ms is due: CHECK_JITTER_PERCENT more or less
 * than the interval that the state asks for. It may have passed. */
uint64_t check_next_ms(const struct check_state *s, const struct check_timing *t,
                       uint64_t started_ms, struct rng *rng);

#define CHECK_JITTER_PERCENT 10

#endif
