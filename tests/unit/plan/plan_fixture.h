/* The rows of both sides of a plan, empty at first, for tests to add what they are about. */
#ifndef UNIT_CLI_PLAN_FIXTURE_H
#define UNIT_CLI_PLAN_FIXTURE_H

#include "../route/rows_fixture.h"
#include "plan/plan_input.h"

/* The input is for all apps, from sa. */
static inline void plan_fixture_init(struct route_rows rows[PLAN_SIDES], struct plan_input *input)
{
	*input = (struct plan_input){
		.region = "sa",
		.app = "",
		.listen = fixture_endpoint(8080),
	};
	for (int side = 0; side < PLAN_SIDES; side++) {
		route_rows_init(&rows[side]);
		input->rows[side] = &rows[side];
	}
}

static inline void plan_fixture_done(struct route_rows rows[PLAN_SIDES])
{
	for (int side = 0; side < PLAN_SIDES; side++)
		route_rows_done(&rows[side]);
}

#endif
