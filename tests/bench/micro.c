/* Micro-benchmarks of what decides: the balancer's pick, affinity, the geo lookup, and how long a
 * table takes to build. One JSON line each: least, median and most of many batches, so that a
 * disturbed batch shows and does not count.
 *
 *     bench-micro [--quick] */
#include "base/clock.h"
#include "base/rng.h"
#include "geo/geo_db.h"
#include "geo/special.h"
#include "route/affinity.h"
#include "route/balancer.h"
#include "route/policy.h"
#include "route/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCHES_MAX 51
#define BATCH_NS 4000000u
#define QUERIES 65536u /* a power of two */
#define BINDINGS 1000000u
#define REGIONS 16u

static unsigned batches = BATCHES_MAX;
static struct rng rng = {.state = 42};
/* What is computed must not be thought away. */
static volatile uint64_t used;

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "bench-micro: %s failed\n", what);
	exit(1);
}

/* ---- timing ---- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void report(const char *name, double *values, unsigned count, const char *unit)
{
	qsort(values, count, sizeof(*values), by_value);
	printf("{\"name\": \"%s\", \"least\": %.4f, \"median\": %.4f, \"most\": %.4f, "
	       "\"unit\": \"%s\"}\n",
	       name, values[0], values[count / 2], values[count - 1], unit);
	fflush(stdout);
}

/* Runs once(arg, n) for n = 0, 1, 2 … in batches, each of about BATCH_NS. */
static void measure(const char *name, void (*once)(void *arg, uint32_t n), void *arg)
{
	double values[BATCHES_MAX];
	uint32_t n = 0;
	uint32_t size = 1;

	for (uint64_t took_ns = 0; took_ns < BATCH_NS; size *= 2) {
		uint64_t began_ns = clock_now_ns();

		for (uint32_t i = 0; i < size; i++)
			once(arg, n++);
		took_ns = clock_now_ns() - began_ns;
	}
	size /= 2;
	for (unsigned batch = 0; batch < batches; batch++) {
		uint64_t began_ns = clock_now_ns();

		for (uint32_t i = 0; i < size; i++)
			once(arg, n++);
		values[batch] = (double)(clock_now_ns() - began_ns) / size;
	}
	report(name, values, batches, "ns");
}

static uint64_t private_bytes(void)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "r");
	char line[256];
	unsigned long kb = 0;

	need(f != NULL, "smaps_rollup");
	while (fgets(line, sizeof(line), f) != NULL && sscanf(line, "Private_Dirty: %lu", &kb) != 1)
		;
	fclose(f);
	return (uint64_t)kb * 1024;
}

/* ---- tables ---- */

struct world {
	struct live *live;
	struct route_rows rows;
	struct table *table;
	struct balancer_query query;
};

static void add_backends(struct route_rows *rows, const char *app, const char *region,
                         uint32_t count)
{
	const uint8_t address[4] = {127, 0, 0, 1};

	for (uint32_t i = 0; i < count; i++) {
		char id[64];
		struct backend_row row = {
			.id = id,
			.app = app,
			.region = region,
			.addr = {.ip = ip_from_v4(address), .port = 9000},
			.healthy = true,
			.state = STATE_READY,
			.weight = 1 + rng_below(&rng, 4),
			.soft_limit = 50 + rng_below(&rng, 50),
			.hard_limit = 1000,
		};

		snprintf(id, sizeof(id), "%s-%s-%u", app, region, i);
		need(route_rows_add_backend(rows, &row) == 0, "a row");
	}
}

static void begin_world(struct world *w)
{
	*w = (struct world){.live = live_new()};
	need(w->live != NULL, "live_new");
	route_rows_init(&w->rows);
}

/* Builds the table, with a few connections on each backend. */
static void end_world(struct world *w)
{
	const struct table_options options = {.local_region = "us"};
	region_id region = REGION_NONE;

	need(table_new(&w->rows, &options, w->live, &w->table) == 0, "table_new");
	for (uint32_t i = 0; i < w->table->backend_count; i++) {
		const struct backend *b = &w->table->backends[i];

		for (uint32_t k = 1 + rng_below(&rng, 8); k > 0; k--)
			need(live_reserve(w->live, b->slot, b->hard_limit), "live_reserve");
	}
	need(region_intern("sa", &region) == 0, "region_intern");
	w->query = (struct balancer_query){.app = "web", .country = "BR", .region = region};
}

static void free_world(struct world *w)
{
	table_unref(w->table);
	route_rows_done(&w->rows);
	live_free(w->live);
}

/* ---- balancer ---- */

static void pick_once(void *arg, uint32_t n)
{
	struct world *w = arg;

	(void)n;
	used += balancer_pick(w->table, &w->query, &rng, NULL)->slot;
}

/* A pick among count backends, with others of other apps and regions around it. */
static void measure_pick(uint32_t count, uint32_t others)
{
	struct world w;
	char name[128];

	begin_world(&w);
	add_backends(&w.rows, "web", "sa", count);
	for (uint32_t i = 0; i < REGIONS && others != 0; i++) {
		char other[16];

		snprintf(other, sizeof(other), "r%u", i);
		add_backends(&w.rows, "web", other, others / REGIONS / 2);
		snprintf(other, sizeof(other), "app%u", i);
		add_backends(&w.rows, other, "sa", others / REGIONS / 2);
	}
	end_world(&w);
	snprintf(name, sizeof(name), others == 0 ? "pick among %u" : "pick among %u, %u around",
	         count, others);
	measure(name, pick_once, &w);
	free_world(&w);
}

/* ---- affinity ---- */

struct bindings {
	struct affinity *affinity;
	struct ip *clients; /* in the order in which they come */
	uint32_t count;
};

static struct ip random_v4(void)
{
	uint64_t number = rng_next(&rng);
	uint8_t bytes[4];

	memcpy(bytes, &number, sizeof(bytes));
	return ip_from_v4(bytes);
}

static void find_once(void *arg, uint32_t n)
{
	struct bindings *b = arg;
	struct binding found = {0};

	need(affinity_find(b->affinity, &b->clients[n % b->count], 1, 1000, &found), "a hit");
	used += found.slot;
}

/* Clients come in no order; that they lie here in the order in which they come keeps the cost of
 * fetching them out of the figure. */
static void shuffle(struct ip *clients, uint32_t count)
{
	for (uint32_t i = count; i > 1; i--) {
		uint32_t k = (uint32_t)rng_below(&rng, i);
		struct ip moved = clients[k];

		clients[k] = clients[i - 1];
		clients[i - 1] = moved;
	}
}

/* The full table: a few more are put than fit, since its shards do not fill evenly. */
static void measure_affinity(uint32_t count)
{
	const struct affinity_options options = {
		.max_entries = count, .ttl_ms = 600000, .v4_bits = 32, .v6_bits = 64, .seed = 7};
	uint32_t put = count + count / 4;
	struct bindings b = {.clients = calloc(put, sizeof(*b.clients))};
	uint32_t kept = 0;
	char name[128];
	uint64_t before;
	double megabytes;

	need(b.clients != NULL, "memory");
	for (uint32_t i = 0; i < put; i++)
		b.clients[i] = random_v4();
	before = private_bytes();
	b.affinity = affinity_new(&options);
	need(b.affinity != NULL, "affinity_new");
	for (uint32_t i = 0; i < put; i++)
		affinity_put(b.affinity, &b.clients[i], 1,
		             (struct binding){.slot = i % 1000, .generation = 1}, 1000);
	megabytes = (double)(private_bytes() - before) / 1e6;
	for (uint32_t i = 0; i < put; i++) {
		struct binding found;

		if (affinity_find(b.affinity, &b.clients[i], 1, 1000, &found))
			b.clients[kept++] = b.clients[i];
	}
	need(kept > count / 2, "keeping bindings");
	shuffle(b.clients, kept);
	b.count = kept;
	snprintf(name, sizeof(name), "affinity hit among %u", count);
	measure(name, find_once, &b);
	snprintf(name, sizeof(name), "memory of %u bindings", count);
	report(name, &megabytes, 1, "MB");
	affinity_free(b.affinity);
	free(b.clients);
}

/* ---- geo ---- */

struct geo_queries {
	struct geo_db *db;
	struct table *table;
	struct ip clients[QUERIES];
};

static void geo_once(void *arg, uint32_t n)
{
	struct geo_queries *g = arg;

	used += geo_db_find(g->db, &g->clients[n % QUERIES]).net_bits;
}

static void locate_once(void *arg, uint32_t n)
{
	struct geo_queries *g = arg;

	used += policy_locate(g->table, g->db, &g->clients[n % QUERIES]).region;
}

/* Public IPv4 addresses, and IPv6 addresses of networks that are given out. */
static void measure_geo(void)
{
	static struct geo_queries g;
	char error[GEO_ERROR_MAX];
	struct world w;

	begin_world(&w);
	add_backends(&w.rows, "web", "sa", 4);
	end_world(&w);
	g.table = w.table;
	need(geo_db_open_embedded(&g.db, error) == 0, error);
	for (uint32_t i = 0; i < QUERIES; i++)
		do
			g.clients[i] = random_v4();
		while (special_find(&g.clients[i]) != NULL ||
		       !geo_db_find(g.db, &g.clients[i]).found);
	measure("geo lookup, IPv4", geo_once, &g);
	measure("where is the client, IPv4", locate_once, &g);
	for (uint32_t i = 0; i < QUERIES; i++) {
		uint64_t number[2] = {rng_next(&rng), rng_next(&rng)};

		memcpy(g.clients[i].b, number, sizeof(number));
		g.clients[i].b[0] = 0x2a; /* RIPE's 2a00::/12 */
		g.clients[i].b[1] &= 0x0f;
	}
	measure("geo lookup, IPv6", geo_once, &g);
	geo_db_unref(g.db);
	free_world(&w);
}

/* ---- table ---- */

static void measure_build(uint32_t count)
{
	double values[BATCHES_MAX];
	const struct table_options options = {.local_region = "us"};
	unsigned repeats = batches < 11 ? batches : 11;
	struct world w;
	char name[128];

	begin_world(&w);
	for (uint32_t i = 0; i < REGIONS; i++) {
		char region[16];

		snprintf(region, sizeof(region), "r%u", i);
		add_backends(&w.rows, "web", region, count / REGIONS);
	}
	end_world(&w); /* the slots of the backends are there, as at a reload */
	for (unsigned i = 0; i < repeats; i++) {
		uint64_t began_ns = clock_now_ns();
		struct table *t = NULL;

		need(table_new(&w.rows, &options, w.live, &t) == 0, "table_new");
		values[i] = (double)(clock_now_ns() - began_ns) / 1e6;
		table_unref(t);
	}
	snprintf(name, sizeof(name), "table of %u rows", count);
	report(name, values, repeats, "ms");
	free_world(&w);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--quick") == 0)
		batches = 11;
	special_init();
	measure_pick(1000, 0);
	measure_pick(10000, 0);
	measure_pick(100000, 0);
	measure_pick(1000, 96000);
	measure_affinity(1000);
	measure_affinity(BINDINGS);
	measure_geo();
	measure_build(100000);
	return 0;
}
