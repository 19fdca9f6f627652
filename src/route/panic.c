/* Counts the sound members of each pool and compares. It trusts the faults, and never looks at
 * connections: a full backend is sound. */
#include "route/panic.h"

#define PERCENT 100

/* Those that want no clients by their own word are no members for this while. */
static uint32_t count_sound(const struct table *t, const struct pool *p, uint32_t *ret_members)
{
	uint32_t sound = 0;

	*ret_members = 0;
	for (uint32_t i = 0; i < p->member_count; i++) {
		unsigned faults = live_faults(t->live, p->slots[i]);

		sound += faults == 0;
		*ret_members += (faults & LIVE_STATED) == 0;
	}
	return sound;
}

void panic_update(struct table *t, const struct table *was, uint32_t threshold_percent,
                  void (*changed)(void *arg, const struct panic_change *change), void *arg)
{
	if (threshold_percent == 0)
		return;
	for (uint32_t i = 0; i < t->pool_count; i++) {
		struct pool *p = &t->pools[i];
		uint32_t members;
		uint32_t sound = count_sound(t, p, &members);
		bool panic = (uint64_t)sound * PERCENT < (uint64_t)members * threshold_percent;
		bool before = was != NULL && table_in_panic(was, p->app);

		atomic_store_explicit(&p->panic, panic, memory_order_relaxed);
		if (panic != before)
			changed(arg,
			        &(struct panic_change){
					.table = t, .pool = p, .panic = panic, .sound = sound});
	}
}
