/* Rows on their way from a file to a table. What is in here has been validated by whoever added it;
 * this file only keeps copies, counts them and says whether two sets are the same.
 *
 * The digest covers every field, with lengths, so that no two different sets of rows can write the
 * same bytes; it is a 64-bit hash and not a proof, which is enough to leave out a reload that would
 * change nothing. */
#include "route/rows.h"

#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Room that an array has from its first row on; then it doubles. */
#define ROOM_MIN 16

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

static uint64_t digest_number(uint64_t digest, uint64_t value)
{
	return hash_mix(digest * 0x9e3779b97f4a7c15u + value + 1);
}

static uint64_t digest_text(uint64_t digest, const char *text)
{
	size_t len;

	if (text == NULL)
		return digest_number(digest, UINT64_MAX);
	len = strlen(text);
	return hash_bytes(text, len, digest_number(digest, len));
}

static uint64_t digest_endpoint(uint64_t digest, const struct endpoint *e)
{
	return digest_number(hash_bytes(e->ip.b, sizeof(e->ip.b), digest), e->port);
}

static uint64_t digest_backend(uint64_t digest, const struct backend_row *row)
{
	digest = digest_text(digest, row->id);
	digest = digest_text(digest, row->app);
	digest = digest_text(digest, row->region);
	digest = digest_text(digest, row->country);
	digest = digest_endpoint(digest, &row->addr);
	digest = digest_number(digest, row->healthy);
	digest = digest_number(digest, row->deleted);
	digest = digest_number(digest, row->state);
	digest = digest_number(digest, row->weight);
	digest = digest_number(digest, row->soft_limit);
	digest = digest_number(digest, row->hard_limit);
	return digest_text(digest, row->congestion);
}

static uint64_t digest_service(uint64_t digest, const struct service_row *row)
{
	digest = digest_endpoint(digest, &row->listen);
	digest = digest_text(digest, row->app);
	digest = digest_number(digest, row->accept_proxy);
	digest = digest_number(digest, row->send_proxy);
	return digest_text(digest, row->congestion);
}

static uint64_t digest_prefix(uint64_t digest, const struct prefix *p)
{
	return digest_number(hash_bytes(p->ip.b, sizeof(p->ip.b), digest), p->bits);
}

static uint64_t digest_override(uint64_t digest, const struct geo_override_row *row)
{
	digest = digest_prefix(digest, &row->prefix);
	digest = digest_text(digest, row->country);
	return digest_text(digest, row->region);
}

static uint64_t digest_country_region(uint64_t digest, const struct country_region_row *row)
{
	return digest_text(digest_text(digest, row->country), row->region);
}

static uint64_t digest_access_rule(uint64_t digest, const struct access_rule_row *row)
{
	digest = digest_text(digest, row->id);
	digest = digest_text(digest, row->app);
	digest = digest_number(digest, row->match);
	digest = digest_prefix(digest, &row->prefix);
	digest = digest_text(digest, row->country);
	return digest_number(digest, row->allow);
}

uint64_t route_rows_digest(const struct route_rows *rows)
{
	uint64_t digest = 0;

	digest = digest_number(digest, rows->backend_count);
	for (size_t i = 0; i < rows->backend_count; i++)
		digest = digest_backend(digest, &rows->backends[i]);
	digest = digest_number(digest, rows->service_count);
	for (size_t i = 0; i < rows->service_count; i++)
		digest = digest_service(digest, &rows->services[i]);
	digest = digest_number(digest, rows->override_count);
	for (size_t i = 0; i < rows->override_count; i++)
		digest = digest_override(digest, &rows->overrides[i]);
	digest = digest_number(digest, rows->country_region_count);
	for (size_t i = 0; i < rows->country_region_count; i++)
		digest = digest_country_region(digest, &rows->country_regions[i]);
	digest = digest_number(digest, rows->check_count);
	for (size_t i = 0; i < rows->check_count; i++)
		digest = health_check_digest(digest, &rows->checks[i]);
	digest = digest_number(digest, rows->access_rule_count);
	for (size_t i = 0; i < rows->access_rule_count; i++)
		digest = digest_access_rule(digest, &rows->access_rules[i]);
	return digest;
}

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
