/* The balancer. balancer_judge() is the rule, written as plainly as it can be: explain prints its
 * terms, and the tests hold balancer_pick() against it. balancer_pick() finds what judging every
 * backend would find, and does less for it:
 *
 *   - Groups are visited in the order of their region_score, and not at all once the best score
 *     found is below the least that they could have. Nothing is assumed of load_factor / weight: a
 *     score over 100 in the client's own region loses to an idle backend elsewhere, as the formula
 *     says.
 *   - The client's own country stands together in its group, so looking there first is a short
 * scan.
 *   - A member is first weighed by one multiplication, in single precision and therefore with some
 *     slack; only one that may be among the best is scored in double precision as the rule does.
 *
 * Connection counts change while they are scanned. Each is read once, so whatever is found was true
 * of each backend at some moment of the scan; who needs a place still has to reserve it.
 *
 * Equal scores: of members met one by one, the k-th must replace the choice so far with probability
 * weight_k / (weight_1 + … + weight_k). The chance that a choice made at total weight S still
 * stands at total T is S/T, so one random number says at which T it falls (Efraimidis and Spirakis
 * 2006, exponential jumps, for a sample of one): a few draws for thousands of equals. */
#include "route/balancer.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* What region_score is multiplied by, from the seed document. */
#define REGION_STEP 100.0
#define REGION_SCORE_MAX 2
/* Slack of the first weighing: far above the errors of single precision (2^-24 an operation), and
 * of adding to a region's share in double precision (2^-53). */
#define SLACK_RELATIVE 1e-6
#define SLACK_OF_SCORE 1e-15

struct search {
	const struct table *t;
	const struct balancer_query *q;
	const struct pool *pool;
	const _Atomic uint32_t *counts;
	struct rng *rng;

	const struct backend *best; /* NULL: none yet */
	uint32_t connections;       /* of best, when it was looked at */
	double score;
	uint64_t weight;    /* of all that have this score, so far */
	uint64_t stands_to; /* another is chosen when weight passes this */
};

const char *exclusion_word(enum exclusion e)
{
	static const char *const words[] = {
#define EXCLUSION(name, word, help) word,
#include "route/exclusion.def"
#undef EXCLUSION
	};

	CHECK((size_t)e < sizeof(words) / sizeof(words[0]));
	return words[e];
}

static unsigned region_score(const struct table *t, const struct balancer_query *q,
                             region_id region)
{
	/* A backend always has a region, so an unknown one of client or POP equals none. */
	if (region == q->region)
		return 0;
	return region == t->local_region ? 1 : 2;
}

static double full_score(unsigned region, double load_factor, uint32_t weight)
{
	return region * REGION_STEP + load_factor / weight;
}

static enum exclusion exclusion_of(const struct backend *b, const struct balancer_query *q,
                                   uint32_t connections)
{
	if (b->deleted)
		return EXCLUDED_DELETED;
	if (!b->healthy)
		return EXCLUDED_UNHEALTHY;
	if (b->state == STATE_MAINT)
		return EXCLUDED_MAINT;
	if (b->state == STATE_DRAIN)
		return EXCLUDED_DRAIN;
	if (b->weight == 0)
		return EXCLUDED_WEIGHT;
	if (q->app != NULL && strcmp(q->app, b->app) != 0)
		return EXCLUDED_APP;
	if (connections >= b->hard_limit)
		return EXCLUDED_FULL;
	if (tried_has(q->tried, b->slot))
		return EXCLUDED_TRIED;
	return EXCLUDED_NOT;
}

static struct balancer_terms judge(const struct table *t, const struct backend *b,
                                   const struct balancer_query *q, uint32_t connections)
{
	struct balancer_terms terms = {
		.exclusion = exclusion_of(b, q, connections),
		.region_score = region_score(t, q, b->region),
		.connections = connections,
		.load_factor = (double)connections / b->soft_limit,
	};
	int country = country_index(q->country);

	if (b->weight > 0)
		terms.score = full_score(terms.region_score, terms.load_factor, b->weight);
	terms.own_country = terms.region_score == 0 && country != COUNTRY_INDEX_NONE &&
	                    country == country_index(b->country) && connections < b->soft_limit;
	return terms;
}

struct balancer_terms balancer_judge(const struct table *t, const struct backend *b,
                                     const struct balancer_query *q)
{
	return judge(t, b, q, live_connections(t->live, b->slot));
}

/* Makes a member the choice among those of this score, and draws how long it stands. */
static void choose(struct search *s, uint32_t member, uint32_t connections)
{
	/* Uniform in (0, 1], so the quotient is below 2^53 times any total weight. */
	double u = (double)((rng_next(s->rng) >> 11) + 1) * 0x1p-53;
	double stands_to = (double)s->weight / u;

	s->best = &s->t->backends[s->pool->members[member]];
	s->connections = connections;
	s->stands_to = stands_to < 0x1p63 ? (uint64_t)stands_to : UINT64_MAX;
}

/* The most that load_factor / weight can be, nearly, in a member that is as good as the best. */
static float cost_limit(double best, double base)
{
	return (float)((best - base) * (1 + SLACK_RELATIVE) + best * SLACK_OF_SCORE);
}

/* Looks at members [first, end), all of one region. */
static void scan(struct search *s, uint32_t first, uint32_t end, unsigned region, bool under_soft)
{
	const struct pool *p = s->pool;
	double base = full_score(region, 0, 1);
	float limit = cost_limit(s->score, base);

	for (uint32_t i = first; i < end; i++) {
		uint32_t slot = p->slots[i];
		uint32_t now = atomic_load_explicit(&s->counts[slot], memory_order_relaxed);
		double score = base;

		if ((float)now * p->costs[i] > limit || tried_has(s->q->tried, slot))
			continue;
		if (now > 0) {
			if (now >= p->hard_limits[i] || (under_soft && now >= p->soft_limits[i]))
				continue;
			score = full_score(region, (double)now / p->soft_limits[i], p->weights[i]);
			if (score > s->score)
				continue;
		}
		if (score < s->score) {
			s->score = score;
			s->weight = 0;
			s->stands_to = 0;
			limit = cost_limit(score, base);
		}
		s->weight += p->weights[i];
		if (s->weight > s->stands_to)
			choose(s, i, now);
	}
}

static int member_country(const struct search *s, uint32_t member)
{
	return country_index(s->t->backends[s->pool->members[member]].country);
}

/* The first member of the group whose country is not before that one. */
static uint32_t country_start(const struct search *s, const struct group *g, int country)
{
	uint32_t low = g->first;
	uint32_t high = g->first + g->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (member_country(s, middle) < country)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void scan_group(struct search *s, const struct group *g, unsigned region)
{
	int country = country_index(s->q->country);

	if (region == 0 && country != COUNTRY_INDEX_NONE) {
		scan(s, country_start(s, g, country), country_start(s, g, country + 1), 0, true);
		if (s->best != NULL)
			return; /* with a score below 1, so no other region is visited either */
	}
	scan(s, g->first, g->first + g->count, region, false);
}

const struct backend *balancer_pick(const struct table *t, const struct balancer_query *q,
                                    struct rng *rng, struct balancer_terms *ret_terms)
{
	struct search s = {
		.t = t,
		.q = q,
		.pool = table_pool(t, q->app),
		.counts = live_counts(t->live),
		.rng = rng,
		.score = INFINITY,
	};

	if (s.pool == NULL)
		return NULL;
	for (unsigned region = 0; region <= REGION_SCORE_MAX; region++) {
		if (s.score < full_score(region, 0, 1))
			break;
		for (uint32_t i = 0; i < s.pool->group_count; i++) {
			const struct group *g = &s.pool->groups[i];

			if (region_score(t, q, g->region) == region)
				scan_group(&s, g, region);
		}
	}
	if (s.best != NULL && ret_terms != NULL)
		*ret_terms = judge(t, s.best, q, s.connections);
	return s.best;
}
