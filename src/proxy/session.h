/* A session: one client, from accept to its line in the log. Two symmetric ends, two symmetric
 * directions; half-close belongs to a direction. States move only through session_move(), checked
 * against session_state.def; session_close() is the one exit, with one reason of close_reason.def.
 *
 * Owned by one worker and touched by its thread only. */
#ifndef PROXY_SESSION_H
#define PROXY_SESSION_H

#include "base/list.h"
#include "net/addr.h"
#include "net/timer.h"
#include "proxy/flight.h"
#include "proxy/relay.h"
#include "route/affinity.h"
#include "route/region.h"
#include "route/service.h"

#include <stdbool.h>
#include <stdint.h>

struct worker;
struct dial;

enum session_state {
#define STATE(name, help, next) SESSION_##name,
#include "proxy/session_state.def"
#undef STATE
};

enum close_reason {
#define CLOSE(name, word, help) CLOSE_##name,
#include "proxy/close_reason.def"
#undef CLOSE
	CLOSE_REASON_COUNT
};

const char *close_reason_word(enum close_reason reason);

enum { CLIENT, BACKEND }; /* the two ends */

/* How long a reset is held back so that what was sent before it can be delivered, and how often we
 * look whether it has been. */
#define ABORT_FLUSH_MS 2000
#define ABORT_POLL_MS 2

/* A session that is connected for longer counts as a success of its backend, and gets what only
 * long ones need (socket_tune_long() for its backend): most sessions are short, and each option is
 * a system call. */
#define SETTLE_MS 5000

struct session {
	struct end end[2];
	struct relay dir[2]; /* dir[CLIENT]: from the client to the backend */
	struct worker *worker;
	struct service *service; /* a reference */
	struct dial *dial;       /* while another backend may still be tried; else NULL */
	struct list node;        /* in the worker's sessions, or its dead */
	struct list turn;        /* in the worker's queue of those with bulk to move */
	struct timer timer;      /* the one deadline of the present state */
	uint64_t accept_ns;      /* monotonic; no other of the worker has it */
	uint64_t active_ms;      /* monotonic: when a byte last moved; in ABORT: its deadline */
	struct endpoint *peer;   /* who connected, if a PROXY header said that client is another */
	struct endpoint client;
	struct endpoint backend_addr;
	uint32_t slot;       /* of the backend where a connection is reserved, or LIVE_NO_SLOT */
	uint32_t connect_us; /* of the try that succeeded */
	uint32_t due_ms;     /* monotonic, its low 32 bits: when it ends, if ending; else settles */
	uint32_t queue_us;   /* spent waiting for a place */
	uint16_t retries;
	region_id region;
	char country[2]; /* zeroes: unknown */
	uint8_t place_source;
	uint8_t region_score;
	uint8_t state;
	uint8_t abort_reason;
	bool located : 1; /* country, region and place_source hold */
	bool from_affinity : 1;
	bool settled : 1;   /* has been connected for SETTLE_MS */
	bool counted : 1;   /* in client_limits */
	bool queued : 1;    /* has waited for a place: queue_us holds */
	bool connected : 1; /* a backend was connected: connect_us and region_score hold */
	bool noted : 1;     /* the backend has had its success counted */
	bool ending : 1;    /* its backend is gone, and due_ms is when it ends */
	bool nodelay : 1;   /* set at its backend's socket */
	bool holding : 1;   /* a message of it is in the worker's batch */
	bool drawn : 1;     /* it is known whether its lines are among the sample: */
	bool sampled : 1;
};

/* Takes a client that the listener accepted (its connection is counted in live): fd, its address
 * and a reference to the service. Never fails: without memory the client is closed and logged. */
void session_start(struct worker *w, int fd, const struct endpoint *peer, struct service *service);
/* An epoll event of one end. */
void session_event(struct session *s, unsigned side, uint32_t events);
/* Its timer has fired. */
void session_timer(struct timer *t, uint64_t now_ms);
/* A turn for bulk: one quantum each way. */
void session_turn(struct session *s);
/* Ends the session: logs, releases, closes. A session ends in a clean close only for CLOSE_DONE; in
 * all other cases both sides see a reset, so that nobody takes a cut stream for a whole one. */
void session_close(struct session *s, enum close_reason reason);

/* Tells the flight recorder; detail as in flight_record. */
void session_note_flight(struct session *s, enum flight_kind kind, unsigned detail);
/* The backend for the affinity table; slot is not LIVE_NO_SLOT. */
struct binding session_binding(const struct session *s);
/* For sweep.c: a relaying session of which nothing has passed either way, so that it can go to
 * another backend as if it had not been at this one. */
bool session_unserved(const struct session *s);
/* Once in its life, before its due_ms means its end: what long sessions get. */
void session_settle(struct session *s);
/* Once a connection: what it needs before the backend is sent a second piece. */
void session_nodelay(struct session *s);
/* For dial.c: a backend is connected; an end of a relaying session has failed. */
void session_connected(struct session *s);
void session_end_failed(struct session *s, unsigned side, int err);
/* For worker.c: passes on what sessions have read and left in the batch. */
void session_deliver_held(struct worker *w);
void session_move(struct session *s, enum session_state next);
/* Sets the timer from the state. */
void session_arm(struct session *s);
/* For the worker, at the end of a turn. */
void session_free(struct session *s);

#endif
