/* What must be true in every world, found out the slow and plain way. Each function reports what it
 * finds to world_violated(). */
#ifndef SIM_INVARIANTS_H
#define SIM_INVARIANTS_H

#include "world.h"

/* A decision, before its connection is counted in the model. */
void check_choice(struct world *w, const struct sim_session *s, const struct choice *choice);
/* Places may have been taken: the limit holds, by the table of some worker. */
void check_limit(struct world *w, uint32_t backend);
/* The same of all. To be called before a worker gets another table. */
void check_limits(struct world *w);
/* A client is turned away. */
void check_refusal(struct world *w, const struct sim_session *s, const char *why);
/* A client is about to wait: there is something to wait for. */
void check_waits(struct world *w, const struct sim_session *s);
/* A client has waited for as long as it may, or may not wait. */
void check_waited(struct world *w, const struct sim_session *s, const char *why);
/* Right after the control thread's tick: whether each pool is in panic. */
void check_panic(struct world *w);
/* The books of model and proxy agree. */
void check_books(struct world *w);
/* Nothing is left at the end, and nobody was starved. */
void check_end(struct world *w);

#endif
