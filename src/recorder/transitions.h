/* How backends fare, in one word each, and the latest changes of that: up, drain, check-down … and
 * back. For people who watch; decisions are made elsewhere (route/balancer.h), of whose words these
 * are. Looked at once a second, so what came and went in between is not here. The API thread. */
#ifndef RECORDER_TRANSITIONS_H
#define RECORDER_TRANSITIONS_H

#include "route/limits.h"
#include "route/table.h"

#include <stddef.h>
#include <stdint.h>

#define TRANSITIONS_KEPT 32

struct transitions;

struct transition {
	uint64_t at_ms; /* since 1970 */
	char backend[BACKEND_ID_MAX + 1];
	const char *from; /* static; "new": had no row */
	const char *to;   /* static; "gone": has no row, or a deleted one */
};

/* What speaks against new clients there, limits aside: a word of exclusion.def, else "up". Faults
 * are told also while panic ignores them. */
const char *backend_status(const struct table *t, const struct backend *b);

/* NULL: out of memory. */
struct transitions *transitions_new(void);
void transitions_free(struct transitions *t); /* NULL-safe */
/* Compares with what was there when it was last called; costs nothing where nothing has changed.
 * Takes a reference to the table until the next call. The first call only remembers. */
void transitions_look(struct transitions *t, struct table *table, uint64_t wall_ms);
/* The n-th latest, 0 the latest of all, or NULL. */
const struct transition *transitions_find(const struct transitions *t, size_t n);

#endif
