/* The country database: an MMDB file (MaxMind DB format 2.0), read through libmaxminddb.
 *
 * Both key layouts work: `country.iso_code` (MaxMind GeoLite2/GeoIP2 Country and City; where it is
 * absent, `registered_country.iso_code`) and `country_code` (ip-location-db). The bytes are always
 * copied into a sealed memfd first, so a file that is truncated or rewritten later cannot hurt. */
#ifndef GEO_GEO_DB_H
#define GEO_GEO_DB_H

#include "base/check.h"
#include "net/addr.h"

#include <stdbool.h>
#include <stdint.h>

struct geo_db;

struct geo_record {
	char country[3];        /* two capitals (ISO 3166-1 alpha-2), "" when unknown */
	unsigned char net_bits; /* of the matched network, in the 128-bit form (IPv4 /24: 120) */
	bool found;
};

#define GEO_ERROR_MAX 256
/* No larger file is read. */
#define GEO_FILE_MAX_BYTES (512u << 20)

/* Opens and validates: metadata, key layout, and lookups of canary addresses of which at least one
 * must give a country. 0 or -errno (-EAGAIN: the file changed while it was read), with one line in
 * error that says what is wrong; the caller adds the path. */
MUST_CHECK int geo_db_open(const char *path, struct geo_db **ret_db, char error[GEO_ERROR_MAX]);
/* The database inside the binary. */
MUST_CHECK int geo_db_open_embedded(struct geo_db **ret_db, char error[GEO_ERROR_MAX]);

/* Reference-counted; any thread. NULL-safe. */
struct geo_db *geo_db_ref(struct geo_db *db);
void geo_db_unref(struct geo_db *db);

/* Any thread, no locks, no allocation. An address outside the database is !found. */
struct geo_record geo_db_find(const struct geo_db *db, const struct ip *ip);

/* Unix time at which the database was made; its type, such as "GeoLite2-Country"; its size. */
uint64_t geo_db_build_epoch(const struct geo_db *db);
const char *geo_db_type(const struct geo_db *db);
uint64_t geo_db_bytes(const struct geo_db *db);

#endif
