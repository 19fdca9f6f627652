/* Rows on their way from a file to a table. What is in here has been validated by whoever added it;
 * this file only keeps copies, counts them and says whether two sets are the same. */
#include "route/rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Room that an array has from its first row on; then it doubles. */
#define ROOM_MIN 16

const char *admin_state_word(enum admin_state state)
{
	static const char *const words[ADMIN_STATES] = {
		[STATE_READY] = "ready", [STATE_DRAIN] = "drain", [STATE_MAINT] = "maint"};

	CHECK((size_t)state < ADMIN_STATES);
	return words[state];
}

int admin_state_parse(const char *word, enum admin_state *ret_state)
{
	for (int i = 0; i < ADMIN_STATES; i++) {
		if (strcmp(word, admin_state_word((enum admin_state)i)) == 0) {
			*ret_state = (enum admin_state)i;
			return 0;
		}
	}
	return -EINVAL;
}

void route_rows_init(struct route_rows *rows)
{
	memset(rows, 0, sizeof(*rows));
	arena_init(&rows->arena);
}

void route_rows_done(struct route_rows *rows)
{
	free(rows->backends);
	free(rows->services);
	free(rows->overrides);
	free(rows->country_regions);
	free(rows->checks);
	free(rows->access_rules);
	arena_done(&rows->arena);
	route_rows_init(rows);
}

/* Makes room for one more row. An array of count rows has room for the next power of two, so it
 * grows exactly when count is one. Returns the array, or NULL: out of memory, nothing changed. */
static void *with_room(void *array, size_t count, size_t size)
{
	size_t room = count == 0 ? ROOM_MIN : count * 2;

	if (count != 0 && (count < ROOM_MIN || (count & (count - 1)) != 0))
		return array;
	return realloc(array, room * size);
}

/* A copy of text in *ret_copy; no text stays none. 0 or -ENOMEM. */
static int copy_text(struct route_rows *rows, const char *text, const char **ret_copy)
{
	const char *copy = NULL;

	if (text != NULL) {
		copy = arena_strdup(&rows->arena, text);
		if (copy == NULL)
			return -ENOMEM;
	}
	*ret_copy = copy;
	return 0;
}

int route_rows_add_backend(struct route_rows *rows, const struct backend_row *row)
{
	struct backend_row copy = *row;
	struct backend_row *array;

	CHECK(row->id != NULL && row->app != NULL && row->region != NULL);
	array = with_room(rows->backends, rows->backend_count, sizeof(*array));
	if (array == NULL)
		return -ENOMEM;
	rows->backends = array;
	if (copy_text(rows, row->id, &copy.id) < 0 || copy_text(rows, row->app, &copy.app) < 0 ||
	    copy_text(rows, row->region, &copy.region) < 0)
		return -ENOMEM;
	array[rows->backend_count++] = copy;
	return 0;
}

int route_rows_add_service(struct route_rows *rows, const struct service_row *row)
{
	struct service_row copy = *row;
	struct service_row *array;

	array = with_room(rows->services, rows->service_count, sizeof(*array));
	if (array == NULL)
		return -ENOMEM;
	rows->services = array;
	if (copy_text(rows, row->app, &copy.app) < 0)
		return -ENOMEM;
	array[rows->service_count++] = copy;
	return 0;
}

int route_rows_add_override(struct route_rows *rows, const struct geo_override_row *row)
{
	struct geo_override_row copy = *row;
	struct geo_override_row *array;

	array = with_room(rows->overrides, rows->override_count, sizeof(*array));
	if (array == NULL)
		return -ENOMEM;
	rows->overrides = array;
	if (copy_text(rows, row->region, &copy.region) < 0)
		return -ENOMEM;
	array[rows->override_count++] = copy;
	return 0;
}

int route_rows_add_country_region(struct route_rows *rows, const struct country_region_row *row)
{
	struct country_region_row copy = *row;
	struct country_region_row *array;

	CHECK(row->region != NULL);
	array = with_room(rows->country_regions, rows->country_region_count, sizeof(*array));
	if (array == NULL)
		return -ENOMEM;
	rows->country_regions = array;
	if (copy_text(rows, row->region, &copy.region) < 0)
		return -ENOMEM;
	array[rows->country_region_count++] = copy;
	return 0;
}

int route_rows_add_check(struct route_rows *rows, const struct health_check_row *row)
{
	struct health_check_row *array;

	array = with_room(rows->checks, rows->check_count, sizeof(*array));
	if (array == NULL)
		return -ENOMEM;
	rows->checks = array;
	if (health_check_copy(&rows->arena, row, &array[rows->check_count]) != 0)
		return -ENOMEM;
	rows->check_count++;
	return 0;
}

int route_rows_add_access_rule(struct route_rows *rows, const struct access_rule_row *row)
{
	struct access_rule_row copy = *row;
	struct access_rule_row *array;

	CHECK(row->id != NULL);
	array = with_room(rows->access_rules, rows->access_rule_count, sizeof(*array));
	if (array == NULL)
		return -ENOMEM;
	rows->access_rules = array;
	if (copy_text(rows, row->id, &copy.id) < 0 || copy_text(rows, row->app, &copy.app) < 0)
		return -ENOMEM;
	array[rows->access_rule_count++] = copy;
	return 0;
}

/* ---- what differs ---- */

static bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_prefix(const struct prefix *a, const struct prefix *b)
{
	return a->bits == b->bits && ip_equal(&a->ip, &b->ip);
}

static bool same_backend(const struct backend_row *a, const struct backend_row *b)
{
	return same_text(a->id, b->id) && same_text(a->app, b->app) &&
	       same_text(a->region, b->region) && same_text(a->country, b->country) &&
	       endpoint_equal(&a->addr, &b->addr) && a->healthy == b->healthy &&
	       a->deleted == b->deleted && a->state == b->state && a->weight == b->weight &&
	       a->soft_limit == b->soft_limit && a->hard_limit == b->hard_limit &&
	       same_text(a->congestion, b->congestion);
}

static bool same_service(const struct service_row *a, const struct service_row *b)
{
	return endpoint_equal(&a->listen, &b->listen) && same_text(a->app, b->app) &&
	       a->accept_proxy == b->accept_proxy && a->send_proxy == b->send_proxy &&
	       same_text(a->congestion, b->congestion);
}

static bool same_override(const struct geo_override_row *a, const struct geo_override_row *b)
{
	return same_prefix(&a->prefix, &b->prefix) && same_text(a->country, b->country) &&
	       same_text(a->region, b->region);
}

static bool same_country_region(const struct country_region_row *a,
                                const struct country_region_row *b)
{
	return same_text(a->country, b->country) && same_text(a->region, b->region);
}

static bool same_check(const struct health_check_row *a, const struct health_check_row *b)
{
	return health_check_equal(a, b);
}

static bool same_access_rule(const struct access_rule_row *a, const struct access_rule_row *b)
{
	return same_text(a->id, b->id) && same_text(a->app, b->app) && a->match == b->match &&
	       same_prefix(&a->prefix, &b->prefix) && same_text(a->country, b->country) &&
	       a->allow == b->allow;
}

/* One function a kind of row: all of them are the same, in the same order. */
#define DEFINE_SAME_ALL(kind, row_type) \
	static bool same_##kind##s(const row_type *a, size_t a_count, const row_type *b, \
	                           size_t b_count) \
	{ \
		size_t n = 0; \
\
		while (n < a_count && n < b_count && same_##kind(&a[n], &b[n])) \
			n++; \
		return n == a_count && n == b_count; \
	}

DEFINE_SAME_ALL(backend, struct backend_row)
DEFINE_SAME_ALL(service, struct service_row)
DEFINE_SAME_ALL(override, struct geo_override_row)
DEFINE_SAME_ALL(country_region, struct country_region_row)
DEFINE_SAME_ALL(check, struct health_check_row)
DEFINE_SAME_ALL(access_rule, struct access_rule_row)

bool route_rows_equal(const struct route_rows *a, const struct route_rows *b)
{
	return same_backends(a->backends, a->backend_count, b->backends, b->backend_count) &&
	       same_services(a->services, a->service_count, b->services, b->service_count) &&
	       same_overrides(a->overrides, a->override_count, b->overrides, b->override_count) &&
	       same_country_regions(a->country_regions, a->country_region_count, b->country_regions,
	                            b->country_region_count) &&
	       same_checks(a->checks, a->check_count, b->checks, b->check_count) &&
	       same_access_rules(a->access_rules, a->access_rule_count, b->access_rules,
	                         b->access_rule_count);
}

/* ---- usable ---- */

bool backend_row_usable(const struct backend_row *row)
{
	return row->healthy && !row->deleted && row->state == STATE_READY && row->weight > 0;
}

size_t route_rows_usable(const struct route_rows *rows)
{
	size_t n = 0;

	for (size_t i = 0; i < rows->backend_count; i++)
		n += backend_row_usable(&rows->backends[i]);
	return n;
}
