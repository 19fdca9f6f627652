/* Dialling: from a client's address to a connected backend, trying the next best one at each
 * failure, until one answers, none is left, or the budget is spent.
 *
 * The dial lives from the decision until the backend's first byte (or until the budget is spent):
 * so long the session can still go to another backend. The worker's thread only. */
#ifndef PROXY_DIAL_H
#define PROXY_DIAL_H

#include "base/check.h"
#include "proxy/opening.h"
#include "proxy/waiting.h"
#include "route/policy.h"
#include "route/tried.h"

#include <stdbool.h>
#include <stdint.h>

struct session;

/* Tries that fail at once, in one turn of the loop, before others have their turn. */
#define DIAL_TRIES_A_TURN 8
/* How often a dial that lacks a descriptor or kernel memory looks for it, within its budget. */
#define DIAL_STARVED_RETRY_MS 20

/* Places found in one search that are passed on to clients who wait for them. */
#define DIAL_PASSES_MAX 64

struct dial {
	struct place place;
	struct tried tried;
	struct waiting waiting;
	struct opening opening;
	uint64_t deadline_ms; /* of all tries together, since the dial began or left the queue */
	uint64_t try_started_ns;
	uint64_t try_deadline_ms;
	uint64_t failed_turn_ns;  /* when the try before this one failed: what the same batch of
	                             events still says of a backend is of that socket */
	region_id backend_region; /* of the one that is being tried */
	bool starved;             /* counted in the crew's starved: lacks a descriptor, or memory */
};

/* Begins: tries the first backend for a client of this place. dst is where a PROXY header says that
 * it meant to go; NULL: there was none. Closes the session when nothing can be. */
void dial_start(struct session *s, const struct place *place, const struct endpoint *dst);
/* The backend's socket has news while connecting. True: it is connected, and the session's next
 * state is for the caller to enter. */
MUST_CHECK bool dial_event(struct session *s, uint32_t events);
/* A try or the whole budget ran out of time, or an immediate retry is due. */
void dial_timeout(struct session *s, uint64_t now_ms);
/* The session has waited and been given a place in this slot: connects there. If that fails it goes
 * on like any other, and where it must wait again, it is before those who came later. */
void dial_resume(struct session *s, uint32_t slot);
/* The connected backend reset the connection before it answered: go on with the next one. */
void dial_again(struct session *s, int err);

/* The backend is not to have the session any more, through no fault of its own. */
void dial_elsewhere(struct session *s);

/* Nothing has passed either way, so that the session can go to another backend as if it had not
 * been at this one. */
bool dial_unserved(const struct session *s);

/* The backend has answered, or nothing can be replayed any more: ends the dial. */
void dial_commit(struct session *s);
/* Where there is one. */
void dial_free(struct session *s);

#endif
