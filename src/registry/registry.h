/* Who has registered and when it was last heard of. Pure: `now` is an argument, in milliseconds
 * that never go back. The API thread only.
 *
 * A registration is alive until nothing was heard of it for a time to live, then late, and after a
 * longer silence it is to be forgotten. The registry itself never moves one from one to the other:
 * registry_due() names those for whom it is time, and the caller, who has to write it to the
 * database first, says when that is done. So a database that fails delays, and loses nothing. */
#ifndef REGISTRY_REGISTRY_H
#define REGISTRY_REGISTRY_H

#include "base/check.h"
#include "base/list.h"
#include "route/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REGISTRATIONS_MAX BACKENDS_MAX

struct registration {
	char id[BACKEND_ID_MAX + 1];
	char app[APP_NAME_MAX + 1];
	bool late;  /* the database has it as unhealthy for its silence */
	bool heard; /* false: known from the database only, since the start of this process */
	uint64_t last_ms;

	/* The registry's. */
	unsigned round;
	struct list order; /* by last_ms, among the alive or among the late */
	struct registration *next;
};

struct registry;

/* ttl_ms at least 1; forget_ms 0: never. NULL: out of memory. */
struct registry *registry_new(uint64_t ttl_ms, uint64_t forget_ms);
void registry_free(struct registry *r); /* NULL-safe */

/* A registration or its renewal: alive, heard of now. 0, -ENOSPC or -ENOMEM. */
MUST_CHECK int registry_add(struct registry *r, const char *id, const char *app, uint64_t now_ms);
struct registration *registry_find(struct registry *r, const char *id); /* or NULL */
/* Heard of; one that is late stays so until registry_set_late(). */
void registry_beat(struct registry *r, struct registration *e, uint64_t now_ms);
void registry_set_late(struct registry *r, struct registration *e, bool late);
void registry_remove(struct registry *r, struct registration *e);
size_t registry_count(const struct registry *r);

/* Those for whom it is time, at most max of them: alive ones are to become late, late ones are to
 * be forgotten. Returns how many. */
size_t registry_due(struct registry *r, uint64_t now_ms, struct registration **ret_due, size_t max);

/* What the database says, once at the start and whenever others have changed it. One that is new
 * here has a time to live from now on to be heard of; those that are not seen between begin and end
 * are removed. 0, -ENOSPC or -ENOMEM. */
void registry_sync_begin(struct registry *r);
MUST_CHECK int registry_sync(struct registry *r, const char *id, const char *app, bool late,
                             uint64_t now_ms);
void registry_sync_end(struct registry *r);

#endif
