/* What has been seen of a backend, as against how many connections it has (live.c): faults and
 * trials, weight percentage, ramp and grace, each set by one owner and read by everybody; and what
 * came of connections, which the workers add up and the control thread reads (that it need not read
 * them all each time, a bit says which slots have failed). All are relaxed atomics of a slot: each
 * says what is so by itself, and none is read to conclude anything about another.
 *
 * A slot begins without any of them: live.c forgets them before it gives the slot to a backend. */
#include "base/check.h"
#include "route/live.h"
#include "route/live_memory.h"

#include <stdatomic.h>

static struct slot *slot_at(const struct live *l, uint32_t slot)
{
	CHECK(slot < LIVE_SLOTS_MAX);
	return &l->slots[slot];
}

static void note_change(struct live *l)
{
	atomic_fetch_add_explicit(&l->mark_version, 1, memory_order_release);
}

uint32_t live_mark_version(const struct live *l)
{
	return atomic_load_explicit(&l->mark_version, memory_order_acquire);
}

void live_set_fault(struct live *l, uint32_t slot, enum live_fault fault, bool on)
{
	_Atomic uint8_t *faults = &slot_at(l, slot)->faults;
	uint8_t bit = (uint8_t)fault;
	uint8_t before = on ? atomic_fetch_or_explicit(faults, bit, memory_order_relaxed)
	                    : atomic_fetch_and_explicit(faults, (uint8_t)~bit,
	                                                memory_order_relaxed);

	if (((before & bit) != 0) == on)
		return;
	atomic_fetch_add_explicit(&l->fault_version, 1, memory_order_release);
	note_change(l);
}

const char *live_fault_word(unsigned bit)
{
	static const char *const words[] = {
#define LIVE_FAULT(name, word, help) word,
#include "route/live_fault.def"
#undef LIVE_FAULT
	};

	CHECK(bit < LIVE_FAULTS);
	return words[bit];
}

unsigned live_faults(const struct live *l, uint32_t slot)
{
	return atomic_load_explicit(&slot_at(l, slot)->faults, memory_order_relaxed);
}

void live_set_weight_percent(struct live *l, uint32_t slot, unsigned percent)
{
	CHECK(percent <= 100);
	if (atomic_exchange_explicit(&slot_at(l, slot)->weight_percent, (uint8_t)percent,
	                             memory_order_relaxed) != percent)
		note_change(l);
}

unsigned live_weight_percent(const struct live *l, uint32_t slot)
{
	return atomic_load_explicit(&slot_at(l, slot)->weight_percent, memory_order_relaxed);
}

uint32_t live_fault_version(const struct live *l)
{
	return atomic_load_explicit(&l->fault_version, memory_order_acquire);
}

void live_set_trials(struct live *l, uint32_t slot, uint8_t clients)
{
	atomic_store_explicit(&slot_at(l, slot)->trials, clients, memory_order_relaxed);
}

static bool is_shut(const struct slot *s)
{
	unsigned faults = atomic_load_explicit(&s->faults, memory_order_relaxed);

	if (faults == LIVE_EJECTED)
		return atomic_load_explicit(&s->trials, memory_order_relaxed) == 0;
	return faults != 0;
}

bool live_is_shut(const struct live *l, uint32_t slot)
{
	return is_shut(slot_at(l, slot));
}

struct live_view live_view(const struct live *l, uint32_t slot)
{
	const struct slot *s = slot_at(l, slot);

	return (struct live_view){
		.shut = is_shut(s),
		.stated = (atomic_load_explicit(&s->faults, memory_order_relaxed) & LIVE_STATED) !=
	                  0,
		.weight_percent = atomic_load_explicit(&s->weight_percent, memory_order_relaxed),
		.ramp = atomic_load_explicit(&s->ramp, memory_order_relaxed),
	};
}

bool live_admit(struct live *l, uint32_t slot)
{
	struct slot *s = slot_at(l, slot);
	unsigned faults = atomic_load_explicit(&s->faults, memory_order_relaxed);
	uint8_t left;

	if (faults != LIVE_EJECTED)
		return faults == 0;
	left = atomic_load_explicit(&s->trials, memory_order_relaxed);
	do {
		if (left == 0)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&s->trials, &left, left - 1, memory_order_relaxed, memory_order_relaxed));
	return true;
}

void live_set_ramp(struct live *l, uint32_t slot, uint8_t percent)
{
	uint8_t before;

	CHECK(percent < 100);
	before = atomic_exchange_explicit(&slot_at(l, slot)->ramp, percent, memory_order_relaxed);
	if ((before == LIVE_NO_RAMP) != (percent == LIVE_NO_RAMP))
		note_change(l);
}

uint8_t live_ramp(const struct live *l, uint32_t slot)
{
	return atomic_load_explicit(&slot_at(l, slot)->ramp, memory_order_relaxed);
}

void live_set_grace(struct live *l, uint32_t slot, uint64_t until_ms)
{
	uint32_t until_s = (uint32_t)((until_ms + 999) / 1000);

	if (atomic_exchange_explicit(&slot_at(l, slot)->grace_until_s, until_s,
	                             memory_order_relaxed) != until_s)
		note_change(l);
}

uint64_t live_grace_ms(const struct live *l, uint32_t slot, uint64_t now_ms)
{
	uint32_t until_s = atomic_load_explicit(&slot_at(l, slot)->grace_until_s,
	                                        memory_order_relaxed);
	uint64_t until_ms = (uint64_t)until_s * 1000;

	return now_ms < until_ms ? until_ms - now_ms : 0;
}

bool live_in_grace(const struct live *l, uint32_t slot, uint64_t now_ms)
{
	return live_grace_ms(l, slot, now_ms) > 0;
}

/* ---- outcomes ---- */

void live_note_connect(struct live *l, uint32_t slot, uint32_t connect_us)
{
	struct outcomes *o = &l->outcomes[slot];
	uint32_t rtt_us;

	CHECK(slot < LIVE_SLOTS_MAX);
	atomic_fetch_add_explicit(&o->connects, 1, memory_order_relaxed);
	/* Two workers at once: one of the times is not counted, which does no harm. */
	rtt_us = atomic_load_explicit(&o->rtt_us, memory_order_relaxed);
	if (rtt_us == 0)
		rtt_us = connect_us;
	else
		rtt_us = (uint32_t)(((uint64_t)rtt_us * 7 + connect_us) / 8);
	atomic_store_explicit(&o->rtt_us, rtt_us > 0 ? rtt_us : 1, memory_order_relaxed);
}

uint32_t live_rtt_us(const struct live *l, uint32_t slot)
{
	CHECK(slot < LIVE_SLOTS_MAX);
	return atomic_load_explicit(&l->outcomes[slot].rtt_us, memory_order_relaxed);
}

void live_note_success(struct live *l, uint32_t slot)
{
	struct outcomes *o = &l->outcomes[slot];

	CHECK(slot < LIVE_SLOTS_MAX);
	atomic_fetch_add_explicit(&o->successes, 1, memory_order_relaxed);
	if (atomic_load_explicit(&o->failures_in_a_row, memory_order_relaxed) != 0)
		atomic_store_explicit(&o->failures_in_a_row, 0, memory_order_relaxed);
}

void live_note_failure(struct live *l, uint32_t slot)
{
	struct outcomes *o = &l->outcomes[slot];

	CHECK(slot < LIVE_SLOTS_MAX);
	atomic_fetch_add_explicit(&o->failures, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&o->failures_in_a_row, 1, memory_order_relaxed);
	/* Released: who sees the bit sees the counts. */
	atomic_fetch_or_explicit(&l->failed[slot / LIVE_SLOTS_A_WORD],
	                         UINT64_C(1) << slot % LIVE_SLOTS_A_WORD, memory_order_release);
}

struct live_outcomes live_outcomes(const struct live *l, uint32_t slot)
{
	const struct outcomes *o = &l->outcomes[slot];

	CHECK(slot < LIVE_SLOTS_MAX);
	return (struct live_outcomes){
		.connects = atomic_load_explicit(&o->connects, memory_order_relaxed),
		.successes = atomic_load_explicit(&o->successes, memory_order_relaxed),
		.failures = atomic_load_explicit(&o->failures, memory_order_relaxed),
		.failures_in_a_row = atomic_load_explicit(&o->failures_in_a_row,
	                                                  memory_order_relaxed),
	};
}

void live_forgive(struct live *l, uint32_t slot)
{
	CHECK(slot < LIVE_SLOTS_MAX);
	atomic_store_explicit(&l->outcomes[slot].failures_in_a_row, 0, memory_order_relaxed);
}

uint64_t live_take_failed(struct live *l, uint32_t first)
{
	_Atomic uint64_t *word = &l->failed[first / LIVE_SLOTS_A_WORD];

	CHECK(first < LIVE_SLOTS_MAX && first % LIVE_SLOTS_A_WORD == 0);
	if (atomic_load_explicit(word, memory_order_relaxed) == 0)
		return 0;
	return atomic_exchange_explicit(word, 0, memory_order_acquire);
}
