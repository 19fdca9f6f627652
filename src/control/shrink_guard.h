/* The shrink guard: a read that would take away more than half of the usable backends is held,
 * until it has been proposed without a break for EDGEPROXY_SHRINK_HOLD_SECS, or an operator accepts
 * it. The control thread only; `now` is an argument. */
#ifndef CONTROL_SHRINK_GUARD_H
#define CONTROL_SHRINK_GUARD_H

#include "base/counter.h"
#include "route/table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Who says that a table may lose most of its backends. */
enum accept { ACCEPT_NOBODY, ACCEPT_HOLD, ACCEPT_OPERATOR };

struct shrink_guard {
	uint64_t hold_secs;    /* 0: nothing is held */
	struct counter *count; /* of holds */
	bool holds;
	uint64_t since_ms;
	size_t usable; /* in the read that is held */
};

void shrink_guard_init(struct shrink_guard *g, uint64_t hold_secs, struct counter *count);

/* Has the read that is held been proposed for long enough? */
bool shrink_guard_is_over(const struct shrink_guard *g, uint64_t now_ms);
/* Is a read with so many usable backends held back from replacing table t? Logs it. One that loses
 * still more than the one before has to wait anew. */
bool shrink_guard_holds(struct shrink_guard *g, const struct table *t, size_t usable,
                        enum accept accept, uint64_t now_ms);
/* Nothing is proposed any more that had to be held. */
void shrink_guard_release(struct shrink_guard *g);
/* A read replaced a table with usable_before: logs whose word it was, where it took one. */
void shrink_guard_passed(struct shrink_guard *g, size_t usable_before, size_t usable,
                         enum accept accept);

#endif
