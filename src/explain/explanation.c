/* Nothing is decided here. The place comes from policy_locate(), the admission from access_find(),
 * the terms of each backend from balancer_judge(), the winner from policy_look(): the functions
 * that the workers run; of a client's limits, client_limits_look(). What is added is order (the
 * best first), the shares of a weighted random choice, and the origin of the client's region. */
#include "explain/explanation.h"

#include "geo/country.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PERCENT 100.0

static enum region_source find_region_source(const struct explanation *e)
{
	const struct table *t = e->table;
	int country = country_index(e->place.country);

	if (e->place.region == REGION_NONE)
		return REGION_FROM_NOWHERE;
	if (e->place.source == PLACE_OVERRIDE) {
		const struct prefix_entry *entry = prefix_map_find(t->override_map, &e->client);

		if (entry != NULL && t->overrides[entry->value].region != REGION_NONE)
			return REGION_FROM_OVERRIDE;
	}
	return country != COUNTRY_INDEX_NONE && t->country_has_row[country]
	               ? REGION_FROM_COUNTRY_REGIONS
	               : REGION_FROM_DEFAULT;
}

/* Best first: as the balancer would take them if each in turn were full. Excluded ones last. */
static int candidate_compare(const void *a, const void *b)
{
	const struct candidate *x = a;
	const struct candidate *y = b;
	bool x_in = x->terms.exclusion == EXCLUDED_NOT;
	bool y_in = y->terms.exclusion == EXCLUDED_NOT;

	if (x_in != y_in)
		return x_in ? -1 : 1;
	if (x_in && x->terms.own_country != y->terms.own_country)
		return x->terms.own_country ? -1 : 1;
	if (x_in && x->terms.score < y->terms.score)
		return -1;
	if (x_in && x->terms.score > y->terms.score)
		return 1;
	return strcmp(x->backend->id, y->backend->id);
}

static bool equally_good(const struct candidate *a, const struct candidate *b)
{
	return b->terms.exclusion == EXCLUDED_NOT && a->terms.own_country == b->terms.own_country &&
	       !(a->terms.score < b->terms.score) && !(a->terms.score > b->terms.score);
}

static int judge_all(struct explanation *e, uint64_t now_ms)
{
	struct balancer_query q = {
		.app = e->app,
		.country = e->place.country,
		.region = e->place.region,
		.panic = e->panic,
		.now_ms = now_ms,
	};
	double weights = 0;

	e->candidates = calloc((size_t)e->table->backend_count + 1, sizeof *e->candidates);
	if (e->candidates == NULL)
		return -ENOMEM;
	e->candidate_count = e->table->backend_count;
	for (size_t i = 0; i < e->candidate_count; i++) {
		const struct backend *b = &e->table->backends[i];

		q.bound = b == e->bound;
		e->candidates[i].backend = b;
		e->candidates[i].terms = balancer_judge(e->table, b, &q);
	}
	qsort(e->candidates, e->candidate_count, sizeof *e->candidates, candidate_compare);
	while (e->best_count < e->candidate_count &&
	       equally_good(&e->candidates[0], &e->candidates[e->best_count]))
		weights += e->candidates[e->best_count++].backend->weight;
	for (size_t i = 0; i < e->best_count; i++)
		e->candidates[i].share = e->candidates[i].backend->weight / weights;
	return 0;
}

static void find_bound(struct explanation *e, const struct explain_query *q)
{
	const struct backend *b;
	struct binding binding;

	if (q->affinity == NULL ||
	    !affinity_peek(q->affinity, q->client, q->service->key, q->now_ms, &binding))
		return;
	b = table_backend_in_slot(q->table, binding.slot);
	if (b != NULL && live_generation(q->table->live, binding.slot) == binding.generation)
		e->bound = b;
}

static void choose(struct explanation *e, const struct explain_query *q)
{
	struct rng rng = {.state = q->seed};
	struct choice choice;

	e->error = policy_look(&(struct policy_query){.table = q->table,
	                                              .affinity = q->affinity,
	                                              .service = q->service,
	                                              .client = q->client,
	                                              .place = &e->place,
	                                              .now_ms = q->now_ms,
	                                              .rng = &rng},
	                       &choice);
	/* A place that is free while somebody waits is his. */
	if (e->error == 0 && q->queue != NULL && queue_wanted(q->queue, q->service->app))
		e->error = -EAGAIN;
	if (e->error != 0)
		return;
	e->winner = choice.backend;
	e->from_affinity = choice.from_affinity;
	e->panic |= choice.panic;
}

static void look_at_limits(struct explanation *e, const struct explain_query *q)
{
	e->verdict = CLIENT_UNCOUNTED;
	if (q->limits == NULL)
		return;
	e->limited = true;
	e->verdict = client_limits_look(q->limits, q->client, q->now_ns, &e->connections);
}

int explain(const struct explain_query *q, struct explanation *ret)
{
	struct explanation e = {
		.table = q->table,
		.geo = q->geo,
		.service = q->service,
		.app = q->service->app[0] != '\0' ? q->service->app : NULL,
		.client = *q->client,
		.live = q->queue != NULL,
		.may_wait = q->may_wait,
		.waiting = q->queue != NULL ? queue_length(q->queue) : 0,
	};
	int err;

	e.place = policy_locate(q->table, q->geo, q->client);
	e.region_source = find_region_source(&e);
	e.rule = access_find(q->table->access, q->service->app, q->client, e.place.country);
	e.panic = table_in_panic(q->table, e.app);
	find_bound(&e, q);
	look_at_limits(&e, q);
	if (e.rule != NULL && !e.rule->allow)
		e.error = -EACCES;
	else if (e.verdict == CLIENT_AT_LIMIT || e.verdict == CLIENT_TOO_FAST)
		e.error = -EDQUOT;
	else
		choose(&e, q);
	err = judge_all(&e, q->now_ms);
	if (err != 0)
		return err;
	*ret = e;
	return 0;
}

void explanation_done(struct explanation *e)
{
	free(e->candidates);
	e->candidates = NULL;
}

/* ---- why ---- */

static const char *region_score_words(unsigned region_score)
{
	switch (region_score) {
	case 0:
		return "in the client's region";
	case 1:
		return "in this POP's region";
	default:
		return "in another region";
	}
}

static void why_no_winner(const struct explanation *e, char buf[WHY_MAX])
{
	switch (e->error) {
	case -EACCES:
		snprintf(buf, WHY_MAX, "access rule %s denies this client", e->rule->id);
		break;
	case -EDQUOT:
		if (e->verdict == CLIENT_AT_LIMIT)
			snprintf(buf, WHY_MAX,
			         "this client has %u connections, as many as one client may have, "
			         "so one more is refused (client-conn-limit)",
			         e->connections);
		else
			snprintf(buf, WHY_MAX,
			         "this client has made as many connections lately as one client "
			         "may, so one more is refused now (client-rate-limit)");
		break;
	case -EAGAIN:
		if (e->may_wait)
			snprintf(buf, WHY_MAX,
			         "every backend that takes clients is at its hard limit, so it "
			         "would "
			         "wait in the queue, behind %u",
			         e->waiting);
		else
			snprintf(buf, WHY_MAX,
			         "every backend that takes clients is at its hard limit");
		break;
	case -ENOENT:
		snprintf(buf, WHY_MAX, "no backend takes new clients%s%s",
		         e->app != NULL ? " of app " : "", e->app != NULL ? e->app : "");
		break;
	default:
		snprintf(buf, WHY_MAX, "no choice was possible: %s", strerror(-e->error));
	}
}

static void why_drawn(const struct explanation *e, char buf[WHY_MAX])
{
	size_t len = (size_t)snprintf(
		buf, WHY_MAX,
		"%zu backends are equally good (%s, score %.6g): a weighted random choice,",
		e->best_count, region_score_words(e->candidates[0].terms.region_score),
		e->candidates[0].terms.score);

	for (size_t i = 0; i < e->best_count && len < WHY_MAX; i++)
		len += (size_t)snprintf(buf + len, WHY_MAX - len, "%s %s %.3g %%", i > 0 ? "," : "",
		                        e->candidates[i].backend->id,
		                        e->candidates[i].share * PERCENT);
	if (len >= WHY_MAX)
		snprintf(buf, WHY_MAX,
		         "%zu backends are equally good (%s, score %.6g): a random choice, by "
		         "weight",
		         e->best_count, region_score_words(e->candidates[0].terms.region_score),
		         e->candidates[0].terms.score);
}

static void why_best(const struct explanation *e, char buf[WHY_MAX])
{
	const struct candidate *best = &e->candidates[0];
	bool only = e->candidate_count == 1 || e->candidates[1].terms.exclusion != EXCLUDED_NOT;

	if (only)
		snprintf(buf, WHY_MAX, "it is the only backend that takes this client (%s)",
		         region_score_words(best->terms.region_score));
	else if (best->terms.own_country)
		snprintf(buf, WHY_MAX,
		         "it is in the client's region and country, %s, and under its soft limit",
		         best->backend->country);
	else
		snprintf(buf, WHY_MAX, "it has the lowest score, %.6g (%s)", best->terms.score,
		         region_score_words(best->terms.region_score));
}

char *explanation_why(const struct explanation *e, char buf[WHY_MAX])
{
	if (e->winner == NULL)
		why_no_winner(e, buf);
	else if (e->from_affinity)
		snprintf(buf, WHY_MAX, "the client had it before, and its binding still holds");
	else if (e->best_count > 1)
		why_drawn(e, buf);
	else
		why_best(e, buf);
	return buf;
}
