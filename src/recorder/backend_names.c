/* An array by slot, as long as the highest slot that was spoken of. It trusts the table that the
 * API has: while a table holds a backend, its slot is not given away, so the generation that live
 * tells is the backend's. */
#include "recorder/backend_names.h"

#include "route/live.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SLOTS 64

struct name {
	char *id; /* NULL: none */
	uint32_t generation;
};

struct backend_names {
	struct name *names;
	uint32_t count;
};

struct backend_names *backend_names_new(void)
{
	return calloc(1, sizeof(struct backend_names));
}

void backend_names_free(struct backend_names *n)
{
	if (n == NULL)
		return;
	for (uint32_t i = 0; i < n->count; i++)
		free(n->names[i].id);
	free(n->names);
	free(n);
}

static bool make_room(struct backend_names *n, uint32_t slot)
{
	uint32_t count = n->count > 0 ? n->count : FIRST_SLOTS;
	struct name *more;

	if (slot < n->count)
		return true;
	while (count <= slot)
		count *= 2;
	more = reallocarray(n->names, count, sizeof(*more));
	if (more == NULL)
		return false;
	memset(more + n->count, 0, (count - n->count) * sizeof(*more));
	n->names = more;
	n->count = count;
	return true;
}

void backend_names_note(struct backend_names *n, const struct table *t, uint32_t slot,
                        uint32_t generation)
{
	const struct backend *b;
	char *id;

	if (slot == LIVE_NO_SLOT || t == NULL || backend_names_find(n, slot, generation) != NULL)
		return;
	b = table_backend_in_slot(t, slot);
	if (b == NULL || live_generation(t->live, slot) != generation || !make_room(n, slot))
		return;
	id = strdup(b->id);
	if (id == NULL)
		return;
	free(n->names[slot].id);
	n->names[slot] = (struct name){.id = id, .generation = generation};
}

const char *backend_names_find(const struct backend_names *n, uint32_t slot, uint32_t generation)
{
	if (slot >= n->count || n->names[slot].generation != generation)
		return NULL;
	return n->names[slot].id;
}

const char *backend_names_get(struct backend_names *n, const struct table *t, uint32_t slot,
                              uint32_t generation)
{
	backend_names_note(n, t, slot, generation);
	return backend_names_find(n, slot, generation);
}
