/* A list of the backends that are on their way, and for each slot when it began: 0 says that it is
 * not in the list. A tick costs as much as the list is long. */
#include "route/slowstart.h"

#include "route/limits.h"

#include <stdlib.h>

#define PERCENT 100

struct start {
	uint64_t began_ms; /* 0: not on its way; a clock that reads 0 counts as 1 */
	uint32_t generation;
};

struct slowstart {
	struct live *live;
	uint64_t length_ms;
	struct start *by_slot; /* LIVE_SLOTS_MAX, memory only where touched; as the next */
	uint32_t *slots;
	uint32_t count;
};

struct slowstart *slowstart_new(struct live *live, uint64_t length_ms)
{
	struct slowstart *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->live = live;
	s->length_ms = length_ms;
	s->by_slot = calloc(LIVE_SLOTS_MAX, sizeof(*s->by_slot));
	s->slots = calloc(LIVE_SLOTS_MAX, sizeof(*s->slots));
	if (s->by_slot == NULL || s->slots == NULL) {
		slowstart_free(s);
		return NULL;
	}
	return s;
}

void slowstart_free(struct slowstart *s)
{
	if (s == NULL)
		return;
	free(s->by_slot);
	free(s->slots);
	free(s);
}

void slowstart_begin(struct slowstart *s, uint32_t slot, uint64_t now_ms)
{
	if (s->length_ms == 0)
		return;
	CHECK(slot < LIVE_SLOTS_MAX);
	if (s->by_slot[slot].began_ms == 0)
		s->slots[s->count++] = slot;
	s->by_slot[slot].began_ms = now_ms > 0 ? now_ms : 1;
	s->by_slot[slot].generation = live_generation(s->live, slot);
	live_set_ramp(s->live, slot, SLOWSTART_MIN_PERCENT);
}

void slowstart_cancel(struct slowstart *s, uint32_t slot)
{
	if (s->length_ms == 0 || s->by_slot[slot].began_ms == 0)
		return;
	s->by_slot[slot].generation = 0; /* nobody's: leaves the list at the next tick */
	live_set_ramp(s->live, slot, LIVE_NO_RAMP);
}

uint64_t slowstart_past_ms(const struct slowstart *s, uint32_t slot, uint64_t now_ms)
{
	const struct start *start = &s->by_slot[slot];

	CHECK(slot < LIVE_SLOTS_MAX);
	if (start->began_ms == 0 || start->generation != live_generation(s->live, slot))
		return 0;
	return now_ms > start->began_ms ? now_ms - start->began_ms : 1;
}

void slowstart_restore(struct slowstart *s, uint32_t slot, uint64_t past_ms, uint64_t now_ms)
{
	if (past_ms < s->length_ms)
		slowstart_begin(s, slot, now_ms > past_ms ? now_ms - past_ms : 0);
}

/* False: it has arrived, or is another backend's slot now. */
static bool advance(struct slowstart *s, uint32_t slot, uint64_t now_ms)
{
	const struct start *start = &s->by_slot[slot];
	/* A table may be published a moment after the time that the tick goes by. */
	uint64_t past_ms = now_ms > start->began_ms ? now_ms - start->began_ms : 0;
	uint64_t percent;

	if (start->generation != live_generation(s->live, slot))
		return false;
	if (past_ms >= s->length_ms) {
		live_set_ramp(s->live, slot, LIVE_NO_RAMP);
		return false;
	}
	percent = past_ms * PERCENT / s->length_ms;
	if (percent < SLOWSTART_MIN_PERCENT)
		percent = SLOWSTART_MIN_PERCENT;
	live_set_ramp(s->live, slot, (uint8_t)percent);
	return true;
}

void slowstart_tick(struct slowstart *s, uint64_t now_ms)
{
	uint32_t i = 0;

	while (i < s->count) {
		uint32_t slot = s->slots[i];

		if (advance(s, slot, now_ms)) {
			i++;
			continue;
		}
		s->by_slot[slot].began_ms = 0;
		s->slots[i] = s->slots[--s->count];
	}
}
