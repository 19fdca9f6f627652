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
 *   - While backends are idle, the best are the idle ones, and a few draws by weight find one of
 *     them however many there are (draw_idle). One in slow start never counts as idle.
 *   - Otherwise members are first weighed, many together, by one multiplication each in single
 *     precision and therefore with some slack; only one that may be among the best is scored in
 *     double precision as the rule does. A ramp, or a weight that an agent has lowered, can only
 *     raise a score, so the first weighing need not know of it.
 *
 * Connection counts change while they are scanned. Whatever is found was true of each backend at
 * some moment of the scan; who needs a place still has to reserve it.
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
/* Members that are weighed together before any is looked at. */
#define SCAN_BLOCK 32
/* Draws for an idle backend before all are scanned. */
#define IDLE_DRAWS 8

struct search {
	const struct table *t;
	const struct balancer_query *q;
	const struct pool *pool;
	const _Atomic uint32_t *counts;
	struct rng *rng;
	bool panic; /* faults are ignored */

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

/* A weight as an agent has lowered it. */
static double lowered(uint32_t weight, unsigned percent)
{
	return (uint64_t)weight * percent / 100.0;
}

static double full_score(unsigned region, double load_factor, double weight)
{
	return region * REGION_STEP + load_factor / weight;
}

/* In slow start: see balancer.h. */
static double ramped_score(unsigned region, uint32_t connections, uint32_t soft_limit,
                           double weight, uint8_t ramp)
{
	double load_factor = ((double)connections + 1) / soft_limit;

	return full_score(region, load_factor, weight * (ramp / 100.0));
}

static double score_of(unsigned region, uint32_t connections, uint32_t soft_limit, double weight,
                       uint8_t ramp)
{
	if (ramp != LIVE_NO_RAMP)
		return ramped_score(region, connections, soft_limit, weight, ramp);
	return full_score(region, (double)connections / soft_limit, weight);
}

/* For the client's own country; in slow start that part of the limit counts. */
static bool under_soft_limit(uint32_t connections, uint32_t soft_limit, uint8_t ramp)
{
	if (ramp == LIVE_NO_RAMP)
		return connections < soft_limit;
	return (uint64_t)connections * 100 < (uint64_t)soft_limit * ramp;
}

/* What has been seen of it, or what it says of itself. */
static enum exclusion exclusion_by_faults(const struct table *t, uint32_t slot,
                                          const struct balancer_query *q)
{
	unsigned faults = live_faults(t->live, slot);

	if ((faults & LIVE_AGENT_MAINT) != 0)
		return EXCLUDED_AGENT_MAINT;
	if ((faults & LIVE_AGENT_DRAIN) != 0)
		return EXCLUDED_AGENT_DRAIN;
	if (!live_is_shut(t->live, slot) || q->panic || table_in_panic(t, q->app))
		return EXCLUDED_NOT;
	if ((faults & LIVE_CHECK_DOWN) != 0)
		return EXCLUDED_CHECK_DOWN;
	if ((faults & LIVE_AGENT_DOWN) != 0)
		return EXCLUDED_AGENT_DOWN;
	return EXCLUDED_EJECTED;
}

static enum exclusion exclusion_of(const struct table *t, const struct backend *b,
                                   const struct balancer_query *q, uint32_t connections)
{
	enum exclusion faults;

	if (b->deleted)
		return EXCLUDED_DELETED;
	if (!b->healthy)
		return EXCLUDED_UNHEALTHY;
	if (b->state == STATE_MAINT)
		return EXCLUDED_MAINT;
	if (b->state == STATE_DRAIN && !(q->bound && live_in_grace(t->live, b->slot, q->now_ms)))
		return EXCLUDED_DRAIN;
	if (b->weight == 0 || live_weight_percent(t->live, b->slot) == 0)
		return EXCLUDED_WEIGHT;
	if (q->app != NULL && strcmp(q->app, b->app) != 0)
		return EXCLUDED_APP;
	faults = exclusion_by_faults(t, b->slot, q);
	if (faults != EXCLUDED_NOT)
		return faults;
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
		.exclusion = exclusion_of(t, b, q, connections),
		.region_score = region_score(t, q, b->region),
		.connections = connections,
		.ramp = live_ramp(t->live, b->slot),
		.load_factor = (double)connections / b->soft_limit,
	};
	double weight = lowered(b->weight, live_weight_percent(t->live, b->slot));
	int country = country_index(q->country);

	if (weight > 0)
		terms.score = score_of(terms.region_score, connections, b->soft_limit, weight,
		                       terms.ramp);
	terms.own_country = terms.region_score == 0 && country != COUNTRY_INDEX_NONE &&
	                    country == country_index(b->country) &&
	                    under_soft_limit(connections, b->soft_limit, terms.ramp);
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

/* Four at a time, as any 64-bit x86 and ARM can. The compilers' vector types need a typedef. */
typedef int32_t four_counts __attribute__((vector_size(16)));
typedef float four_costs __attribute__((vector_size(16)));

/* May any of SCAN_BLOCK members that follow one another be as good as the best? The counts are read
 * plainly, not atomically: what is read here only sorts members out, and who may be chosen is
 * looked at again. */
__attribute__((no_sanitize("thread"))) static bool block_may_win(const uint32_t *counts,
                                                                 const float *costs, float limit)
{
	four_counts any = {0};

	for (int i = 0; i < SCAN_BLOCK; i += 4) {
		four_counts count;
		four_costs cost;

		memcpy(&count, &counts[i], sizeof(count));
		memcpy(&cost, &costs[i], sizeof(cost));
		any |= __builtin_convertvector(count, four_costs) * cost <= limit;
	}
	return (any[0] | any[1] | any[2] | any[3]) != 0;
}

/* A full block of members from i on. */
static bool worth_a_look(const struct search *s, const struct group *g, uint32_t i, float limit)
{
	const struct pool *p = s->pool;
	uint32_t gathered[SCAN_BLOCK];

	/* An atomic counter is laid out as a plain one: connection_counts.c asserts it. */
	if (g->dense)
		return block_may_win((const uint32_t *)&s->counts[p->slots[i]], &p->costs[i],
		                     limit);
	for (uint32_t k = 0; k < SCAN_BLOCK; k++)
		gathered[k] = atomic_load_explicit(&s->counts[p->slots[i + k]],
		                                   memory_order_relaxed);
	return block_may_win(gathered, &p->costs[i], limit);
}

/* Not for this client, whatever its score. */
static bool is_out(const struct search *s, uint32_t slot, struct live_view view)
{
	return view.stated || (view.shut && !s->panic) || tried_has(s->q->tried, slot);
}

/* One member, as the rule has it. Its slot is looked at only when it may win. */
static void look(struct search *s, uint32_t i, unsigned region, bool under_soft)
{
	const struct pool *p = s->pool;
	uint32_t slot = p->slots[i];
	uint32_t now = atomic_load_explicit(&s->counts[slot], memory_order_relaxed);
	double score = full_score(region, 0, 1);
	struct live_view view;

	if (now > 0) {
		if (now >= p->hard_limits[i] || (under_soft && now >= p->soft_limits[i]))
			return;
		score = full_score(region, (double)now / p->soft_limits[i], p->weights[i]);
	}
	if (score > s->score)
		return;
	view = live_view(s->t->live, slot);
	if (view.weight_percent == 0 || is_out(s, slot, view))
		return;
	if (view.ramp != LIVE_NO_RAMP || view.weight_percent < 100) {
		score = score_of(region, now, p->soft_limits[i],
		                 lowered(p->weights[i], view.weight_percent), view.ramp);
		if (score > s->score ||
		    (under_soft && !under_soft_limit(now, p->soft_limits[i], view.ramp)))
			return;
	}
	if (score < s->score) {
		s->score = score;
		s->weight = 0;
		s->stands_to = 0;
	}
	s->weight += (uint64_t)p->weights[i] * view.weight_percent;
	if (s->weight > s->stands_to)
		choose(s, i, now);
}

/* Looks at members [first, end) of a group. */
static void scan(struct search *s, const struct group *g, uint32_t first, uint32_t end,
                 unsigned region, bool under_soft)
{
	const struct pool *p = s->pool;
	double base = full_score(region, 0, 1);
	uint32_t i = first;

	while (i < end) {
		float limit = cost_limit(s->score, base);
		uint32_t stop = end - i < SCAN_BLOCK ? end : i + SCAN_BLOCK;

		if (stop - i == SCAN_BLOCK && !worth_a_look(s, g, i, limit)) {
			i = stop;
			continue;
		}
		for (; i < stop; i++) {
			uint32_t now = atomic_load_explicit(&s->counts[p->slots[i]],
			                                    memory_order_relaxed);

			if ((float)now * p->costs[i] <= limit)
				look(s, i, region, under_soft);
		}
	}
}

/* ---- idle backends ---- */

/* The member in whose share of the weights of [first, end) a point falls. */
static uint32_t member_at(const struct pool *p, uint32_t first, uint32_t end, uint64_t point)
{
	while (end - first > 1) {
		uint32_t middle = first + (end - first) / 2;

		if (p->weights_before[middle] <= point)
			first = middle;
		else
			end = middle;
	}
	return first;
}

static bool is_idle(const struct search *s, uint32_t member, unsigned region)
{
	uint32_t slot = s->pool->slots[member];
	const struct backend *b = &s->t->backends[s->pool->members[member]];
	struct live_view view;

	if (atomic_load_explicit(&s->counts[slot], memory_order_relaxed) != 0 ||
	    region_score(s->t, s->q, b->region) != region)
		return false;
	view = live_view(s->t->live, slot);
	return view.ramp == LIVE_NO_RAMP && !is_out(s, slot, view);
}

/* A lowered weight: a member that was drawn by its whole weight keeps the draw with that chance, at
 * 0 % never. */
static bool keeps_draw(struct search *s, uint32_t member)
{
	unsigned percent = live_weight_percent(s->t->live, s->pool->slots[member]);

	return percent == 100 || rng_below(s->rng, 100) < percent;
}

/* A backend without connections has the least score that its region_score allows, so all of those
 * are equal and the best there are: the choice among them is the weighted random one. It is made by
 * drawing from all of [first, end) by weight until an idle one comes up, which gives each idle one
 * its share. After IDLE_DRAWS the scan decides, and comes to the same shares. */
static bool draw_idle(struct search *s, uint32_t first, uint32_t end, unsigned region)
{
	const struct pool *p = s->pool;
	uint64_t before = p->weights_before[first];
	uint64_t total = p->weights_before[end] - before;

	/* One that is as good has been found further off: then the shares are not known. */
	if (first == end || s->score <= full_score(region, 0, 1))
		return false;
	for (int i = 0; i < IDLE_DRAWS; i++) {
		uint32_t member = member_at(p, first, end, before + rng_below(s->rng, total));

		if (!is_idle(s, member, region) || !keeps_draw(s, member))
			continue;
		s->best = &s->t->backends[p->members[member]];
		s->connections = 0;
		s->score = full_score(region, 0, 1);
		return true;
	}
	return false;
}

/* ---- groups ---- */

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

/* True: nothing else can win. */
static bool scan_group(struct search *s, const struct group *g, unsigned region)
{
	int country = country_index(s->q->country);
	uint32_t end = g->first + g->count;

	if (region == 0 && country != COUNTRY_INDEX_NONE) {
		uint32_t from = country_start(s, g, country);
		uint32_t to = country_start(s, g, country + 1);

		if (draw_idle(s, from, to, 0))
			return true;
		scan(s, g, from, to, 0, true);
		if (s->best != NULL)
			return true;
	}
	/* Of the regions that score 2 there are many: they are drawn from together. */
	if (region < REGION_SCORE_MAX && draw_idle(s, g->first, end, region))
		return true;
	scan(s, g, g->first, end, region, false);
	return false;
}

/* All groups of one region_score. True: nothing else can win. */
static bool scan_groups(struct search *s, unsigned region)
{
	const struct pool *p = s->pool;

	if (region == REGION_SCORE_MAX && draw_idle(s, 0, p->member_count, region))
		return true;
	for (uint32_t i = 0; i < p->group_count; i++)
		if (region_score(s->t, s->q, p->groups[i].region) == region &&
		    scan_group(s, &p->groups[i], region))
			return true;
	return false;
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
	s.panic = q->panic || pool_in_panic(s.pool);
	for (unsigned region = 0; region <= REGION_SCORE_MAX; region++)
		if (s.score < full_score(region, 0, 1) || scan_groups(&s, region))
			break;
	if (s.best != NULL && ret_terms != NULL)
		*ret_terms = judge(t, s.best, q, s.connections);
	return s.best;
}
