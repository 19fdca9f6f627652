/* What a plan compares, as plain data: the rows of the routing database as they are and as they
 * would be, the clients of now, and what is true of the backends beside their rows. Whoever fills
 * it in owns all that it points to. */
#ifndef PLAN_PLAN_INPUT_H
#define PLAN_PLAN_INPUT_H

#include "geo/geo_db.h"
#include "net/addr.h"
#include "route/rows.h"

#include <stddef.h>
#include <stdint.h>

enum plan_side { PLAN_NOW, PLAN_THEN, PLAN_SIDES };

/* A prefix of clients at one listener. */
struct plan_client {
	struct ip client; /* one of them */
	struct endpoint listen;
	const char *backend; /* where the latest went; NULL: unknown */
	double weight;       /* connections */
};

/* What is true of a backend beside its row. */
struct plan_live {
	const char *id;
	uint32_t connections;
	unsigned faults; /* enum live_fault */
	uint8_t ramp;
	uint8_t weight_percent;
};

struct plan_input {
	const struct route_rows *rows[PLAN_SIDES];
	const char *region;     /* of the POP */
	const char *app;        /* EDGEPROXY_APP; "": every one */
	struct endpoint listen; /* EDGEPROXY_LISTEN_ADDR; zero: none */
	uint32_t panic_percent;
	struct geo_db *geo; /* NULL: none */
	const struct plan_client *clients;
	size_t client_count;
	const struct plan_live *live;
	size_t live_count;
};

#endif
