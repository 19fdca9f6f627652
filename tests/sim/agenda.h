/* What is to happen, by time: the clock of a simulation. Things that happen at the same moment
 * happen in the order in which they were put down, so that a seed always gives the same run. */
#ifndef SIM_AGENDA_H
#define SIM_AGENDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct happening {
	uint64_t at_ms;
	uint64_t order;
	int kind;
	uint32_t subject;
	uint64_t token; /* of the subject: one that has another by then is not meant any more */
};

struct agenda {
	struct happening *heap;
	size_t count;
	size_t room;
	uint64_t order;
};

void agenda_init(struct agenda *a);
void agenda_done(struct agenda *a);
void agenda_add(struct agenda *a, uint64_t at_ms, int kind, uint32_t subject, uint64_t token);
/* The next; false: nothing is left. */
bool agenda_take(struct agenda *a, struct happening *ret_next);

#endif
