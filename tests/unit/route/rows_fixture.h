/* Rows with everything as it usually is, for tests to change what they are about. */
#ifndef ROUTE_ROWS_FIXTURE_H
#define ROUTE_ROWS_FIXTURE_H

#include "route/rows.h"

static inline struct endpoint fixture_endpoint(uint16_t port)
{
	const uint8_t loopback[4] = {127, 0, 0, 1};

	return (struct endpoint){.ip = ip_from_v4(loopback), .port = port};
}

static inline struct backend_row fixture_backend(const char *id, const char *app,
                                                 const char *region)
{
	return (struct backend_row){
		.id = id,
		.app = app,
		.region = region,
		.addr = fixture_endpoint(9000),
		.healthy = true,
		.state = STATE_READY,
		.weight = 1,
		.soft_limit = 10,
		.hard_limit = 20,
	};
}

#endif
