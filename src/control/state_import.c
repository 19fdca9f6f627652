/* From a state's bytes into the affinity table, and to the watch of faults. Backends are found by
 * id; a binding to one that is not in the present table is of no use. Bindings are put oldest
 * first: where there is room for fewer, the newer ones stay, and so does the newer of two that are
 * for one client now, since addresses are masked shorter than before. */
#include "control/state.h"
#include "route/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* More is no state of ours: as many bindings as there can be, and some more. */
#define STATE_BYTES_MAX ((uint64_t)AFFINITY_ENTRIES_MAX * sizeof(struct state_binding) * 5 / 4)
/* A sort key has the age above the place: ages of two years, and as many places as bindings. */
#define PLACE_BITS 28
#define AGE_MAX ((UINT64_C(1) << (64 - PLACE_BITS)) - 1)

_Static_assert(AFFINITY_ENTRIES_MAX < 1u << PLACE_BITS, "a place for each");

struct collector {
	const struct state_import *to;
	struct binding *backends; /* by the file's slots; generation 0: not here */
	struct state_binding *all;
	uint64_t *keys;
	size_t count;
	size_t room;
	struct state_seen *seen; /* as many as backends, at most */
	size_t seen_count;
};

int state_slurp(int fd, uint8_t **ret_data, size_t *ret_bytes, char error[STATE_ERROR_MAX])
{
	struct stat st;
	uint8_t *data;
	size_t at = 0;

	if (fstat(fd, &st) != 0) {
		snprintf(error, STATE_ERROR_MAX, "%s", strerror(errno));
		return -errno;
	}
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > STATE_BYTES_MAX) {
		snprintf(error, STATE_ERROR_MAX, "not a state file");
		return -EBADMSG;
	}
	data = malloc((size_t)st.st_size + 1);
	if (data == NULL) {
		snprintf(error, STATE_ERROR_MAX, "out of memory");
		return -ENOMEM;
	}
	while (at < (size_t)st.st_size) {
		ssize_t n = pread(fd, data + at, (size_t)st.st_size - at, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int err = -errno;

			snprintf(error, STATE_ERROR_MAX, "%s", strerror(-err));
			free(data);
			return err;
		}
		if (n == 0)
			break; /* shorter than a moment ago: the parser will see */
		at += (size_t)n;
	}
	*ret_data = data;
	*ret_bytes = at;
	return 0;
}

static int take_backend(void *arg, uint32_t slot, uint32_t generation, const char *id)
{
	struct collector *c = arg;
	uint32_t here = live_find(c->to->live, id);

	(void)generation;
	if (here != LIVE_NO_SLOT)
		c->backends[slot] = (struct binding){
			.slot = here,
			.generation = live_generation(c->to->live, here),
		};
	return 0;
}

static void take_binding(void *arg, const struct state_binding *b)
{
	struct collector *c = arg;
	uint64_t age_ms = b->age_ms < AGE_MAX ? b->age_ms : AGE_MAX;

	if (c->count == c->room)
		return; /* more than there can be: counted from the file's size */
	c->all[c->count] = *b;
	c->keys[c->count] = (AGE_MAX - age_ms) << PLACE_BITS | c->count;
	c->count++;
}

static void take_seen(void *arg, const struct state_seen *seen)
{
	struct collector *c = arg;

	if (c->seen_count < LIVE_SLOTS_MAX)
		c->seen[c->seen_count++] = *seen;
}

static int by_key(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void put_all(struct collector *c, const struct state_times *now, struct state_summary *s)
{
	qsort(c->keys, c->count, sizeof(*c->keys), by_key);
	for (size_t i = 0; i < c->count; i++) {
		const struct state_binding *b =
			&c->all[c->keys[i] & ((UINT64_C(1) << PLACE_BITS) - 1)];
		struct binding to = c->backends[b->slot];
		uint64_t age_ms = s->age_ms + (b->age_ms < AGE_MAX ? b->age_ms : AGE_MAX);
		struct ip client;

		if (age_ms >= c->to->ttl_ms) {
			s->expired++;
		} else if (to.generation == 0) {
			s->unknown++;
		} else {
			memcpy(client.b, b->client, sizeof(client.b));
			(c->to->late ? affinity_touch : affinity_put)(c->to->affinity, &client,
			                                              b->service, to,
			                                              now->monotonic_ms - age_ms);
			s->bindings++;
		}
	}
}

static void restore_all(struct collector *c, const struct state_times *now, struct state_summary *s)
{
	for (size_t i = 0; i < c->seen_count; i++) {
		struct binding to = c->backends[c->seen[i].slot];

		if (to.generation != 0 && fault_watch_restore(c->to->faults, to.slot, &c->seen[i],
		                                              s->age_ms, now->monotonic_ms))
			s->faults++;
	}
}

int state_import(int fd, const struct state_import *to, struct state_summary *ret,
                 char error[STATE_ERROR_MAX])
{
	const struct state_times now = state_times_now();
	struct collector c = {.to = to};
	const struct state_reader reader = {
		.backend = take_backend,
		.binding = take_binding,
		.seen = to->faults != NULL ? take_seen : NULL,
		.arg = &c,
	};
	uint8_t boot[STATE_BOOT_BYTES];
	struct state_header header;
	uint8_t *data;
	size_t bytes;
	int err = state_slurp(fd, &data, &bytes, error);

	if (err != 0)
		return err;
	c.room = bytes / sizeof(struct state_binding);
	c.backends = calloc(LIVE_SLOTS_MAX, sizeof(*c.backends));
	c.all = malloc((c.room + 1) * sizeof(*c.all));
	c.keys = malloc((c.room + 1) * sizeof(*c.keys));
	c.seen = calloc(LIVE_SLOTS_MAX, sizeof(*c.seen)); /* memory only where touched */
	if (c.backends == NULL || c.all == NULL || c.keys == NULL || c.seen == NULL) {
		snprintf(error, STATE_ERROR_MAX, "out of memory");
		err = -ENOMEM;
	} else {
		err = state_parse(data, bytes, &reader, &header, error);
	}
	if (err == 0) {
		*ret = (struct state_summary){0};
		state_boot_id(boot);
		ret->age_ms = state_age_ms(&header, &now, boot);
		put_all(&c, &now, ret);
		restore_all(&c, &now, ret);
	}
	free(c.backends);
	free(c.all);
	free(c.keys);
	free(c.seen);
	free(data);
	return err;
}
