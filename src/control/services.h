/* The services of a table, each with its open socket. The control thread only. */
#ifndef CONTROL_SERVICES_H
#define CONTROL_SERVICES_H

#include "base/check.h"
#include "config/config.h"
#include "control/db_error.h"
#include "control/listeners.h"
#include "route/limits.h"
#include "route/rows.h"
#include "route/service.h"

#include <stdbool.h>
#include <stdint.h>

struct services {
	const struct config *config;
	struct listeners listeners;
	bool failing;            /* some service has no socket */
	uint64_t failure_digest; /* of what failed when that was logged */
	uint64_t logged_ms;
};

/* Opens nothing yet; config outlives it. */
void services_init(struct services *s, const struct config *config);
void services_done(struct services *s);

/* EDGEPROXY_LISTEN_ADDR, if there is one. 0, or -errno with one line in error. */
MUST_CHECK int services_open_own(struct services *s, char error[STORE_ERROR_MAX]);

/* For one table; each with a reference. */
struct service_set {
	struct service *all[SERVICES_MAX];
	uint32_t count;
};

/* Own and rows. One of a row that cannot be listened on is logged and left out, and s->failing says
 * so. 0, or -errno when the own one cannot be made; service_set_done() either way. */
MUST_CHECK int services_open(struct services *s, const struct route_rows *rows,
                             struct service_set *set, uint64_t now_ms);
void service_set_done(struct service_set *set);

#endif
