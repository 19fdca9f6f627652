/* A hierarchical timer wheel. Level n has 64 slots of 8^n ms each; a timer goes into the finest
 * level that reaches its time. When a slot comes up, timers whose time has not come are placed
 * anew, now into a finer level, so precision costs at most six moves in a timer's life and most
 * timers of a proxy (idle timeouts) are cancelled or re-armed long before that.
 *
 * A bit a slot says which slots hold timers, so both advancing and asking how long to sleep look at
 * seven words, not at 448 lists. */
#include "net/timer.h"

#include "base/check.h"

#include <stddef.h>

#define LEVEL_SHIFT 3
#define SLOT_MASK (TIMER_SLOTS - 1)
#define NOT_ARMED 0xfff

static unsigned level_shift(unsigned level)
{
	return level * LEVEL_SHIFT;
}

void timer_wheel_init(struct timer_wheel *w, uint64_t now_ms)
{
	w->now_ms = now_ms;
	for (unsigned kind = 0; kind < TIMER_KINDS; kind++)
		w->fire[kind] = NULL;
	for (unsigned level = 0; level < TIMER_LEVELS; level++) {
		w->occupied[level] = 0;
		for (unsigned slot = 0; slot < TIMER_SLOTS; slot++)
			list_init(&w->slot[level][slot]);
	}
}

void timer_wheel_on(struct timer_wheel *w, unsigned kind,
                    void (*fire)(struct timer *t, uint64_t now_ms))
{
	CHECK(kind < TIMER_KINDS);
	w->fire[kind] = fire;
}

void timer_init(struct timer *t, unsigned kind)
{
	CHECK(kind < TIMER_KINDS);
	list_init(&t->node);
	t->expires_ms = 0;
	t->place = NOT_ARMED;
	t->kind = kind & 0xf;
}

bool timer_armed(const struct timer *t)
{
	return t->place != NOT_ARMED;
}

/* Puts a timer into the slot in which it is to be looked at next. A slot is named by the number of
 * the span of time that it covers; spans 1..63 ahead of now have a slot of their own. */
static void place(struct timer_wheel *w, struct timer *t)
{
	uint64_t at = t->expires_ms > w->now_ms ? t->expires_ms : w->now_ms + 1;
	unsigned level = 0;
	uint64_t span;

	for (;; level++) {
		span = at >> level_shift(level);
		if (span - (w->now_ms >> level_shift(level)) < TIMER_SLOTS)
			break;
		if (level == TIMER_LEVELS - 1) {
			/* Beyond the wheel: look again when its farthest slot comes up. */
			span = (w->now_ms >> level_shift(level)) + TIMER_SLOTS - 1;
			break;
		}
	}

	unsigned slot = (unsigned)span & SLOT_MASK;

	list_push_back(&w->slot[level][slot], &t->node);
	w->occupied[level] |= UINT64_C(1) << slot;
	t->place = (level * TIMER_SLOTS + slot) & 0xfff;
}

static void take_out(struct timer_wheel *w, struct timer *t)
{
	unsigned level = t->place / TIMER_SLOTS, slot = t->place % TIMER_SLOTS;

	list_remove(&t->node);
	if (list_empty(&w->slot[level][slot]))
		w->occupied[level] &= ~(UINT64_C(1) << slot);
	t->place = NOT_ARMED;
}

void timer_arm(struct timer_wheel *w, struct timer *t, uint64_t expires_ms)
{
	if (timer_armed(t))
		take_out(w, t);
	t->expires_ms = expires_ms;
	place(w, t);
}

void timer_cancel(struct timer_wheel *w, struct timer *t)
{
	if (timer_armed(t))
		take_out(w, t);
}

/* The time at which the next occupied slot of a level begins, at or after now + 1. */
static bool next_of_level(const struct timer_wheel *w, unsigned level, uint64_t *ret_ms)
{
	uint64_t bits = w->occupied[level];

	if (bits == 0)
		return false;

	uint64_t span = w->now_ms >> level_shift(level);
	unsigned here = (unsigned)span & SLOT_MASK;
	/* Turn the word so that the slot after the present one is bit 0; the present one, which
	 * only coarse levels can have in use for this very span, comes as the last. */
	unsigned turn = (here + 1) & SLOT_MASK;
	uint64_t turned = turn == 0 ? bits : bits >> turn | bits << (TIMER_SLOTS - turn);
	unsigned ahead = (unsigned)__builtin_ctzll(turned) + 1;

	*ret_ms = (span + ahead) << level_shift(level);
	return true;
}

static bool next_time(const struct timer_wheel *w, uint64_t *ret_ms)
{
	bool any = false;

	*ret_ms = 0;
	for (unsigned level = 0; level < TIMER_LEVELS; level++) {
		uint64_t at;

		if (next_of_level(w, level, &at) && (!any || at < *ret_ms)) {
			*ret_ms = at;
			any = true;
		}
	}
	return any;
}

int timer_wheel_wait_ms(const struct timer_wheel *w, uint64_t now_ms)
{
	uint64_t at;

	if (!next_time(w, &at))
		return -1;
	if (at <= now_ms)
		return 0;
	return at - now_ms > INT32_MAX ? INT32_MAX : (int)(at - now_ms);
}

/* Takes the timers of every slot that begins at w->now_ms: those that are due go to the end of due,
 * the others into finer slots. */
static void open_slots(struct timer_wheel *w, struct list *due)
{
	for (unsigned level = 0; level < TIMER_LEVELS; level++) {
		uint64_t span = w->now_ms >> level_shift(level);
		unsigned slot = (unsigned)span & SLOT_MASK;
		struct list *head = &w->slot[level][slot];
		struct list again;

		if (span << level_shift(level) != w->now_ms)
			break; /* coarser levels do not begin a slot here either */
		list_init(&again);
		list_splice_back(&again, head);
		w->occupied[level] &= ~(UINT64_C(1) << slot);
		while (!list_empty(&again)) {
			struct timer *t = list_entry(again.next, struct timer, node);

			list_remove(&t->node);
			if (t->expires_ms <= w->now_ms)
				list_push_back(due, &t->node);
			else
				place(w, t);
		}
	}
}

void timer_wheel_advance(struct timer_wheel *w, uint64_t now_ms)
{
	uint64_t at;

	while (next_time(w, &at) && at <= now_ms) {
		struct list due;

		w->now_ms = at;
		list_init(&due);
		open_slots(w, &due);
		while (!list_empty(&due)) {
			struct timer *t = list_entry(due.next, struct timer, node);

			/* A timer in this list still counts as armed in its old place, so that a
			 * timer function may cancel or re-arm it; its slot's bit is then cleared in
			 * vain, which is harmless while the slot is empty. */
			list_remove(&t->node);
			t->place = NOT_ARMED;
			w->fire[t->kind](t, now_ms);
		}
	}
	if (now_ms > w->now_ms)
		w->now_ms = now_ms;
}
