/* A binary heap. Out of memory ends the program: a simulation has nobody to be kind to. */
#include "agenda.h"

#include "base/check.h"

#include <stdlib.h>

void agenda_init(struct agenda *a)
{
	*a = (struct agenda){.room = 64};
	a->heap = calloc(a->room, sizeof(*a->heap));
	CHECK(a->heap != NULL);
}

void agenda_done(struct agenda *a)
{
	free(a->heap);
}

static bool before(const struct happening *a, const struct happening *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

void agenda_add(struct agenda *a, uint64_t at_ms, int kind, uint32_t subject, uint64_t token)
{
	struct happening h = {at_ms, a->order++, kind, subject, token};
	size_t i = a->count++;

	if (a->count > a->room) {
		a->room *= 2;
		a->heap = realloc(a->heap, a->room * sizeof(*a->heap));
		CHECK(a->heap != NULL);
	}
	for (; i > 0 && before(&h, &a->heap[(i - 1) / 2]); i = (i - 1) / 2)
		a->heap[i] = a->heap[(i - 1) / 2];
	a->heap[i] = h;
}

bool agenda_take(struct agenda *a, struct happening *ret_next)
{
	struct happening last;
	size_t i = 0;

	if (a->count == 0)
		return false;
	*ret_next = a->heap[0];
	last = a->heap[--a->count];
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= a->count)
			break;
		if (child + 1 < a->count && before(&a->heap[child + 1], &a->heap[child]))
			child++;
		if (!before(&a->heap[child], &last))
			break;
		a->heap[i] = a->heap[child];
		i = child;
	}
	a->heap[i] = last;
	return true;
}
