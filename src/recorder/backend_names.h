/* Which backend (slot, generation) was, also when it has left the table: names are remembered until
 * the slot is given to another. The API thread. */
#ifndef RECORDER_BACKEND_NAMES_H
#define RECORDER_BACKEND_NAMES_H

#include "route/table.h"

#include <stdint.h>

struct backend_names;

/* NULL: out of memory. */
struct backend_names *backend_names_new(void);
void backend_names_free(struct backend_names *n); /* NULL-safe */
/* A backend is spoken of: its name is kept, if the table knows it. */
void backend_names_note(struct backend_names *n, const struct table *t, uint32_t slot,
                        uint32_t generation);
/* Its id, or NULL where that is not known (any more). Valid until the next note. */
const char *backend_names_find(const struct backend_names *n, uint32_t slot, uint32_t generation);
/* The same, of one that the table may have learned of since it was noted: workers may have a new
 * table for a moment before the API does. */
const char *backend_names_get(struct backend_names *n, const struct table *t, uint32_t slot,
                              uint32_t generation);

#endif
