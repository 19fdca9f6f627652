/* Both worlds are played through with the same clients in the same order and with the same draws,
 * from empty backends on, until as many connections are there as the proxy has now: so each
 * decision sees the load that those before it have made, limits bind where they would, and what the
 * change does not touch comes out alike on both sides. Each client decides as often as its weight
 * says, and limits are scaled up so that each decision brings about one connection: the scores
 * depend on connections / limit only, so the shares become smooth without becoming others. Where
 * the proxy has no connections at all, nothing has a load, and each decision is one among idle
 * backends.
 *
 * Who moves is not asked of single decisions, which swap places among equals, but of classes of
 * clients that have the same place and rights on both sides: what a backend has less of one class
 * than before has moved, to those who have more of it. */
#include "plan/plan_compare.h"

#include "base/hash.h"
#include "plan/plan_players.h"
#include "plan/plan_world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A share below this is rounding. */
#define SHARE_MIN 1e-9

/* Of one class, at one target. */
struct tally {
	uint32_t class;
	uint32_t target;
	double share[PLAN_SIDES];
};

struct class_sum {
	double score[PLAN_SIDES];
};

struct comparison {
	const struct plan_input *input;
	struct plan_result *result;
	struct plan_world world[PLAN_SIDES];
	double scale;
	struct plan_players players;
	struct tally *tallies;
	size_t tally_count;
	struct class_sum *classes;
};

/* ---- playing ---- */

static uint32_t target_without_backend(const struct plan_standing *s)
{
	if (s->service == NULL)
		return PLAN_NOT_LISTENING;
	return s->denied ? PLAN_DENIED : PLAN_NO_BACKEND;
}

static void play(struct comparison *c, enum plan_side side)
{
	struct plan_result *r = c->result;

	for (size_t i = 0; i < c->players.turn_count; i++) {
		struct plan_player *p = &c->players.all[c->players.turns[i]];
		uint32_t target = target_without_backend(&p->standing[side]);
		const struct backend *b;
		unsigned score = 0;
		uint32_t whole;

		p->due[side] += p->turn_load;
		whole = (uint32_t)p->due[side];
		p->due[side] -= whole;
		b = plan_world_decide(&c->world[side], &c->input->clients[p->client],
		                      &p->standing[side], whole, PLAN_SEED + hash_mix(i), &score);
		if (b != NULL) {
			target = (uint32_t)(plan_result_backend(r, b->id) - r->backends);
			r->scores[side][score] += p->turn_weight;
			c->classes[p->class].score[side] += score * p->turn_weight;
		}
		c->tallies[c->tally_count] = (struct tally){.class = p->class, .target = target};
		c->tallies[c->tally_count++].share[side] = p->turn_weight;
	}
}

static int tally_compare(const void *a, const void *b)
{
	const struct tally *x = a;
	const struct tally *y = b;

	if (x->class != y->class)
		return x->class < y->class ? -1 : 1;
	return x->target < y->target ? -1 : x->target > y->target;
}

/* One a class and target. */
static void merge_tallies(struct comparison *c)
{
	size_t kept = 0;

	qsort(c->tallies, c->tally_count, sizeof(*c->tallies), tally_compare);
	for (size_t i = 0; i < c->tally_count; i++) {
		struct tally *t = &c->tallies[i];

		if (kept == 0 || tally_compare(&c->tallies[kept - 1], t) != 0) {
			c->tallies[kept++] = *t;
			continue;
		}
		for (int side = 0; side < PLAN_SIDES; side++)
			c->tallies[kept - 1].share[side] += t->share[side];
	}
	c->tally_count = kept;
}

/* ---- what it says ---- */

static int country_compare(const void *a, const void *b)
{
	return strcmp(((const struct plan_country *)a)->country,
	              ((const struct plan_country *)b)->country);
}

static int country_by_share(const void *a, const void *b)
{
	const struct plan_country *x = a;
	const struct plan_country *y = b;

	return x->share != y->share ? (x->share > y->share ? -1 : 1) : country_compare(a, b);
}

static struct plan_country *country_of(struct plan_result *r, const struct plan_player *p)
{
	const char *country = p->standing[PLAN_NOW].place.country;
	size_t i = 0;

	while (i < r->country_count && strcmp(r->countries[i].country, country) != 0)
		i++;
	if (i == r->country_count) {
		r->countries[r->country_count++] = (struct plan_country){0};
		memcpy(r->countries[i].country, country, sizeof(r->countries[i].country));
	}
	return &r->countries[i];
}

static void add_target(struct plan_result *r, struct plan_country *country, const struct tally *t)
{
	for (int side = 0; side < PLAN_SIDES; side++) {
		double share = t->share[side];

		if (t->target == PLAN_NO_BACKEND)
			r->unserved[side] += share;
		else if (t->target == PLAN_DENIED)
			r->denied[side] += share;
		else if (t->target == PLAN_NOT_LISTENING)
			r->not_listening[side] += share;
		else
			r->backends[t->target].share[side] += share;
		if (t->target >= PLAN_NOT_LISTENING)
			country->unserved[side] += share;
	}
}

static double loss_of(const struct tally *t)
{
	return t->share[PLAN_NOW] - t->share[PLAN_THEN];
}

static int by_loss(const void *a, const void *b)
{
	double x = loss_of(a);
	double y = loss_of(b);

	return x != y ? (x > y ? -1 : 1) : tally_compare(a, b);
}

/* What has less gives to what has more, the greatest of both first. Sorts the tallies. */
static void move_class(struct plan_result *r, struct plan_country *country, struct tally *tallies,
                       size_t count)
{
	size_t from = 0, to = count;
	double gives = 0, takes = 0;

	qsort(tallies, count, sizeof(*tallies), by_loss);
	while (from < to) {
		double share;

		if (gives <= SHARE_MIN)
			gives = loss_of(&tallies[from]);
		if (takes <= SHARE_MIN)
			takes = -loss_of(&tallies[to - 1]);
		if (gives <= SHARE_MIN || takes <= SHARE_MIN)
			break;
		share = gives < takes ? gives : takes;
		r->moves[r->move_count] = (struct plan_move){
			.from = tallies[from].target, .to = tallies[to - 1].target, .share = share};
		memcpy(r->moves[r->move_count++].country, country->country,
		       sizeof(country->country));
		country->moved += share;
		r->moved += share;
		gives -= share;
		takes -= share;
		from += gives <= SHARE_MIN;
		to -= takes <= SHARE_MIN;
	}
}

static int move_compare(const void *a, const void *b)
{
	const struct plan_move *x = a;
	const struct plan_move *y = b;
	int r = strcmp(x->country, y->country);

	if (r != 0)
		return r;
	if (x->from != y->from)
		return x->from < y->from ? -1 : 1;
	return x->to < y->to ? -1 : x->to > y->to;
}

static int move_by_share(const void *a, const void *b)
{
	const struct plan_move *x = a;
	const struct plan_move *y = b;

	return x->share != y->share ? (x->share > y->share ? -1 : 1) : move_compare(a, b);
}

/* One a country, origin and end. */
static void merge_moves(struct plan_result *r)
{
	size_t kept = 0;

	qsort(r->moves, r->move_count, sizeof(*r->moves), move_compare);
	for (size_t i = 0; i < r->move_count; i++) {
		if (kept > 0 && move_compare(&r->moves[kept - 1], &r->moves[i]) == 0)
			r->moves[kept - 1].share += r->moves[i].share;
		else
			r->moves[kept++] = r->moves[i];
	}
	r->move_count = kept;
	qsort(r->moves, kept, sizeof(*r->moves), move_by_share);
}

static void sum_class(struct comparison *c, const struct plan_player *p, struct tally *tallies,
                      size_t count)
{
	struct plan_result *r = c->result;
	struct plan_country *country = country_of(r, p);
	const struct class_sum *sum = &c->classes[p->class];
	double unserved[PLAN_SIDES] = {0};

	for (size_t i = 0; i < count; i++) {
		add_target(r, country, &tallies[i]);
		for (int side = 0; side < PLAN_SIDES; side++) {
			country->share += side == PLAN_NOW ? tallies[i].share[side] : 0;
			if (tallies[i].target >= PLAN_NOT_LISTENING)
				unserved[side] += tallies[i].share[side];
		}
	}
	for (int side = 0; side < PLAN_SIDES; side++)
		country->score[side] += sum->score[side];
	if (unserved[PLAN_THEN] > unserved[PLAN_NOW] + SHARE_MIN)
		r->newly_unserved += unserved[PLAN_THEN] - unserved[PLAN_NOW];
	move_class(r, country, tallies, count);
}

static int sum_classes(struct comparison *c)
{
	struct plan_result *r = c->result;
	size_t from = 0;
	size_t player = 0;

	r->moves = calloc(c->tally_count + 1, sizeof(*r->moves));
	r->countries = calloc(c->players.class_count + 1, sizeof(*r->countries));
	if (r->moves == NULL || r->countries == NULL)
		return -ENOMEM;
	for (uint32_t class = 0; class < c->players.class_count; class ++) {
		size_t to = from;

		while (c->players.all[player].class != class)
			player++;
		while (to < c->tally_count && c->tallies[to].class == class)
			to++;
		sum_class(c, &c->players.all[player], &c->tallies[from], to - from);
		from = to;
	}
	merge_moves(r);
	for (size_t i = 0; i < r->country_count; i++)
		for (int side = 0; side < PLAN_SIDES; side++) {
			struct plan_country *k = &r->countries[i];
			double served = k->share - k->unserved[side];

			k->score[side] = served > SHARE_MIN ? k->score[side] / served : 0;
		}
	qsort(r->countries, r->country_count, sizeof(*r->countries), country_by_share);
	return 0;
}

static void look_at_limits(struct comparison *c)
{
	for (size_t i = 0; i < c->result->backend_count; i++) {
		struct plan_backend *b = &c->result->backends[i];

		for (int side = 0; side < PLAN_SIDES; side++) {
			const struct backend *in = plan_world_backend(&c->world[side], b->id);
			uint32_t count;

			if (in == NULL)
				continue;
			count = live_connections(c->world[side].live, in->slot);
			b->expected[side] = count / c->scale;
			/* One connection more or less is rounding. */
			b->passes_soft[side] = b->expected[side] >= b->row[side]->soft_limit + 1.0;
			b->reaches_hard[side] = count >= in->hard_limit;
		}
	}
}

static void sum_bindings(struct comparison *c)
{
	struct plan_result *r = c->result;

	for (size_t i = 0; i < c->input->client_count; i++) {
		const struct plan_player *p = &c->players.all[i];
		const char *id = c->input->clients[p->client].backend;
		double share = p->turn_weight * p->turns;

		if (id == NULL ||
		    !plan_world_keeps(&c->world[PLAN_NOW], &p->standing[PLAN_NOW], id))
			r->bindings_unknown += share;
		else if (plan_world_keeps(&c->world[PLAN_THEN], &p->standing[PLAN_THEN], id))
			r->bindings_kept += share;
		else
			r->bindings_lost += share;
	}
}

/* Room for the game itself, and the game. */
static int compare(struct comparison *c)
{
	int err = plan_players_init(&c->players, c->input, c->world, c->result, c->scale);

	if (err != 0)
		return err;
	c->result->weight = c->players.weight;
	c->classes = calloc((size_t)c->players.class_count + 1, sizeof(*c->classes));
	c->tallies = calloc(PLAN_SIDES * c->players.turn_count + 1, sizeof(*c->tallies));
	if (c->classes == NULL || c->tallies == NULL)
		return -ENOMEM;
	for (int side = 0; side < PLAN_SIDES; side++)
		play(c, (enum plan_side)side);
	merge_tallies(c);
	err = sum_classes(c);
	look_at_limits(c);
	sum_bindings(c);
	return err;
}

int plan_compare(const struct plan_input *input, struct plan_result *ret_result)
{
	struct plan_result r;
	struct comparison c = {.input = input, .result = &r, .scale = 1};
	int err = plan_result_init(&r, input);
	double connections = err == 0 ? plan_result_connections(&r, NULL) : 0;

	if (connections > 0 && connections < PLAN_DECISIONS)
		c.scale = PLAN_DECISIONS / connections;
	for (int side = 0; err == 0 && side < PLAN_SIDES; side++)
		err = plan_world_init(&c.world[side], input, (enum plan_side)side, c.scale);
	if (err == 0) {
		r.would_be_held = c.world[PLAN_THEN].table->usable_count * 2 <
		                  c.world[PLAN_NOW].table->usable_count;
		err = compare(&c);
	}
	for (int side = 0; side < PLAN_SIDES; side++)
		plan_world_done(&c.world[side]);
	plan_players_done(&c.players);
	free(c.tallies);
	free(c.classes);
	if (err != 0)
		plan_result_done(&r);
	else
		*ret_result = r;
	return err;
}
