/* Validated rows: what the routing database says, as plain data, before it becomes a table. The
 * store fills a route_rows, the last-good file writes it, a table is built from it. All texts
 * belong to the arena inside. Not synchronised: the control thread's. */
#ifndef ROUTE_ROWS_H
#define ROUTE_ROWS_H

#include "base/arena.h"
#include "base/check.h"
#include "net/addr.h"
#include "net/prefix.h"
#include "route/health_check.h"
#include "route/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum admin_state { STATE_READY, STATE_DRAIN, STATE_MAINT };
#define ADMIN_STATES 3

/* As the database, the API and the command line have it. */
const char *admin_state_word(enum admin_state state);
/* 0 or -EINVAL. */
MUST_CHECK int admin_state_parse(const char *word, enum admin_state *ret_state);

struct backend_row {
	const char *id;
	const char *app;
	const char *region;
	char country[3]; /* "" when the database names none */
	struct endpoint addr;
	bool healthy;
	bool deleted;
	enum admin_state state;
	uint32_t weight;                          /* 0..WEIGHT_MAX; 0 takes no new clients */
	uint32_t soft_limit;                      /* 1..LIMIT_MAX connections */
	uint32_t hard_limit;                      /* 1..LIMIT_MAX connections */
	char congestion[CONGESTION_NAME_MAX + 1]; /* "": that of the environment */
};

struct service_row {
	struct endpoint listen;
	const char *app;                          /* NULL: every app */
	bool accept_proxy;                        /* read a PROXY header from trusted addresses */
	uint8_t send_proxy;                       /* 0, or the version to write: 1, 2 */
	char congestion[CONGESTION_NAME_MAX + 1]; /* "": that of the environment */
};

struct geo_override_row {
	struct prefix prefix;
	char country[3];    /* "" : none */
	const char *region; /* NULL: the country's */
};

struct country_region_row {
	char country[3];
	const char *region;
};

/* Whom a rule is about. */
enum access_match { ACCESS_ALL, ACCESS_COUNTRY, ACCESS_CIDR };

struct access_rule_row {
	const char *id;
	const char *app; /* NULL: every app */
	enum access_match match;
	struct prefix prefix; /* of ACCESS_CIDR */
	char country[3];      /* of ACCESS_COUNTRY */
	bool allow;
};

struct route_rows {
	struct arena arena;
	struct backend_row *backends;
	size_t backend_count;
	struct service_row *services;
	size_t service_count;
	struct geo_override_row *overrides;
	size_t override_count;
	struct country_region_row *country_regions;
	size_t country_region_count;
	struct health_check_row *checks;
	size_t check_count;
	struct access_rule_row *access_rules;
	size_t access_rule_count;
};

void route_rows_init(struct route_rows *rows);
void route_rows_done(struct route_rows *rows);

/* Append a copy (texts are copied into the arena). 0 or -ENOMEM. */
MUST_CHECK int route_rows_add_backend(struct route_rows *rows, const struct backend_row *row);
MUST_CHECK int route_rows_add_service(struct route_rows *rows, const struct service_row *row);
MUST_CHECK int route_rows_add_override(struct route_rows *rows, const struct geo_override_row *row);
MUST_CHECK int route_rows_add_country_region(struct route_rows *rows,
                                             const struct country_region_row *row);
MUST_CHECK int route_rows_add_check(struct route_rows *rows, const struct health_check_row *row);
MUST_CHECK int route_rows_add_access_rule(struct route_rows *rows,
                                          const struct access_rule_row *row);

/* The same rows in the same order: a table of the one is a table of the other. */
bool route_rows_equal(const struct route_rows *a, const struct route_rows *b);

/* Can new clients go there at all (limits aside)? */
bool backend_row_usable(const struct backend_row *row);
size_t route_rows_usable(const struct route_rows *rows);

#endif
