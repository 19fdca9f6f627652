/* Outlier detection. The workers count what comes of connections (route/live.h); here is decided
 * what that means, by the counts and the clock alone, so that the same code runs in a simulation.
 *
 * A backend is watched from its first ejection until that is forgotten:
 *
 *     (sound) ──▶ EJECTED ──time over──▶ TRIAL ──success──▶ RETURNED ──intervals──▶ (sound)
 *                    ▲                     │ failure            │ fails again
 *                    └─────────────────────┴────────────────────┘
 *
 * Only watched backends and those with a new failure are looked at each time, and all members of
 * all pools once in an interval, for their success rates.
 *
 * It trusts the counts to be of the backend that has the slot; the generation says whether it is
 * still the one that was ejected. It never ejects a backend that something else speaks against, and
 * never the last sound one of a pool. */
#include "route/outlier.h"

#include "route/limits.h"

#include <stdlib.h>

#define PERCENT 100
#define PER_MILLE 1000.0
/* Rounding must not eject one of many that are equal: squares of percents, far below one
 * connection in a hundred thousand. */
#define RATE_SLACK 1e-6

enum phase { NOT_WATCHED, EJECTED, TRIAL, RETURNED };

struct watched {
	uint64_t since_ms; /* of the first ejection in sequence */
	uint64_t until_ms; /* what ends then depends on the phase */
	uint32_t generation;
	uint32_t successes; /* when the trial began */
	uint32_t failures;
	uint16_t ejections;
	uint8_t phase;
};

/* Outcomes of an interval. */
struct tally {
	uint32_t successes_before;
	uint32_t failures_before;
	uint32_t successes;
	uint32_t failures;
};

struct outlier {
	struct outlier_options options;
	struct live *live;
	struct watched *by_slot; /* LIVE_SLOTS_MAX, memory only where touched; as the next two */
	uint32_t *watched;       /* slots */
	struct tally *tallies;   /* by slot */
	uint32_t watched_count;
	uint64_t interval_end_ms;
	uint32_t *ejected_of_pool; /* counted anew in each tick that needs it */
	uint32_t pools;            /* room there */
	bool counted;
};

/* What one tick works with. */
struct tick {
	struct outlier *o;
	const struct table *t;
	uint64_t now_ms;
	void (*changed)(void *arg, const struct outlier_change *change);
	void *arg;
};

const char *outlier_cause_word(enum outlier_cause cause)
{
	static const char *const words[] = {
		[OUTLIER_CONSECUTIVE_FAILURES] = "consecutive-failures",
		[OUTLIER_SUCCESS_RATE] = "success-rate",
		[OUTLIER_TRIAL_FAILED] = "trial-failed",
	};

	CHECK((size_t)cause < sizeof(words) / sizeof(words[0]));
	return words[cause];
}

struct outlier *outlier_new(const struct outlier_options *options, struct live *live,
                            uint64_t now_ms)
{
	struct outlier *o = calloc(1, sizeof(*o));

	if (o == NULL)
		return NULL;
	o->options = *options;
	o->live = live;
	o->interval_end_ms = now_ms + options->interval_ms;
	o->by_slot = calloc(LIVE_SLOTS_MAX, sizeof(*o->by_slot));
	o->watched = calloc(LIVE_SLOTS_MAX, sizeof(*o->watched));
	o->tallies = calloc(LIVE_SLOTS_MAX, sizeof(*o->tallies));
	if (o->by_slot == NULL || o->watched == NULL || o->tallies == NULL) {
		outlier_free(o);
		return NULL;
	}
	return o;
}

void outlier_free(struct outlier *o)
{
	if (o == NULL)
		return;
	free(o->by_slot);
	free(o->watched);
	free(o->tallies);
	free(o->ejected_of_pool);
	free(o);
}

/* ---- how many may be ejected ---- */

/* Every backend is in the pool of its app, if it can have clients at all. */
static const struct pool *pool_of(const struct tick *k, uint32_t slot)
{
	const struct backend *b = table_backend_in_slot(k->t, slot);

	return b != NULL && backend_usable(b) ? table_pool(k->t, b->app) : NULL;
}

/* False: out of memory, and nobody is ejected for now. */
static bool count_ejected(const struct tick *k)
{
	struct outlier *o = k->o;

	if (o->counted)
		return true;
	if (o->pools < k->t->pool_count) {
		uint32_t *more = realloc(o->ejected_of_pool, k->t->pool_count * sizeof(*more));

		if (more == NULL)
			return false;
		o->ejected_of_pool = more;
		o->pools = k->t->pool_count;
	}
	for (uint32_t i = 0; i < k->t->pool_count; i++)
		o->ejected_of_pool[i] = 0;
	for (uint32_t i = 0; i < o->watched_count; i++) {
		const struct pool *p = pool_of(k, o->watched[i]);

		if (p != NULL && o->by_slot[o->watched[i]].phase != RETURNED)
			o->ejected_of_pool[p - k->t->pools]++;
	}
	o->counted = true;
	return true;
}

static bool another_is_sound(const struct tick *k, const struct pool *p, uint32_t slot)
{
	/* From the end, because those that failed are met from the beginning. */
	for (uint32_t i = p->member_count; i-- > 0;)
		if (p->slots[i] != slot && live_faults(k->o->live, p->slots[i]) == 0)
			return true;
	return false;
}

static bool may_eject(const struct tick *k, const struct pool *p, uint32_t slot)
{
	uint64_t after;

	if (live_faults(k->o->live, slot) != 0 || !count_ejected(k))
		return false;
	after = (uint64_t)k->o->ejected_of_pool[p - k->t->pools] + 1;
	if (after > 1 &&
	    after * PERCENT > (uint64_t)p->member_count * k->o->options.max_ejection_percent)
		return false;
	return another_is_sound(k, p, slot);
}

/* ---- ejection and return ---- */

static void tell(const struct tick *k, uint32_t slot, bool ejected, enum outlier_cause cause,
                 uint64_t ms)
{
	k->changed(k->arg, &(struct outlier_change){
				   .slot = slot,
				   .ejected = ejected,
				   .cause = cause,
				   .ejections = k->o->by_slot[slot].ejections,
				   .ms = ms,
				   .outcomes = live_outcomes(k->o->live, slot),
			   });
}

static void set_ejected(struct outlier *o, uint32_t slot, bool on)
{
	live_set_trials(o->live, slot, 0);
	live_set_fault(o->live, slot, LIVE_EJECTED, on);
}

static uint64_t ejection_ms(const struct outlier_options *options, unsigned ejections)
{
	uint64_t ms = options->base_ejection_ms * ejections;
	uint64_t most = options->max_ejection_ms > options->base_ejection_ms
	                        ? options->max_ejection_ms
	                        : options->base_ejection_ms;

	return ms < most ? ms : most;
}

static struct watched *watch(struct outlier *o, uint32_t slot)
{
	struct watched *w = &o->by_slot[slot];

	if (w->phase == NOT_WATCHED) {
		*w = (struct watched){.generation = live_generation(o->live, slot)};
		o->watched[o->watched_count++] = slot;
	}
	return w;
}

/* Also again, after a trial. */
static void eject(const struct tick *k, uint32_t slot, enum outlier_cause cause)
{
	struct outlier *o = k->o;
	struct watched *w = watch(o, slot);
	uint64_t ms;

	if (w->phase != TRIAL)
		w->since_ms = k->now_ms;
	if (w->ejections < UINT16_MAX)
		w->ejections++;
	ms = ejection_ms(&o->options, w->ejections);
	w->phase = EJECTED;
	w->until_ms = k->now_ms + ms;
	set_ejected(o, slot, true);
	tell(k, slot, true, cause, ms);
}

static void consider(const struct tick *k, uint32_t slot, enum outlier_cause cause)
{
	const struct pool *p = pool_of(k, slot);

	if (p == NULL || !may_eject(k, p, slot))
		return;
	eject(k, slot, cause);
	k->o->ejected_of_pool[p - k->t->pools]++;
}

static void begin_trial(const struct tick *k, uint32_t slot)
{
	struct outlier *o = k->o;
	struct watched *w = &o->by_slot[slot];
	struct live_outcomes outcomes = live_outcomes(o->live, slot);

	w->phase = TRIAL;
	w->until_ms = k->now_ms + o->options.trial_ms;
	w->successes = outcomes.successes;
	w->failures = outcomes.failures;
	live_set_trials(o->live, slot, OUTLIER_TRIAL_CLIENTS);
}

static void advance_trial(const struct tick *k, uint32_t slot)
{
	struct outlier *o = k->o;
	struct watched *w = &o->by_slot[slot];
	struct live_outcomes outcomes = live_outcomes(o->live, slot);

	if (outcomes.successes != w->successes) {
		w->phase = RETURNED;
		w->until_ms = k->now_ms + o->options.interval_ms;
		live_forgive(o->live, slot);
		set_ejected(o, slot, false);
		tell(k, slot, false, OUTLIER_TRIAL_FAILED, k->now_ms - w->since_ms);
	} else if (outcomes.failures != w->failures) {
		eject(k, slot, OUTLIER_TRIAL_FAILED);
	} else if (k->now_ms >= w->until_ms) {
		begin_trial(k, slot); /* those who tried left before anything was known */
	}
}

/* False: it need not be watched any more. */
static bool advance(const struct tick *k, uint32_t slot)
{
	struct outlier *o = k->o;
	struct watched *w = &o->by_slot[slot];

	if (live_generation(o->live, slot) != w->generation)
		return false;
	if (table_backend_in_slot(k->t, slot) == NULL) {
		set_ejected(o, slot, false); /* should its row come back, it begins anew */
		return false;
	}
	switch ((enum phase)w->phase) {
	case EJECTED:
		if (k->now_ms >= w->until_ms)
			begin_trial(k, slot);
		break;
	case TRIAL:
		advance_trial(k, slot);
		break;
	case RETURNED:
		if (k->now_ms < w->until_ms)
			break;
		w->until_ms = k->now_ms + o->options.interval_ms;
		return --w->ejections > 0;
	case NOT_WATCHED:
		return false;
	}
	return true;
}

static void advance_all(const struct tick *k)
{
	struct outlier *o = k->o;
	uint32_t i = 0;

	while (i < o->watched_count) {
		uint32_t slot = o->watched[i];

		if (advance(k, slot)) {
			i++;
			continue;
		}
		o->by_slot[slot].phase = NOT_WATCHED;
		o->watched[i] = o->watched[--o->watched_count];
	}
}

/* ---- failures in a row ---- */

static void look_at_failed(const struct tick *k)
{
	struct outlier *o = k->o;
	uint32_t end = live_slot_end(o->live);

	for (uint32_t first = 0; first < end; first += LIVE_SLOTS_A_WORD) {
		uint64_t failed = live_take_failed(o->live, first);

		for (; failed != 0; failed &= failed - 1) {
			uint32_t slot = first + (uint32_t)__builtin_ctzll(failed);

			if (live_outcomes(o->live, slot).failures_in_a_row >=
			    o->options.consecutive_failures)
				consider(k, slot, OUTLIER_CONSECUTIVE_FAILURES);
		}
	}
}

/* ---- success rates ---- */

static uint32_t since(uint32_t now, uint32_t before)
{
	return now >= before ? now - before : now; /* fewer: another backend has the slot now */
}

static void close_tally(const struct outlier *o, uint32_t slot)
{
	struct live_outcomes outcomes = live_outcomes(o->live, slot);

	o->tallies[slot] = (struct tally){
		.successes_before = outcomes.successes,
		.failures_before = outcomes.failures,
		.successes = since(outcomes.successes, o->tallies[slot].successes_before),
		.failures = since(outcomes.failures, o->tallies[slot].failures_before),
	};
}

/* 0..100. False: too few outcomes, or it is not in use. */
static bool success_rate(const struct outlier *o, uint32_t slot, double *ret_rate)
{
	const struct tally *tally = &o->tallies[slot];
	uint64_t all = (uint64_t)tally->successes + tally->failures;

	if (all == 0 || all < o->options.request_volume || live_faults(o->live, slot) != 0)
		return false;
	*ret_rate = PERCENT * (double)tally->successes / (double)all;
	return true;
}

/* Ejected is who is more than so many standard deviations below the mean. Squares are compared, so
 * no root is taken. */
static void judge_rates(const struct tick *k, const struct pool *p)
{
	const struct outlier *o = k->o;
	double factor = o->options.stdev_factor / PER_MILLE;
	double sum = 0, squares = 0, rate, mean, variance;
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->member_count; i++) {
		if (!success_rate(o, p->slots[i], &rate))
			continue;
		sum += rate;
		squares += rate * rate;
		n++;
	}
	if (n == 0 || n < o->options.min_hosts)
		return;
	mean = sum / n;
	variance = squares / n - mean * mean;
	for (uint32_t i = 0; i < p->member_count; i++)
		if (success_rate(o, p->slots[i], &rate) && rate < mean &&
		    (mean - rate) * (mean - rate) > variance * factor * factor + RATE_SLACK)
			consider(k, p->slots[i], OUTLIER_SUCCESS_RATE);
}

static void end_interval(const struct tick *k)
{
	struct outlier *o = k->o;

	o->interval_end_ms = k->now_ms + o->options.interval_ms;
	for (uint32_t i = 0; i < k->t->pool_count; i++) {
		const struct pool *p = &k->t->pools[i];

		if (p->app == NULL) /* its members are in the others too */
			continue;
		for (uint32_t m = 0; m < p->member_count; m++)
			close_tally(o, p->slots[m]);
		judge_rates(k, p);
	}
}

void outlier_tick(struct outlier *o, const struct table *t, uint64_t now_ms,
                  void (*changed)(void *arg, const struct outlier_change *change), void *arg)
{
	const struct tick k = {.o = o, .t = t, .now_ms = now_ms, .changed = changed, .arg = arg};

	o->counted = false;
	advance_all(&k);
	if (o->options.consecutive_failures > 0)
		look_at_failed(&k);
	if (o->options.stdev_factor > 0 && now_ms >= o->interval_end_ms)
		end_interval(&k);
}

/* ---- from process to process ---- */

bool outlier_recall(const struct outlier *o, uint32_t slot, uint64_t now_ms,
                    struct outlier_memory *ret_memory)
{
	const struct watched *w = &o->by_slot[slot];

	CHECK(slot < LIVE_SLOTS_MAX);
	if (w->phase == NOT_WATCHED || w->generation != live_generation(o->live, slot))
		return false;
	*ret_memory = (struct outlier_memory){
		.ejected = w->phase != RETURNED,
		.ejections = w->ejections,
		.left_ms = w->phase != TRIAL && w->until_ms > now_ms ? w->until_ms - now_ms : 0,
		.ejected_ms = now_ms > w->since_ms ? now_ms - w->since_ms : 0,
	};
	return true;
}

void outlier_restore(struct outlier *o, uint32_t slot, const struct outlier_memory *memory,
                     uint64_t now_ms)
{
	const struct outlier_options *options = &o->options;
	uint64_t most_ms = memory->ejected ? ejection_ms(options, memory->ejections)
	                                   : options->interval_ms;
	struct watched *w;

	CHECK(slot < LIVE_SLOTS_MAX);
	if ((options->consecutive_failures == 0 && options->stdev_factor == 0) ||
	    memory->ejections == 0)
		return;
	w = watch(o, slot);
	w->phase = memory->ejected ? EJECTED : RETURNED;
	w->ejections = memory->ejections;
	w->until_ms = now_ms + (memory->left_ms < most_ms ? memory->left_ms : most_ms);
	w->since_ms = now_ms > memory->ejected_ms ? now_ms - memory->ejected_ms : 0;
	set_ejected(o, slot, memory->ejected);
}
