/* What a slot had counted is remembered by slot and generation, and only what came on top is added
 * to its group. So a backend that goes takes nothing with it, and one that comes back under another
 * slot adds nothing twice. What it counts between the last look and its end is lost; who drops a
 * table looks before (metrics_table_goes()), so that is what ends later than its backend's row. */
#include "api/backend_groups.h"

#include "base/hash.h"
#include "route/limits.h"

#include <stdlib.h>
#include <string.h>

/* Twice the groups, so that a probe always ends at a free place. */
#define INDEX_SIZE ((size_t)2 * BACKEND_GROUPS_MAX)

_Static_assert((INDEX_SIZE & (INDEX_SIZE - 1)) == 0, "the index is masked");

struct tally {
	uint64_t connects;
	uint32_t failures;
	uint32_t generation;
};

struct backend_groups {
	const struct live *live;
	struct tally *tallies; /* by slot, LIVE_SLOTS_MAX, memory only where touched */
	size_t count;
	struct backend_group all[BACKEND_GROUPS_MAX]; /* [0]: the one without a name */
	uint16_t index[INDEX_SIZE];                   /* 0: free */
};

struct backend_groups *backend_groups_new(const struct live *live)
{
	struct backend_groups *g = calloc(1, sizeof(*g));

	if (g == NULL)
		return NULL;
	g->live = live;
	g->count = 1;
	g->tallies = calloc(LIVE_SLOTS_MAX, sizeof(*g->tallies));
	if (g->tallies != NULL)
		return g;
	free(g);
	return NULL;
}

void backend_groups_free(struct backend_groups *g)
{
	if (g == NULL)
		return;
	for (size_t i = 1; i < g->count; i++)
		free(g->all[i].app);
	free(g->tallies);
	free(g);
}

static struct backend_group *group_of(struct backend_groups *g, const struct backend *b)
{
	size_t i = hash_bytes(b->app, strlen(b->app), b->region) & (INDEX_SIZE - 1);
	char *app;

	for (; g->index[i] != 0; i = (i + 1) & (INDEX_SIZE - 1)) {
		struct backend_group *group = &g->all[g->index[i]];

		if (group->region == b->region && strcmp(group->app, b->app) == 0)
			return group;
	}
	app = g->count < BACKEND_GROUPS_MAX ? strdup(b->app) : NULL;
	if (app == NULL)
		return &g->all[0];
	g->index[i] = (uint16_t)g->count;
	g->all[g->count] = (struct backend_group){.app = app, .region = b->region};
	return &g->all[g->count++];
}

static void count(struct backend_groups *g, struct backend_group *group, uint32_t slot)
{
	struct live_outcomes outcomes = live_outcomes(g->live, slot);
	uint32_t generation = live_generation(g->live, slot);
	struct tally *t = &g->tallies[slot];

	if (t->generation != generation)
		*t = (struct tally){.generation = generation};
	group->connects += outcomes.connects - t->connects;
	group->errors += (uint32_t)(outcomes.failures - t->failures); /* it may wrap */
	t->connects = outcomes.connects;
	t->failures = outcomes.failures;
}

void backend_groups_update(struct backend_groups *g, const struct table *t)
{
	for (size_t i = 0; i < g->count; i++) {
		struct backend_group *group = &g->all[i];

		group->members = group->active = group->limit = group->usable = 0;
		memset(group->faults, 0, sizeof(group->faults));
	}
	for (uint32_t i = 0; i < t->backend_count; i++) {
		const struct backend *b = &t->backends[i];
		struct backend_group *group = group_of(g, b);
		unsigned faults = live_faults(g->live, b->slot);

		count(g, group, b->slot);
		if (!backend_is_shown(g->live, b))
			continue;
		group->members++;
		group->active += live_connections(g->live, b->slot);
		group->limit += b->hard_limit;
		group->usable += backend_takes_clients(g->live, b);
		for (unsigned bit = 0; bit < LIVE_FAULTS; bit++)
			group->faults[bit] += (faults >> bit & 1) != 0;
	}
}

size_t backend_groups_count(const struct backend_groups *g)
{
	return g->count;
}

const struct backend_group *backend_groups_get(const struct backend_groups *g, size_t i)
{
	return &g->all[i];
}

bool backend_is_shown(const struct live *live, const struct backend *b)
{
	return !b->deleted || live_connections(live, b->slot) > 0;
}

bool backend_takes_clients(const struct live *live, const struct backend *b)
{
	struct live_view view = live_view(live, b->slot);

	return backend_usable(b) && !view.shut && view.weight_percent > 0;
}
