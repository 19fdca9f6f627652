/* The memory behind live.h, for live.c and live_marks.c alone: who touches what is said there. */
#ifndef ROUTE_LIVE_MEMORY_H
#define ROUTE_LIVE_MEMORY_H

#include "base/lazy_memory.h"
#include "route/connection_counts.h"
#include "route/limits.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LIVE_FAILED_WORDS (LIVE_SLOTS_MAX / LIVE_SLOTS_A_WORD)

struct slot {
	char *id;                    /* NULL: not given out */
	atomic_uint holders;         /* tables */
	_Atomic uint32_t generation; /* 0: never given out */
	uint32_t next;               /* in its bucket, or in the free list; or LIVE_NO_SLOT */
	uint32_t id_hash;
	_Atomic uint8_t faults;         /* enum live_fault, or-ed */
	_Atomic uint8_t weight_percent; /* 0..100 */
	_Atomic uint8_t trials;         /* clients that may still try an ejected backend */
	_Atomic uint8_t ramp;           /* percent, or LIVE_NO_RAMP */
	_Atomic uint32_t grace_until_s; /* 0: none */
};

struct outcomes {
	_Atomic uint64_t connects;
	_Atomic uint32_t rtt_us; /* smoothed; 0: none yet */
	_Atomic uint32_t successes;
	_Atomic uint32_t failures;
	_Atomic uint32_t failures_in_a_row;
};

struct live {
	struct connection_counts *counts; /* of all processes */
	struct connection_counts *own;    /* of this one; NULL: there are no others */
	int counts_fd;
	int own_fd;
	_Atomic uint32_t *connections; /* = counts->by_slot */
	struct slot *slots;            /* LIVE_SLOTS_MAX */
	struct outcomes *outcomes;     /* LIVE_SLOTS_MAX */
	_Atomic uint64_t *failed; /* a bit a slot: has failed since the control thread looked */
	_Atomic uint32_t slot_end;
	_Atomic uint32_t fault_version;
	_Atomic uint32_t mark_version;

	/* The control thread's. */
	uint32_t *buckets; /* heads of chains of slots, by id; a power of two */
	uint32_t bucket_count;
	uint32_t used;     /* slots given out now */
	uint32_t free;     /* head of the list of slots taken back */
	uint32_t expected; /* behind the slot held last: a table holds much like the one before it,
	                      and without a guess each hold is a miss in several caches */
	bool frozen;
	struct lazy_memory slot_memory;
	struct lazy_memory outcome_memory;
	struct lazy_memory failed_memory;
};

#endif
