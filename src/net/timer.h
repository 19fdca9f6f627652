/* Timers: a wheel of 7 levels of 64 slots, each level 8 times coarser than the one below (1 ms to
 * 4.4 minutes). Arming and cancelling cost O(1); a timer that sits in a coarse slot is moved to a
 * finer one when its slot comes up, so it is never early and at most 1 ms late by the wheel.
 *
 * The owner thread only. Timers are embedded in what they time; the wheel owns none of them. */
#ifndef NET_TIMER_H
#define NET_TIMER_H

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

#define TIMER_LEVELS 7
#define TIMER_SLOTS 64

struct timer {
	struct list node;
	uint64_t expires_ms : 48; /* enough for 8,900 years */
	uint64_t place : 12;      /* level and slot while armed */
	uint64_t kind : 4;
};

#define TIMER_KINDS 4

struct timer_wheel {
	void (*fire[TIMER_KINDS])(struct timer *t, uint64_t now_ms);
	uint64_t now_ms; /* every timer that expires at or before this has fired */
	uint64_t occupied[TIMER_LEVELS];
	struct list slot[TIMER_LEVELS][TIMER_SLOTS];
};

void timer_wheel_init(struct timer_wheel *w, uint64_t now_ms);
/* Fires what is due; a fired timer is disarmed first, and its function may arm or cancel any. */
void timer_wheel_advance(struct timer_wheel *w, uint64_t now_ms);
/* Milliseconds from now_ms until the wheel wants to be advanced; -1 when no timer is armed. */
int timer_wheel_wait_ms(const struct timer_wheel *w, uint64_t now_ms);

/* What timers of a kind (below TIMER_KINDS) do. There are few kinds and many timers, so a timer
 * knows its kind only. */
void timer_wheel_on(struct timer_wheel *w, unsigned kind,
                    void (*fire)(struct timer *t, uint64_t now_ms));

void timer_init(struct timer *t, unsigned kind);
/* Arms, or arms anew. A time that has passed fires at the next advance. */
void timer_arm(struct timer_wheel *w, struct timer *t, uint64_t expires_ms);
void timer_cancel(struct timer_wheel *w, struct timer *t);
bool timer_armed(const struct timer *t);

#endif
