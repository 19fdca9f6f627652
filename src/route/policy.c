/* The policy puts the parts together: where is the client, which backend did it have, which is best
 * now, is there room. Everything it knows comes in as an argument, so a worker and `explain` cannot
 * come to different ends.
 *
 * The balancer's answer is only a proposal until its place is reserved. When another thread takes
 * the last place first, the balancer is asked again, with counts that now show that backend as
 * full; so every turn is lost to a connection that somebody else has won, and RACES_MAX turns in a
 * row are reported as if all were full, which a moment ago they were. */
#include "route/policy.h"

#include <errno.h>
#include <string.h>

#define RACES_MAX 64

/* An IPv4 address in its 128-bit form has this many bits in front. */
#define V4_OFFSET_BITS 96

const char *place_source_word(enum place_source source)
{
	static const char *const words[] = {
		[PLACE_OVERRIDE] = "override",
		[PLACE_SPECIAL] = "special",
		[PLACE_DATABASE] = "database",
		[PLACE_UNKNOWN] = "unknown",
	};

	CHECK((size_t)source < sizeof(words) / sizeof(words[0]));
	return words[source];
}

static bool locate_by_override(const struct table *t, const struct ip *ip, struct place *place)
{
	const struct prefix_entry *entry = prefix_map_find(t->override_map, ip);
	const struct geo_override *o;

	if (entry == NULL)
		return false;
	o = &t->overrides[entry->value];
	place->source = PLACE_OVERRIDE;
	place->network = o->prefix;
	memcpy(place->country, o->country, sizeof(place->country));
	place->region = o->region != REGION_NONE ? o->region
	                                         : table_region_of_country(t, o->country);
	return true;
}

static bool locate_by_database(const struct table *t, const struct geo_db *db, const struct ip *ip,
                               struct place *place)
{
	struct geo_record record;
	unsigned bits;

	if (db == NULL)
		return false;
	record = geo_db_find(db, ip);
	if (!record.found)
		return false;
	bits = record.net_bits;
	if (ip_is_v4(ip) && bits < V4_OFFSET_BITS)
		bits = V4_OFFSET_BITS;
	place->source = PLACE_DATABASE;
	place->network.ip = ip_masked(ip, bits - (ip_is_v4(ip) ? V4_OFFSET_BITS : 0), bits);
	place->network.bits = (uint8_t)bits;
	memcpy(place->country, record.country, sizeof(place->country));
	place->region = table_region_of_country(t, record.country);
	return true;
}

struct place policy_locate(const struct table *t, const struct geo_db *db, const struct ip *ip)
{
	struct place place = {.region = REGION_NONE, .source = PLACE_UNKNOWN};

	if (locate_by_override(t, ip, &place))
		return place;
	place.special = special_find(ip);
	if (place.special != NULL) {
		place.source = PLACE_SPECIAL;
		place.network = place.special->prefix;
		return place;
	}
	(void)locate_by_database(t, db, ip, &place);
	return place;
}

static struct binding binding_of(const struct table *t, const struct backend *b)
{
	return (struct binding){.slot = b->slot, .generation = live_generation(t->live, b->slot)};
}

/* Takes a place there, and one of its trials where it is to be tried. False: somebody else was
 * faster. */
static bool take_place(const struct table *t, const struct backend *b,
                       const struct balancer_query *bq)
{
	if (!live_reserve(t->live, b->slot, b->hard_limit))
		return false;
	if (live_faults(t->live, b->slot) == 0 || bq->panic || table_in_panic(t, bq->app) ||
	    live_admit(t->live, b->slot))
		return true;
	live_release(t->live, b->slot);
	return false;
}

/* The backend that the client had, with a place reserved, if it can have it again. */
static bool choose_by_affinity(const struct policy_query *q, const struct balancer_query *bq,
                               bool take, struct choice *ret_choice)
{
	const struct table *t = q->table;
	const struct backend *b;
	struct balancer_query bound = *bq;
	struct balancer_terms terms;
	struct binding binding;

	bound.bound = true;
	if (q->affinity == NULL)
		return false;
	if (!(take ? affinity_find : affinity_peek)(q->affinity, q->client, q->service->key,
	                                            q->now_ms, &binding))
		return false;
	b = table_backend_in_slot(t, binding.slot);
	if (b == NULL || live_generation(t->live, binding.slot) != binding.generation)
		return false;
	terms = balancer_judge(t, b, &bound);
	if (terms.exclusion != EXCLUDED_NOT || (take && !take_place(t, b, bq)))
		return false;
	*ret_choice = (struct choice){
		.backend = b,
		.binding = binding,
		.from_affinity = true,
		.panic = bq->panic,
		.terms = terms,
	};
	return true;
}

/* By what is seen of it, and what it says of itself. */
static bool may_get_clients(const struct table *t, uint32_t slot, bool panic)
{
	struct live_view view = live_view(t->live, slot);

	return !view.stated && (panic || !view.shut) && view.weight_percent > 0;
}

/* A pool without a sound member is in panic, whatever the threshold, before the control thread has
 * noticed. */
static bool nobody_is_sound(const struct table *t, const char *app)
{
	const struct pool *pool = table_pool(t, app);

	if (pool == NULL || !t->panics)
		return false;
	for (uint32_t i = 0; i < pool->member_count; i++)
		if (live_faults(t->live, pool->slots[i]) == 0)
			return false;
	return true;
}

/* Why the balancer has nothing to offer. */
static int why_none(const struct table *t, const struct balancer_query *bq)
{
	const struct pool *pool = table_pool(t, bq->app);
	bool panic = pool != NULL && (bq->panic || pool_in_panic(pool));
	int why = -ENOENT;

	for (uint32_t i = 0; pool != NULL && i < pool->member_count; i++) {
		uint32_t slot = pool->slots[i];

		if (tried_has(bq->tried, slot))
			why = -EHOSTUNREACH;
		else if (may_get_clients(t, slot, panic))
			return -EAGAIN;
	}
	return why;
}

/* take: reserves, and counts as a use. */
static int choose(const struct policy_query *q, bool take, struct choice *ret_choice)
{
	const struct table *t = q->table;
	struct balancer_query bq = {
		.app = q->service->app[0] != '\0' ? q->service->app : NULL,
		.country = q->place->country,
		.region = q->place->region,
		.tried = q->tried,
		.now_ms = q->now_ms,
	};
	struct balancer_terms terms;

	if (choose_by_affinity(q, &bq, take, ret_choice))
		return 0;
	for (int race = 0; race < RACES_MAX; race++) {
		const struct backend *b = balancer_pick(t, &bq, q->rng, &terms);

		if (b == NULL && !bq.panic && nobody_is_sound(t, bq.app)) {
			bq.panic = true;
			if (choose_by_affinity(q, &bq, take, ret_choice))
				return 0;
			continue;
		}
		if (b == NULL)
			return why_none(t, &bq);
		if (take && !take_place(t, b, &bq))
			continue;
		*ret_choice = (struct choice){
			.backend = b,
			.binding = binding_of(t, b),
			.from_affinity = false,
			.panic = bq.panic,
			.terms = terms,
		};
		return 0;
	}
	return -EAGAIN;
}

int policy_choose(const struct policy_query *q, struct choice *ret_choice)
{
	return choose(q, true, ret_choice);
}

int policy_look(const struct policy_query *q, struct choice *ret_choice)
{
	return choose(q, false, ret_choice);
}
