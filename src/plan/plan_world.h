/* One of the two worlds of a plan: a table made from rows, with what is true of the backends beside
 * them, in which clients are decided upon without a worker. One thread. */
#ifndef PLAN_PLAN_WORLD_H
#define PLAN_PLAN_WORLD_H

#include "base/check.h"
#include "plan/plan_input.h"
#include "route/policy.h"
#include "route/table.h"

#include <stdbool.h>
#include <stdint.h>

struct plan_world {
	const struct plan_input *input;
	struct live *live;
	struct table *table;
	struct service *services[SERVICES_MAX + 1];
	uint32_t service_count;
};

/* What is the same for all decisions about one client. */
struct plan_standing {
	const struct service *service; /* NULL: nobody listens there */
	struct place place;
	bool denied;
};

/* Limits are multiplied by scale, so that more connections than there are weigh as much. 0 or
 * -errno of table_new(); plan_world_done() either way. */
MUST_CHECK int plan_world_init(struct plan_world *w, const struct plan_input *input,
                               enum plan_side side, double scale);
void plan_world_done(struct plan_world *w);

struct plan_standing plan_world_stand(const struct plan_world *w, const struct plan_client *client);
/* Whom a client without a binding would get; NULL: nobody. With connections > 0 it has so many
 * there from then on, as far as there is room. draw decides between equals. */
const struct backend *plan_world_decide(struct plan_world *w, const struct plan_client *client,
                                        const struct plan_standing *standing, uint32_t connections,
                                        uint64_t draw, unsigned *ret_region_score);
/* Would a client that had this backend get it again, room aside? */
bool plan_world_keeps(const struct plan_world *w, const struct plan_standing *standing,
                      const char *id);
const struct backend *plan_world_backend(const struct plan_world *w, const char *id);

#endif
