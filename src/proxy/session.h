/* A session: one client, from accept to its line in the log. Two symmetric ends, two symmetric
 * directions; half-close belongs to a direction. States move only through session_move(), checked
 * against session_state.def; session_close() is the one exit, with one reason of close_reason.def.
 *
 * Here is what every state may do with it; what each state is about has a file of its own, and
 * dispatch.c knows which.
 *
 * Owned by one worker and touched by its thread only. */
#ifndef PROXY_SESSION_H
#define PROXY_SESSION_H

#include "base/list.h"
#include "net/addr.h"
#include "net/timer.h"
#include "proxy/close_reason.h"
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

enum { CLIENT, BACKEND }; /* the two ends */

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
	struct list node;        /* in the worker's sessions, then closing, then dead */
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
	uint8_t reason;   /* CLOSED: why it ended; ABORT: why it will have */
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

/* A client that was accepted: fd, its address and a reference to the service, all of which are the
 * session's from now on. */
void session_init(struct session *s, struct worker *w, int fd, const struct endpoint *peer,
                  struct service *service);
void session_move(struct session *s, enum session_state next);
/* Sets the one timer; a time that has passed fires in this turn or the next. */
void session_arm(struct session *s, uint64_t at_ms);
/* Ends the session: whoever is in the middle of something with it looks at its state and returns,
 * and closing_run() does the rest before anything else is served. A session ends in a clean close
 * only for CLOSE_DONE; in all other cases both sides see a reset, so that nobody takes a cut stream
 * for a whole one. */
void session_close(struct session *s, enum close_reason reason);
/* At the end of a turn, when no event can name it any more. */
void session_free(struct session *s);

/* Has the backend given any sign of life? Until then the session can still go elsewhere. */
bool session_answered(const struct session *s);
/* Once a connection: the backend has served this client: it answered, or kept the connection for a
 * while. */
void session_note_success(struct session *s);
/* Once in its life, before its due_ms means its end: what long sessions get. */
void session_settle(struct session *s);
/* Once a connection: what it needs before the backend is sent a second piece. */
void session_nodelay(struct session *s);
/* Tells the flight recorder; detail as in flight_record. */
void session_note_flight(struct session *s, enum flight_kind kind, unsigned detail);
/* The backend for the affinity table; slot is not LIVE_NO_SLOT. */
struct binding session_binding(const struct session *s);

#endif
