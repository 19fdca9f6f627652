/* The clients of a plan as players of a game in which both worlds are played through: who decides
 * how often, when, and with what load. One thread. */
#ifndef PLAN_PLAN_PLAYERS_H
#define PLAN_PLAN_PLAYERS_H

#include "base/check.h"
#include "plan/plan_input.h"
#include "plan/plan_result.h"
#include "plan/plan_world.h"

#include <stddef.h>
#include <stdint.h>

/* Decisions that are made on each side, all clients together: about so many, each client one. */
#define PLAN_DECISIONS 65536
/* All draws are made from it, so the same input gets the same answer. */
#define PLAN_SEED 0x5eed

/* Clients for which it is the same have the same place and rights. Without padding: compared by
 * memcmp(). */
struct plan_class_key {
	uint32_t service[PLAN_SIDES];
	char country[PLAN_SIDES][4];
	uint32_t region[PLAN_SIDES];
	uint32_t denied[PLAN_SIDES];
};

struct plan_player {
	struct plan_class_key key;
	struct plan_standing standing[PLAN_SIDES];
	uint32_t client; /* index of the input's */
	uint32_t class;  /* 0..class_count - 1 */
	uint32_t turns;
	double turn_weight;     /* share of all clients that one decision stands for */
	double turn_load;       /* scaled connections that it brings */
	double due[PLAN_SIDES]; /* of which less than one is due yet */
};

struct plan_players {
	struct plan_player *all; /* by class */
	size_t count;
	uint32_t *turns; /* indices of all, in the order in which they decide */
	size_t turn_count;
	uint32_t class_count;
	double weight; /* of all clients */
};

/* worlds are the two that the clients stand in, whose limits are multiplied by scale, as loads are;
 * r has the backends with their connections. 0 or -ENOMEM; plan_players_done() either way. */
MUST_CHECK int plan_players_init(struct plan_players *p, const struct plan_input *input,
                                 const struct plan_world worlds[PLAN_SIDES],
                                 const struct plan_result *r, double scale);
void plan_players_done(struct plan_players *p);

#endif
