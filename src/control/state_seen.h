/* A record of the state file (state.h): what fault_watch.c has seen of one backend. */
#ifndef CONTROL_STATE_SEEN_H
#define CONTROL_STATE_SEEN_H

#include <stdint.h>

/* What was seen of a backend, where there is anything to say. Spans of time are those when the file
 * was written. Whoever reads it clamps each value to what it can be (fault_watch_restore()). */
struct state_seen {
	uint32_t slot;
	uint16_t port; /* with ip: where the backend was then */
	uint16_t ejections;
	uint8_t ip[16];
	uint8_t faults; /* enum live_fault without LIVE_EJECTED, or-ed; others are later's */
	uint8_t weight_percent; /* 0..100: what its agent has left it */
	uint8_t ejected;        /* ejected now, else ejections are still to be forgiven */
	uint8_t drains;         /* its row said drain */
	uint32_t zero;
	uint64_t ejection_left_ms; /* until its trial, or until one is forgiven */
	uint64_t ejected_ms;       /* since its first ejection in sequence */
	uint64_t grace_left_ms;    /* of its drain */
	uint64_t start_ms;         /* since its slow start began; 0: it is in none */
};

#endif
