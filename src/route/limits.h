/* The sizes that rows may have. One place, because the database, the table and the shared live
 * state must agree. */
#ifndef ROUTE_LIMITS_H
#define ROUTE_LIMITS_H

/* Longest texts, in bytes, without the end. */
#define BACKEND_ID_MAX 128
#define ACCESS_RULE_ID_MAX 128
#define APP_NAME_MAX 64
#define REGION_NAME_MAX 32
#define CONGESTION_NAME_MAX 15 /* TCP_CA_NAME_MAX, its end left out */

/* Rows beyond these are quarantined. */
#define BACKENDS_MAX 131072
#define SERVICES_MAX 256
#define GEO_OVERRIDES_MAX 1000000
#define ACCESS_RULES_MAX 1000000

/* Backends known at one time: in any table, or still with connections. */
#define LIVE_SLOTS_MAX (2 * BACKENDS_MAX)
/* Different region names since the start of the process. */
#define REGIONS_MAX 1024

/* Ranges of numbers in a row. */
#define WEIGHT_MAX 65535
#define LIMIT_MAX 1000000000

#endif
