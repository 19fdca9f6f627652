/* From rows to a table: everything that can be worked out once is worked out here, in the control
 * thread, so that a decision only looks up and compares.
 *
 * Backends are put in the order of their ids, and each app's usable backends become a pool
 * (pool.c). Slots are given out in the order of the pools' members.
 *
 * Rows are trusted to be valid; they may be freed afterwards. A table never changes after
 * table_new(): all that is written again is the count of references, and whether a pool is in
 * panic. What a table holds elsewhere (slots, services) it gives back when that count is 0, in
 * whatever thread. */
#include "route/table.h"

#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NO_INDEX UINT32_MAX

struct app {
	const char *name;
	uint32_t number; /* in the order in which they were met */
};

/* What is needed only while a table is made. */
struct builder {
	struct table *t;
	const struct route_rows *rows;
	const struct table_options *options;
	struct arena scratch;
	struct app *apps;
	uint32_t app_count;
	uint32_t *app_index; /* by hash of the name: index of apps, or NO_INDEX */
	size_t app_index_size;
	uint32_t *app_of_backend; /* numbers */
	uint32_t *pool_of_app;    /* by number */
	bool every_app;           /* the pool of all is wanted */
};

static int intern_regions(struct builder *b)
{
	struct table *t = b->t;
	int err;

	t->panics = b->options->panics;
	if (b->options->local_region != NULL) {
		err = region_intern(b->options->local_region, &t->local_region);
		if (err < 0)
			return err;
	}
	for (int i = 0; i < COUNTRY_INDEX_MAX; i++) {
		const char code[3] = {(char)('A' + i / 26), (char)('A' + i % 26), '\0'};
		const char *region = country_default_region(code);

		if (region == NULL)
			continue;
		err = region_intern(region, &t->country_region[country_index(code)]);
		if (err < 0)
			return err;
	}
	for (size_t i = 0; i < b->rows->country_region_count; i++) {
		const struct country_region_row *row = &b->rows->country_regions[i];
		int country = country_index(row->country);

		if (country == COUNTRY_INDEX_NONE)
			continue;
		t->country_has_row[country] = true;
		err = region_intern(row->region, &t->country_region[country]);
		if (err < 0)
			return err;
	}
	return 0;
}

static int add_overrides(struct builder *b)
{
	struct table *t = b->t;
	size_t n = b->rows->override_count;
	struct prefix_entry *entries = arena_alloc(&b->scratch, n * sizeof(*entries));

	t->overrides = arena_alloc(&t->arena, n * sizeof(*t->overrides));
	if (t->overrides == NULL || entries == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct geo_override_row *row = &b->rows->overrides[i];
		struct geo_override *o = &t->overrides[i];
		int err = row->region == NULL ? 0 : region_intern(row->region, &o->region);

		if (err < 0)
			return err;
		o->prefix = row->prefix;
		memcpy(o->country, row->country, sizeof(o->country));
		entries[i].prefix = row->prefix;
		entries[i].value = (uint32_t)i;
	}
	t->override_map = prefix_map_new(entries, n);
	return t->override_map == NULL ? -ENOMEM : 0;
}

static int add_checks(struct builder *b)
{
	struct table *t = b->t;
	size_t n = b->rows->check_count;

	CHECK(n <= HEALTH_CHECKS_MAX);
	t->checks = arena_alloc(&t->arena, n * sizeof(*t->checks));
	if (t->checks == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (health_check_copy(&t->arena, &b->rows->checks[i], &t->checks[i]) != 0)
			return -ENOMEM;
	t->check_count = (uint32_t)n;
	health_checks_sort(t->checks, n);
	return 0;
}

static int compare_ids(const void *a, const void *b)
{
	const struct backend_row *const *x = a;
	const struct backend_row *const *y = b;

	return strcmp((*x)->id, (*y)->id);
}

/* The rows of backends in the order of their ids, which a database usually gives them in. */
static const struct backend_row **rows_by_id(struct builder *b)
{
	size_t n = b->rows->backend_count;
	const struct backend_row **order = arena_alloc(&b->scratch, n * sizeof(const void *));
	bool sorted = true;

	if (order == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		order[i] = &b->rows->backends[i];
		sorted = sorted && (i == 0 || compare_ids(&order[i - 1], &order[i]) <= 0);
	}
	if (!sorted)
		qsort(order, n, sizeof(const void *), compare_ids);
	return order;
}

static int add_backend(struct table *t, const struct backend_row *row)
{
	struct backend *b = &t->backends[t->backend_count];
	int err = region_intern(row->region, &b->region);

	if (err < 0)
		return err;
	t->backend_count++;
	b->id = row->id; /* until it has a slot */
	b->slot = LIVE_NO_SLOT;
	memcpy(b->country, row->country, sizeof(b->country));
	memcpy(b->congestion, row->congestion, sizeof(b->congestion));
	b->healthy = row->healthy;
	b->deleted = row->deleted;
	b->state = row->state;
	b->weight = row->weight;
	b->soft_limit = row->soft_limit;
	b->hard_limit = row->hard_limit;
	b->addr = row->addr;
	t->usable_count += backend_usable(b);
	return 0;
}

/* The number of an app, found or given. */
static uint32_t app_number(struct builder *b, const char *name)
{
	size_t i = hash_bytes(name, strlen(name), 0) & (b->app_index_size - 1);

	while (b->app_index[i] != NO_INDEX) {
		if (strcmp(b->apps[b->app_index[i]].name, name) == 0)
			return b->app_index[i];
		i = (i + 1) & (b->app_index_size - 1);
	}
	b->app_index[i] = b->app_count;
	b->apps[b->app_count].name = name;
	b->apps[b->app_count].number = b->app_count;
	return b->app_count++;
}

static int add_backends(struct builder *b)
{
	struct table *t = b->t;
	size_t n = b->rows->backend_count;
	const struct backend_row **order = rows_by_id(b);

	CHECK(n <= BACKENDS_MAX);
	t->backends = arena_alloc(&t->arena, n * sizeof(*t->backends));
	b->app_of_backend = arena_alloc(&b->scratch, n * sizeof(*b->app_of_backend));
	if (order == NULL || t->backends == NULL || b->app_of_backend == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		int err = add_backend(t, order[i]);

		if (err < 0)
			return err;
		b->app_of_backend[i] = app_number(b, order[i]->app);
	}
	return 0;
}

static int hold_slot(struct table *t, uint32_t index)
{
	struct backend *b = &t->backends[index];
	int err;

	if (b->slot != LIVE_NO_SLOT)
		return 0;
	err = live_hold(t->live, b->id, &b->slot);
	if (err < 0)
		return err;
	b->id = live_id(t->live, b->slot);
	return 0;
}

/* Slots are taken in the order in which decisions scan: first the pools of single apps, whose
 * groups are then dense wherever their backends are new together; then whatever is in no pool. */
static int hold_slots(struct builder *b, const struct pool_members *members)
{
	struct table *t = b->t;
	int err = 0;

	for (size_t i = 0; i < members->count && err == 0; i++)
		if (pool_of_member(members, i) != 0 || !b->every_app)
			err = hold_slot(t, backend_of_member(members, i));
	for (uint32_t i = 0; i < t->backend_count && err == 0; i++)
		err = hold_slot(t, i);
	if (err < 0)
		return err;
	t->slot_end = live_slot_end(t->live);
	t->backend_of_slot = arena_alloc(&t->arena, t->slot_end * sizeof(*t->backend_of_slot));
	if (t->backend_of_slot == NULL)
		return -ENOMEM;
	memset(t->backend_of_slot, 0xff, t->slot_end * sizeof(*t->backend_of_slot)); /* NO_INDEX */
	for (uint32_t i = 0; i < t->backend_count; i++)
		t->backend_of_slot[t->backends[i].slot] = i;
	return 0;
}

static void add_service_app(struct builder *b, const char *app)
{
	if (app == NULL || app[0] == '\0')
		b->every_app = true;
	else
		app_number(b, app);
}

static int add_services(struct builder *b)
{
	const struct table_options *o = b->options;
	struct table *t = b->t;

	t->services = arena_alloc(&t->arena, o->service_count * sizeof(const void *));
	if (t->services == NULL)
		return -ENOMEM;
	b->every_app = o->service_count == 0 && b->rows->service_count == 0;
	for (uint32_t i = 0; i < o->service_count; i++) {
		t->services[t->service_count++] = service_ref(o->services[i]);
		add_service_app(b, o->services[i]->app);
	}
	for (size_t i = 0; i < b->rows->service_count; i++)
		add_service_app(b, b->rows->services[i].app);
	return 0;
}

static int compare_apps(const void *a, const void *b)
{
	const struct app *x = a;
	const struct app *y = b;

	return strcmp(x->name, y->name);
}

/* Makes the pools, still empty, in the order of their apps; that of all apps first. */
static int name_pools(struct builder *b)
{
	struct table *t = b->t;

	b->pool_of_app = arena_alloc(&b->scratch, b->app_count * sizeof(*b->pool_of_app));
	t->pools = arena_alloc(&t->arena,
	                       (b->app_count + (size_t)b->every_app) * sizeof(*t->pools));
	if (b->pool_of_app == NULL || t->pools == NULL)
		return -ENOMEM;
	CHECK(b->app_count < POOLS_MAX);
	t->pool_count = b->every_app;
	qsort(b->apps, b->app_count, sizeof(*b->apps), compare_apps);
	for (uint32_t i = 0; i < b->app_count; i++) {
		struct pool *p = &t->pools[t->pool_count];

		p->app = arena_strdup(&t->arena, b->apps[i].name);
		if (p->app == NULL)
			return -ENOMEM;
		b->pool_of_app[b->apps[i].number] = t->pool_count++;
	}
	for (uint32_t i = 0; i < t->backend_count; i++)
		t->backends[i].app = t->pools[b->pool_of_app[b->app_of_backend[i]]].app;
	return 0;
}

/* Each usable backend is a member of its app's pool, and of that of all apps, if there is one. */
static int sort_members(struct builder *b, struct pool_members *ret_members)
{
	struct table *t = b->t;
	int err = pool_members_init(ret_members, &b->scratch, (size_t)t->usable_count * 2);

	if (err < 0)
		return err;
	for (uint32_t i = 0; i < t->backend_count; i++) {
		if (!backend_usable(&t->backends[i]))
			continue;
		pool_members_add(ret_members, b->pool_of_app[b->app_of_backend[i]], t->backends, i);
		if (b->every_app)
			pool_members_add(ret_members, 0, t->backends, i);
	}
	pool_members_sort(ret_members);
	return 0;
}

/* Room for as many apps as there can be names. */
static int init_apps(struct builder *b)
{
	size_t n = b->rows->backend_count + b->rows->service_count + b->options->service_count;

	b->app_index_size = 16;
	while (b->app_index_size < 2 * n)
		b->app_index_size *= 2;
	b->apps = arena_alloc(&b->scratch, n * sizeof(*b->apps));
	b->app_index = arena_alloc(&b->scratch, b->app_index_size * sizeof(*b->app_index));
	if (b->apps == NULL || b->app_index == NULL)
		return -ENOMEM;
	memset(b->app_index, 0xff, b->app_index_size * sizeof(*b->app_index)); /* NO_INDEX */
	return 0;
}

static int build(struct builder *b)
{
	struct pool_members members;
	int err = init_apps(b);

	if (err == 0)
		err = intern_regions(b);
	if (err == 0)
		err = add_overrides(b);
	if (err == 0) {
		b->t->access = access_new(b->rows->access_rules, b->rows->access_rule_count);
		err = b->t->access == NULL ? -ENOMEM : 0;
	}
	if (err == 0)
		err = add_checks(b);
	if (err == 0)
		err = add_backends(b);
	if (err == 0)
		err = add_services(b);
	if (err == 0)
		err = name_pools(b);
	if (err < 0)
		return err;
	err = sort_members(b, &members);
	if (err == 0)
		err = hold_slots(b, &members);
	if (err == 0)
		err = pools_fill(b->t->pools, b->t->pool_count, b->t->backends, &members,
		                 &b->t->arena);
	return err;
}

/* Also for a table that was made in part. */
static void table_free(struct table *t)
{
	for (uint32_t i = 0; i < t->backend_count; i++)
		if (t->backends[i].slot != LIVE_NO_SLOT)
			live_let_go(t->live, t->backends[i].slot);
	for (uint32_t i = 0; i < t->service_count; i++)
		service_unref(t->services[i]);
	prefix_map_free(t->override_map);
	access_free(t->access);
	arena_done(&t->arena);
	free(t);
}

int table_new(const struct route_rows *rows, const struct table_options *options, struct live *live,
              struct table **ret_table)
{
	static uint64_t last_version; /* the control thread's */
	struct builder b = {.rows = rows, .options = options};
	int err;

	b.t = calloc(1, sizeof(*b.t));
	if (b.t == NULL)
		return -ENOMEM;
	atomic_init(&b.t->refs, 1);
	b.t->live = live;
	arena_init(&b.t->arena);
	arena_init(&b.scratch);
	err = build(&b);
	arena_done(&b.scratch);
	if (err < 0) {
		table_free(b.t);
		return err;
	}
	b.t->version = ++last_version;
	*ret_table = b.t;
	return 0;
}

struct table *table_ref(struct table *t)
{
	unsigned refs = atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);

	CHECK(refs > 0);
	return t;
}

void table_unref(struct table *t)
{
	unsigned refs;

	if (t == NULL)
		return;
	refs = atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel);
	CHECK(refs > 0);
	if (refs == 1)
		table_free(t);
}

bool table_is_sole(const struct table *t)
{
	return atomic_load_explicit(&t->refs, memory_order_acquire) == 1;
}

/* No name, which means every app, comes first. */
static int compare_names(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return (a != NULL) - (b != NULL);
	return strcmp(a, b);
}

const struct pool *table_pool(const struct table *t, const char *app)
{
	uint32_t low = 0;
	uint32_t high = t->pool_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = compare_names(app, t->pools[middle].app);

		if (order == 0)
			return &t->pools[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

bool table_in_panic(const struct table *t, const char *app)
{
	const struct pool *p = table_pool(t, app);

	return p != NULL && pool_in_panic(p);
}

const struct backend *table_backend_in_slot(const struct table *t, uint32_t slot)
{
	if (slot >= t->slot_end || t->backend_of_slot[slot] == NO_INDEX)
		return NULL;
	return &t->backends[t->backend_of_slot[slot]];
}

region_id table_region_of_country(const struct table *t, const char *country)
{
	int index = country_index(country);

	return index == COUNTRY_INDEX_NONE ? REGION_NONE : t->country_region[index];
}
