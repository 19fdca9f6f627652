/* The live state of backends: what is true of one now, as against what the table says of it. It
 * outlives tables, because connections do. Each backend id has a slot; the connection counts lie
 * side by side so that a scan over many backends stays in the cache.
 *
 * Slots are given out and taken back by the control thread; counts are any thread's. A slot is
 * taken back only when no table holds it and its count is 0, so a session may use its slot and id
 * for as long as it holds a connection there. */
#ifndef ROUTE_LIVE_H
#define ROUTE_LIVE_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct live;

#define LIVE_NO_SLOT UINT32_MAX

/* NULL: out of memory. Address space for LIVE_SLOTS_MAX slots, memory only for those in use. */
struct live *live_new(void);
void live_free(struct live *l);

/* ---- several processes, one count: an upgrade ----
 *
 * The counts may lie in memory that a successor maps too, so that a hard limit holds across all
 * processes that have connections, exactly, while each takes and gives back its own. Beside them
 * each process counts its own alone (in memory of its own, which the others can read), so that
 * what one held can be given back when it dies. For that a slot must mean the same backend to all:
 * the successor takes over the slots before it makes any, and from then on the predecessor makes
 * none. Control thread. */

/* shared_fd: what live_share() of the predecessor gave, or -1: begin anew. 0; -EPROTO (that memory
 * is not of this version); another -errno. */
MUST_CHECK int live_new_shared(int shared_fd, struct live **ret_live);
/* The descriptors of the common counts and of this process's own; borrowed, -1 after live_new(). */
int live_shared_fd(const struct live *l);
int live_own_fd(const struct live *l);
/* The slot of a predecessor, held until live_let_go(). Slots come in ascending order, before any
 * live_hold(). 0, -EINVAL, -ENOSPC or -ENOMEM. */
MUST_CHECK int live_adopt(struct live *l, uint32_t slot, uint32_t generation, const char *id);
/* From now on (or no more) live_hold() makes no slots: -ENOSPC for an id that has none. */
void live_freeze(struct live *l, bool frozen);
/* Gives back what a dead process held, of whose own counts this is the descriptor. Returns the
 * connections; -errno when it cannot be read. Never twice for one process. */
int64_t live_bury(struct live *l, int own_fd);
/* The id's slot, or LIVE_NO_SLOT. */
uint32_t live_find(const struct live *l, const char *id);
/* Is the slot given out? */
bool live_is_used(const struct live *l, uint32_t slot);

/* Control thread. The slot of a backend, found or made, with one more table holding it.
 * 0, -ENOSPC or -ENOMEM. */
MUST_CHECK int live_hold(struct live *l, const char *id, uint32_t *ret_slot);
/* Any thread: a table lets go. The slot is taken back by a later live_collect(). */
void live_let_go(struct live *l, uint32_t slot);
/* Control thread: takes back what nobody holds any more. Returns how many. */
size_t live_collect(struct live *l);

/* Changes whenever a slot is given to another backend, so that (slot, generation) names one for
 * ever. */
uint32_t live_generation(const struct live *l, uint32_t slot);
/* The backend's id; stable while held or connected. */
const char *live_id(const struct live *l, uint32_t slot);
/* One more than the highest slot ever given out. */
uint32_t live_slot_end(const struct live *l);

/* Connections now, pending ones included. */
uint32_t live_connections(const struct live *l, uint32_t slot);
/* The same numbers as an array by slot, for a scan over many backends. Read relaxed. */
const _Atomic uint32_t *live_counts(const struct live *l);
/* Takes one connection unless that would pass hard_limit. Taken, never checked and then taken: the
 * limit holds with any number of threads. */
MUST_CHECK bool live_reserve(struct live *l, uint32_t slot, uint32_t hard_limit);
void live_release(struct live *l, uint32_t slot);

/* What has been seen of a backend that speaks against new clients, whatever its row says. Each is
 * set and cleared by one owner, in any thread; a slot given to another backend has none. Before its
 * owners start, the control thread may set what an earlier process has seen. */
enum live_fault_bit {
#define LIVE_FAULT(name, word, help) LIVE_FAULT_##name,
#include "route/live_fault.def"
#undef LIVE_FAULT
	LIVE_FAULTS
};

enum live_fault {
#define LIVE_FAULT(name, word, help) LIVE_##name = 1 << LIVE_FAULT_##name,
#include "route/live_fault.def"
#undef LIVE_FAULT
};

/* Of the fault 1 << bit: the word that explain has for it. */
const char *live_fault_word(unsigned bit);

/* These are statements, not suspicions: nothing overrides them. */
#define LIVE_STATED (LIVE_AGENT_DRAIN | LIVE_AGENT_MAINT)

void live_set_fault(struct live *l, uint32_t slot, enum live_fault fault, bool on);
/* The faults of a slot, or-ed; 0: none. */
unsigned live_faults(const struct live *l, uint32_t slot);
/* Changes whenever a fault of any slot really does. Who reads a version and then the faults will
 * see a later change by a later version. */
uint32_t live_fault_version(const struct live *l);

/* Changes with whatever of a slot a later process should know: a fault, the weight percentage, a
 * grace, the beginning and the end of a ramp. */
uint32_t live_mark_version(const struct live *l);

/* An ejected backend is tried by a few clients before it counts as sound again: so many may still
 * come. Control thread; 0..255. */
void live_set_trials(struct live *l, uint32_t slot, uint8_t clients);
/* Do its faults, trials considered, speak against another client? */
bool live_is_shut(const struct live *l, uint32_t slot);
/* The same for a client that is about to go there; takes one of the trials. */
MUST_CHECK bool live_admit(struct live *l, uint32_t slot);

/* Slow start: the percentage of its weight that counts, 1..99; LIVE_NO_RAMP: all of it. Set by the
 * control thread. */
#define LIVE_NO_RAMP 0
void live_set_ramp(struct live *l, uint32_t slot, uint8_t percent);
uint8_t live_ramp(const struct live *l, uint32_t slot);

/* What a scan asks of many backends, at once: live_is_shut(), whether a fault is LIVE_STATED,
 * live_weight_percent() and live_ramp(). */
struct live_view {
	bool shut;
	bool stated;
	uint8_t weight_percent;
	uint8_t ramp;
};
struct live_view live_view(const struct live *l, uint32_t slot);

/* Drain: until when clients that had this backend may come back to it (monotonic ms, rounded up to
 * a second); 0: they may not. Set by the control thread. */
void live_set_grace(struct live *l, uint32_t slot, uint64_t until_ms);
bool live_in_grace(const struct live *l, uint32_t slot, uint64_t now_ms);
/* What is left of it. */
uint64_t live_grace_ms(const struct live *l, uint32_t slot, uint64_t now_ms);

/* What came of connections, counted by the workers since the slot was given out. */
struct live_outcomes {
	uint64_t connects; /* connections made */
	uint32_t successes;
	uint32_t failures;
	uint32_t failures_in_a_row;
};

/* A connection was made, in so long. */
void live_note_connect(struct live *l, uint32_t slot, uint32_t connect_us);
/* The latest times together, each counting one in eight (RFC 6298's smoothed round trip); 0: no
 * connection was made yet. */
uint32_t live_rtt_us(const struct live *l, uint32_t slot);
void live_note_success(struct live *l, uint32_t slot);
void live_note_failure(struct live *l, uint32_t slot);
struct live_outcomes live_outcomes(const struct live *l, uint32_t slot);
/* Control thread: no failure in a row yet. */
void live_forgive(struct live *l, uint32_t slot);
/* Control thread: which of the LIVE_SLOTS_A_WORD slots from first (a multiple of it) on have failed
 * since this was last asked, a bit each. */
uint64_t live_take_failed(struct live *l, uint32_t first);

/* The part of its weight that a backend has for now, 0..100; 100 for a slot newly given out. Set by
 * the health thread as the backend's agent says; read relaxed. */
void live_set_weight_percent(struct live *l, uint32_t slot, unsigned percent);
unsigned live_weight_percent(const struct live *l, uint32_t slot);

/* Connections of the whole process (EDGEPROXY_MAX_CONN). */
MUST_CHECK bool live_reserve_total(struct live *l, uint32_t max_conn);
void live_release_total(struct live *l);
uint32_t live_total(const struct live *l);
/* Of this process alone. */
uint32_t live_own_total(const struct live *l);

#endif
