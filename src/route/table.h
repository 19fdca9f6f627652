/* The routing table: an immutable, reference-counted snapshot of everything that the database says,
 * in the shape that decisions want. The control thread builds one from validated rows and publishes
 * it; each worker swaps its own pointer between two turns of its loop. */
#ifndef ROUTE_TABLE_H
#define ROUTE_TABLE_H

#include "base/check.h"
#include "geo/country.h"
#include "net/addr.h"
#include "net/prefix.h"
#include "route/access.h"
#include "route/backend.h"
#include "route/health_check.h"
#include "route/limits.h"
#include "route/live.h"
#include "route/pool.h"
#include "route/region.h"
#include "route/rows.h"
#include "route/service.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct geo_override {
	struct prefix prefix;
	char country[3];
	region_id region; /* REGION_NONE: the country's */
};

struct table {
	atomic_uint refs;
	uint64_t version; /* 1, 2, 3 … of this process */
	struct live *live;
	struct arena arena;

	struct backend *backends; /* every valid row, usable or not, ordered by id */
	uint32_t backend_count;
	uint32_t usable_count;
	uint32_t *backend_of_slot; /* index, or UINT32_MAX */
	uint32_t slot_end;

	struct pool *pools;
	uint32_t pool_count;

	struct service **services; /* each with a reference */
	uint32_t service_count;

	struct health_check_row *checks; /* sorted for health_check_find() */
	uint32_t check_count;

	region_id local_region;
	bool panics;
	region_id country_region[COUNTRY_INDEX_MAX];
	bool country_has_row[COUNTRY_INDEX_MAX]; /* in country_regions */
	struct geo_override *overrides;
	struct prefix_map *override_map; /* value: index of overrides */
	struct access *access;
};

struct table_options {
	const char *local_region; /* EDGEPROXY_REGION */
	/* Services that exist without a row, such as EDGEPROXY_LISTEN_ADDR. References are taken.
	 */
	struct service *const *services;
	uint32_t service_count;
	bool panics; /* there is a panic threshold: route/panic.h */
};

/* Control thread. rows have been validated and may go afterwards. A pool is made for each app that
 * a service or a backend names; one for all where a service serves every app, or where there are no
 * services. 0; -ENOSPC (slots or regions used up), -EINVAL (a region's name), -ENOMEM. */
MUST_CHECK int table_new(const struct route_rows *rows, const struct table_options *options,
                         struct live *live, struct table **ret_table);
struct table *table_ref(struct table *t);
void table_unref(struct table *t); /* any thread; NULL-safe */
/* Is the caller's the last reference? Once true it stays true unless the caller gives one away. */
bool table_is_sole(const struct table *t);

/* The pool of an app (NULL: all), or NULL where none was made. */
const struct pool *table_pool(const struct table *t, const char *app);
/* pool_in_panic() of an app's pool; false where there is none. */
bool table_in_panic(const struct table *t, const char *app);
/* The backend in a slot, or NULL. */
const struct backend *table_backend_in_slot(const struct table *t, uint32_t slot);
/* Where clients of a country go, or REGION_NONE. */
region_id table_region_of_country(const struct table *t, const char *country);

#endif
