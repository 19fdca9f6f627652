/* Clients as those who take turns at deciding. Each decides as often as its weight says, so that a
 * share of the decisions is a share of the clients; and each decision brings as many connections as
 * the client's share of those that its app has now.
 *
 * Turns are shuffled, because clients do not come sorted, but always alike: a plan that is asked
 * for twice says the same twice. */
#include "plan/plan_players.h"

#include "base/rng.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The app whose backend a client had; NULL: not known. */
static const char *app_of(const struct plan_result *r, const struct plan_client *c)
{
	const struct plan_backend *b = c->backend != NULL ? plan_result_backend(r, c->backend)
	                                                  : NULL;

	return b != NULL && b->row[PLAN_NOW] != NULL ? b->row[PLAN_NOW]->app : NULL;
}

/* The connections of an app are its clients', by weight: long sessions of one app say nothing of
 * those of another. */
static int share_load(const struct plan_input *in, const struct plan_result *r, double *loads)
{
	bool *done = calloc(in->client_count + 1, sizeof(*done));

	if (done == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < in->client_count; i++) {
		const char *app = app_of(r, &in->clients[i]);
		double weight = 0;

		if (app == NULL || done[i])
			continue;
		for (size_t k = i; k < in->client_count; k++) {
			const char *other = app_of(r, &in->clients[k]);

			if (other == NULL || strcmp(app, other) != 0)
				continue;
			weight += in->clients[k].weight;
			done[k] = true;
			loads[k] = -1;
		}
		for (size_t k = i; weight > 0 && k < in->client_count; k++)
			if (loads[k] < 0)
				loads[k] = in->clients[k].weight * plan_result_connections(r, app) /
				           weight;
	}
	free(done);
	return 0;
}

static void set_key(struct plan_player *p)
{
	memset(&p->key, 0, sizeof(p->key));
	for (int side = 0; side < PLAN_SIDES; side++) {
		const struct plan_standing *s = &p->standing[side];

		p->key.service[side] = s->service != NULL ? s->service->key : UINT32_MAX;
		memcpy(p->key.country[side], s->place.country, sizeof(s->place.country));
		p->key.region[side] = s->place.region;
		p->key.denied[side] = s->denied;
	}
}

static int player_compare(const void *a, const void *b)
{
	const struct plan_player *x = a;
	const struct plan_player *y = b;
	int r = memcmp(&x->key, &y->key, sizeof(x->key));

	return r != 0 ? r : (x->client < y->client ? -1 : x->client > y->client);
}

static int make_players(struct plan_players *p, const struct plan_input *in,
                        const struct plan_world worlds[PLAN_SIDES], const double *loads,
                        double scale)
{
	p->all = calloc(in->client_count + 1, sizeof(*p->all));
	if (p->all == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < in->client_count; i++)
		p->weight += in->clients[i].weight;
	for (size_t i = 0; i < in->client_count; i++) {
		struct plan_player *player = &p->all[i];
		double share = in->clients[i].weight / p->weight;

		player->client = (uint32_t)i;
		player->turns = (uint32_t)(share * PLAN_DECISIONS) + 1;
		player->turn_weight = share / player->turns;
		player->turn_load = loads[i] * scale / player->turns;
		for (int side = 0; side < PLAN_SIDES; side++)
			player->standing[side] = plan_world_stand(&worlds[side], &in->clients[i]);
		set_key(player);
		p->turn_count += player->turns;
	}
	p->count = in->client_count;
	return 0;
}

static void make_classes(struct plan_players *p)
{
	qsort(p->all, p->count, sizeof(*p->all), player_compare);
	for (size_t i = 0; i < p->count; i++) {
		p->class_count += i == 0 || memcmp(&p->all[i].key, &p->all[i - 1].key,
		                                   sizeof(p->all[i].key)) != 0;
		p->all[i].class = p->class_count - 1;
	}
}

/* Every player as often as it has turns, shuffled (Fisher and Yates). */
static int make_turns(struct plan_players *p)
{
	struct rng rng = {.state = PLAN_SEED};
	size_t n = 0;

	p->turns = calloc(p->turn_count + 1, sizeof(*p->turns));
	if (p->turns == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < p->count; i++)
		for (uint32_t k = 0; k < p->all[i].turns; k++)
			p->turns[n++] = (uint32_t)i;
	for (size_t i = n; i > 1; i--) {
		size_t k = rng_below(&rng, i);
		uint32_t swap = p->turns[k];

		p->turns[k] = p->turns[i - 1];
		p->turns[i - 1] = swap;
	}
	return 0;
}

int plan_players_init(struct plan_players *p, const struct plan_input *in,
                      const struct plan_world worlds[PLAN_SIDES], const struct plan_result *r,
                      double scale)
{
	double *loads = calloc(in->client_count + 1, sizeof(*loads));
	int err = loads == NULL ? -ENOMEM : share_load(in, r, loads);

	*p = (struct plan_players){0};
	if (err == 0)
		err = make_players(p, in, worlds, loads, scale);
	free(loads);
	if (err != 0)
		return err;
	make_classes(p);
	return make_turns(p);
}

void plan_players_done(struct plan_players *p)
{
	free(p->all);
	free(p->turns);
	*p = (struct plan_players){0};
}
