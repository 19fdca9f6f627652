/* The plain truth of a decision: every backend is judged, one after the other, and the books are
 * kept a second time. What is judged comes from balancer_judge(), whose own rules the unit tests
 * hold against numbers worked out by hand; everything built on top of it is done here again. */
#include "invariants.h"

#include <string.h>

/* A place that is free longer is found by those who wait for it. */
#define PLACE_FOUND_MS 400
/* Picks among equals that are too few to say anything of their shares. */
#define SHARE_EXPECTED_MIN 60
/* Below this part of its share a backend is starved: with so many picks never by chance. */
#define SHARE_LEAST 0.3

/* Then faults are ignored: see route/policy.c. Not where an ejected backend could be tried, as the
 * chosen one (or NULL) may have been. */
static bool nobody_is_sound(const struct world *w, const struct sim_session *s,
                            const struct backend *chosen)
{
	const struct table *t = w->workers[s->worker].table;
	const char *app = w->services[w->clients[s->client].app]->app;

	if (chosen != NULL && live_faults(w->live, chosen->slot) == LIVE_EJECTED)
		return false;
	for (uint32_t i = 0; i < t->backend_count; i++) {
		const struct backend *b = &t->backends[i];

		if (strcmp(b->app, app) == 0 && backend_usable(b) &&
		    !live_is_shut(w->live, b->slot))
			return false;
	}
	return w->config.healthy_panic_threshold > 0;
}

static struct balancer_query query_of(const struct world *w, const struct sim_session *s,
                                      const struct backend *chosen)
{
	const struct sim_client *c = &w->clients[s->client];

	return (struct balancer_query){
		.app = w->services[c->app]->app,
		.country = c->place.country,
		.region = c->place.region,
		.tried = &s->tried,
		.now_ms = w->now_ms,
		.panic = nobody_is_sound(w, s, chosen),
	};
}

static bool goes_before(const struct balancer_terms *a, const struct balancer_terms *b)
{
	if (a->own_country != b->own_country)
		return a->own_country;
	return a->score < b->score;
}

/* ---- a decision ---- */

/* What the model knows of a client's binding is still true. */
static bool is_bound(const struct world *w, const struct sim_client *c)
{
	return c->bound != NOBODY &&
	       w->now_ms - c->bound_used_ms < w->config.binding_ttl_secs * 1000;
}

/* Does the model say that this client still has a backend, which may serve it again? */
static const struct backend *should_return_to(const struct world *w, const struct sim_session *s,
                                              const struct table *t, const struct backend *chosen)
{
	const struct sim_client *c = &w->clients[s->client];
	struct balancer_query q = query_of(w, s, chosen);

	q.bound = true;
	if (!is_bound(w, c))
		return NULL;
	for (uint32_t i = 0; i < t->backend_count; i++) {
		const struct backend *b = &t->backends[i];

		if (b->slot != c->binding.slot ||
		    live_generation(w->live, b->slot) != c->binding.generation)
			continue;
		return balancer_judge(t, b, &q).exclusion == EXCLUDED_NOT ? b : NULL;
	}
	return NULL;
}

/* It must be among the best, and over time each of those must get its share. */
static void check_best(struct world *w, const struct sim_session *s, const struct table *t,
                       const struct choice *choice)
{
	struct balancer_query q = query_of(w, s, choice->backend);
	struct balancer_terms of[BACKENDS_MOST];
	struct balancer_terms best = {.score = -1};
	double weight = 0, mean = 0, square = 0, share;

	for (uint32_t i = 0; i < t->backend_count; i++) {
		of[i] = balancer_judge(t, &t->backends[i], &q);
		/* The reservation of the choice itself. */
		if (&t->backends[i] == choice->backend)
			of[i] = choice->terms;
		if (of[i].exclusion == EXCLUDED_NOT &&
		    (best.score < 0 || goes_before(&of[i], &best)))
			best = of[i];
	}
	if (goes_before(&best, &choice->terms)) {
		world_violated(w, "%s was chosen with a score of %g, and the best is %g",
		               choice->backend->id, choice->terms.score, best.score);
		return;
	}
	for (uint32_t i = 0; i < t->backend_count; i++)
		if (of[i].exclusion == EXCLUDED_NOT && !goes_before(&best, &of[i]))
			weight += t->backends[i].weight;
	for (uint32_t i = 0; i < t->backend_count; i++) {
		if (of[i].exclusion != EXCLUDED_NOT || goes_before(&best, &of[i]))
			continue;
		share = t->backends[i].weight / weight;
		w->backends[world_backend(w, &t->backends[i])].expected += share;
		mean += share * share;
		square += share * share * share;
	}
	w->backends[world_backend(w, choice->backend)].chosen++;
	w->counts.share_excess += choice->backend->weight / weight - mean;
	w->counts.share_variance += square - mean * mean;
}

static void check_allowed(struct world *w, const struct sim_session *s, const struct choice *choice)
{
	const struct backend *b = choice->backend;
	const struct sim_client *c = &w->clients[s->client];

	if (b->deleted || !b->healthy || b->weight == 0 || b->state == STATE_MAINT)
		world_violated(w, "%s takes no clients by its row, and got one", b->id);
	if (b->state == STATE_DRAIN &&
	    !(choice->from_affinity && live_in_grace(w->live, b->slot, w->now_ms)))
		world_violated(w, "%s drains, and got a client that it did not have", b->id);
	if (strcmp(b->app, w->services[c->app]->app) != 0)
		world_violated(w, "%s got a client of another app", b->id);
	if (tried_has(&s->tried, b->slot))
		world_violated(w, "%s got a client twice that it had failed", b->id);
}

void check_choice(struct world *w, const struct sim_session *s, const struct choice *choice)
{
	const struct table *t = w->workers[s->worker].table;
	const struct backend *had = should_return_to(w, s, t, choice->backend);
	const struct sim_client *c = &w->clients[s->client];

	check_allowed(w, s, choice);
	/* The place that the choice has taken may be the last, so judging it again says "full". */
	if (had != NULL && choice->backend != had)
		world_violated(w, "a client of %s was sent to %s", had->id, choice->backend->id);
	if (!choice->from_affinity)
		check_best(w, s, t, choice);
	else if (!is_bound(w, c) || c->binding.slot != choice->binding.slot ||
	         c->binding.generation != choice->binding.generation)
		world_violated(w, "a client was sent to %s as if it had been there",
		               choice->backend->id);
}

/* ---- limits ---- */

void check_limit(struct world *w, uint32_t backend)
{
	struct sim_backend *b = &w->backends[backend];
	uint32_t taken = b->connections; /* without a row it keeps those that it has */
	uint32_t limit = UINT32_MAX;

	/* Workers learn of a new limit one after the other. */
	for (uint32_t i = 0; i < w->worker_count; i++) {
		const struct table *t = w->workers[i].table;

		for (uint32_t k = 0; k < t->backend_count; k++)
			if (strcmp(t->backends[k].id, b->id) == 0) {
				taken = live_connections(w->live, t->backends[k].slot);
				if (limit == UINT32_MAX || t->backends[k].hard_limit > limit)
					limit = t->backends[k].hard_limit;
			}
	}
	/* Over a limit that was lowered they may be, but not become more. */
	if (taken > limit && taken > b->taken)
		world_violated(w, "%s has %u connections, its hard limit is %u", b->id, taken,
		               limit);
	b->taken = taken;
	if (taken >= limit)
		b->full_ms = w->now_ms;
}

void check_limits(struct world *w)
{
	for (uint32_t i = 0; i < w->backend_count; i++)
		check_limit(w, i);
}

/* ---- refusals ---- */

void check_refusal(struct world *w, const struct sim_session *s, const char *why)
{
	const struct table *t = w->workers[s->worker].table;
	struct balancer_query q = query_of(w, s, NULL);

	for (uint32_t i = 0; i < t->backend_count; i++) {
		const struct backend *b = &t->backends[i];
		const struct sim_backend *truth = &w->backends[world_backend(w, b)];

		if (truth->condition == ANSWERS && truth->answers_since_ms <= s->began_ms &&
		    balancer_judge(t, b, &q).exclusion == EXCLUDED_NOT)
			world_violated(w, "a client was turned away (%s) while %s was up", why,
			               b->id);
	}
}

/* ---- waiting ---- */

void check_waits(struct world *w, const struct sim_session *s)
{
	const struct table *t = w->workers[s->worker].table;
	struct balancer_query q = query_of(w, s, NULL);

	for (uint32_t i = 0; i < t->backend_count; i++) {
		enum exclusion e = balancer_judge(t, &t->backends[i], &q).exclusion;

		if (e == EXCLUDED_FULL && !tried_has(&s->tried, t->backends[i].slot))
			return;
	}
	world_violated(w, "a client waits, and no backend could have a place for it");
}

void check_waited(struct world *w, const struct sim_session *s, const char *why)
{
	const struct table *t = w->workers[s->worker].table;
	struct balancer_query q = query_of(w, s, NULL);

	for (uint32_t i = 0; i < t->backend_count; i++) {
		const struct backend *b = &t->backends[i];
		const struct sim_backend *truth = &w->backends[world_backend(w, b)];

		if (w->now_ms - truth->full_ms > PLACE_FOUND_MS &&
		    balancer_judge(t, b, &q).exclusion == EXCLUDED_NOT)
			world_violated(w, "a client waited in vain (%s) while %s had a place", why,
			               b->id);
	}
}

static void note_places(struct world *w)
{
	const struct table *t = w->table;

	for (uint32_t i = 0; i < t->backend_count; i++) {
		const struct backend *b = &t->backends[i];
		const struct balancer_query anybody = {
			.app = b->app, .country = "", .region = REGION_NONE, .now_ms = w->now_ms};

		if (balancer_judge(t, b, &anybody).exclusion != EXCLUDED_NOT)
			w->backends[world_backend(w, b)].full_ms = w->now_ms;
	}
}

/* ---- panic ---- */

static void check_panic_of(struct world *w, const char *app)
{
	const struct table *t = w->table;
	uint64_t sound = 0, members = 0;

	for (uint32_t i = 0; i < t->backend_count; i++) {
		const struct backend *b = &t->backends[i];

		if (strcmp(b->app, app) != 0 || !backend_usable(b))
			continue;
		members++;
		sound += live_faults(w->live, b->slot) == 0;
	}
	if (table_in_panic(t, app) != (sound * 100 < members * w->config.healthy_panic_threshold))
		world_violated(w, "%s: %s in panic with %llu of %llu sound", app,
		               table_in_panic(t, app) ? "is" : "is not", (unsigned long long)sound,
		               (unsigned long long)members);
}

void check_panic(struct world *w)
{
	for (unsigned i = 0; i < w->app_count; i++)
		check_panic_of(w, w->services[i]->app);
}

/* ---- books ---- */

void check_books(struct world *w)
{
	const struct table *t = w->table;
	uint32_t waiting = 0;

	note_places(w);
	for (uint32_t i = 0; i < t->backend_count; i++) {
		const struct backend *b = &t->backends[i];
		const struct sim_backend *truth = &w->backends[world_backend(w, b)];
		uint32_t counted = live_connections(w->live, b->slot);

		if (counted < truth->connections)
			world_violated(w, "%s counts %u connections, and has %u", b->id, counted,
			               truth->connections);
	}
	for (uint32_t i = 0; i < SESSIONS_MOST; i++)
		waiting += w->sessions[i].state == WAITING;
	if (queue_length(w->queue) > waiting)
		world_violated(w, "%u wait in the queue, and %u do", queue_length(w->queue),
		               waiting);
}

void check_end(struct world *w)
{
	for (uint32_t i = 0; i < SESSIONS_MOST; i++)
		if (w->sessions[i].state != FREE)
			world_violated(w, "a session never ended");
	if (queue_length(w->queue) != 0)
		world_violated(w, "somebody still waits in the queue");
	for (uint32_t i = 0; i < live_slot_end(w->live); i++)
		if (live_connections(w->live, i) != 0)
			world_violated(w, "%u connections were never given back",
			               live_connections(w->live, i));
	for (uint32_t i = 0; i < w->backend_count; i++) {
		const struct sim_backend *b = &w->backends[i];

		if (b->expected >= SHARE_EXPECTED_MIN &&
		    (double)b->chosen < SHARE_LEAST * b->expected)
			world_violated(w, "%s was chosen %llu times where %.0f were its share",
			               b->id, (unsigned long long)b->chosen, b->expected);
	}
}
