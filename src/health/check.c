/* Rise, fall and intervals as HAProxy has them. A state changes only after a row of results that
 * say the same; one that says otherwise begins the row anew. While a row is under way the interval
 * is the fast one, so that a change is found soon, and while a backend is down the interval for
 * that.
 *
 * The jitter keeps checks apart that started together, here and in other POPs. */
#include "health/check.h"

void check_begin(struct check_state *s, const struct check_timing *t, uint64_t now_ms)
{
	*s = (struct check_state){
		.grace_until_ms = now_ms + t->grace_ms,
		.changed_ms = now_ms,
	};
}

void check_adopt(struct check_state *s, bool down)
{
	s->down = down;
	s->passed = true;
	if (down)
		s->grace_until_ms = 0;
}

uint64_t check_first_ms(const struct check_timing *t, uint64_t now_ms, struct rng *rng)
{
	return now_ms + rng_below(rng, t->inter_ms);
}

static enum check_change turn(struct check_state *s, bool down, uint64_t now_ms)
{
	s->down = down;
	s->streak = 0;
	s->changed_ms = now_ms;
	return down ? CHECK_WENT_DOWN : CHECK_CAME_UP;
}

enum check_change check_result(struct check_state *s, const struct check_timing *t, bool passed,
                               uint64_t now_ms)
{
	uint32_t fall = s->passed ? t->fall : 1;

	if (!passed && now_ms < s->grace_until_ms)
		return CHECK_UNCHANGED;
	s->passed |= passed;
	if (passed != s->down) {
		s->streak = 0;
		return CHECK_UNCHANGED;
	}
	s->streak++;
	if (s->streak < (passed ? t->rise : fall))
		return CHECK_UNCHANGED;
	return turn(s, !passed, now_ms);
}

uint64_t check_next_ms(const struct check_state *s, const struct check_timing *t,
                       uint64_t started_ms, struct rng *rng)
{
	uint64_t interval = s->streak > 0 ? t->fastinter_ms
	                    : s->down     ? t->downinter_ms
	                                  : t->inter_ms;
	uint64_t jitter = interval * CHECK_JITTER_PERCENT / 100;

	return started_ms + interval - jitter + rng_below(rng, 2 * jitter + 1);
}
