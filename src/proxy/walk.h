/* Walks over the list of a worker's sessions, a few in each turn of its loop: who walks keeps its
 * place by a node of its own in that list, so sessions may come and go on either side of it.
 * Several may walk at one time; they do not see each other's places. The worker's thread only. */
#ifndef PROXY_WALK_H
#define PROXY_WALK_H

#include "base/list.h"

#include <stdbool.h>

enum walk_kind {
	WALK_SWEEP,  /* proxy/sweep.h */
	WALK_CENSUS, /* proxy/census.h */
	WALK_KINDS,
};

struct walks {
	struct list place[WALK_KINDS]; /* in the list: those before it have been seen */
};

void walks_init(struct walks *w);
/* From the beginning, also when that walk is under way. */
void walk_start(struct walks *w, enum walk_kind kind, struct list *sessions);
bool walk_active(const struct walks *w, enum walk_kind kind);
/* The next node of the list, seen from now on; it may be removed. NULL: that was the last one, and
 * the walk is over. */
struct list *walk_next(struct walks *w, enum walk_kind kind, struct list *sessions);
void walk_stop(struct walks *w, enum walk_kind kind);

#endif
