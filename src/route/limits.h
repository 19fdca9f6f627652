/* The sizes that rows may have. One place, because the database, the table and the shared live
 * state must agree. */
#ifndef ROUTE_LIMITS_H
#define ROUTE_LIMITS_H

/* Longest texts, in bytes, without the end. */
#define BACKEND_ID_MAX 128
#define ACCESS_RULE_ID_MAX 128
#define APP_NAME_MAX 64
#define REGION_NAME_MAX 32
#define POP_NAME_MAX 64
#define CONGESTION_NAME_MAX 15                /* TCP_CA_NAME_MAX, its end left out */
#define CHECK_TARGET_MAX (BACKEND_ID_MAX + 8) /* "backend:" and an id */
#define CHECK_METHOD_MAX 16
#define CHECK_PATH_MAX 1024
#define CHECK_HOST_MAX 255
#define CHECK_BODY_MAX 255
#define CHECK_SERVICE_MAX 128
#define CHECK_SCRIPT_MAX 64

/* How a row of health_checks says whom it is for. */
#define CHECK_TARGET_BACKEND "backend:"
#define CHECK_TARGET_APP "app:"
#define CHECK_TARGET_ALL "*"

/* Rows beyond these are quarantined. */
#define BACKENDS_MAX 131072
#define SERVICES_MAX 256
#define GEO_OVERRIDES_MAX 1000000
#define HEALTH_CHECKS_MAX BACKENDS_MAX
#define ACCESS_RULES_MAX 1000000

/* Backends known at one time: in any table, or still with connections. */
#define LIVE_SLOTS_MAX (2 * BACKENDS_MAX)
/* Of which so many are asked about at once: live_take_failed(). */
#define LIVE_SLOTS_A_WORD 64
/* Different region names since the start of the process. */
#define REGIONS_MAX 1024

/* Ranges of numbers in a row. */
#define WEIGHT_MAX 65535
#define LIMIT_MAX 1000000000
#define CHECK_INTER_MIN_MS 100
#define CHECK_INTER_MAX_MS 3600000
#define CHECK_TIMEOUT_MAX_MS 60000
#define CHECK_GRACE_MAX_MS 3600000
#define CHECK_COUNT_MAX 255 /* of rise and fall */

#endif
