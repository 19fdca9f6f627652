/* Who may: what a door lets through, by everything that is known before a body is read. One a door;
 * the API thread only. Times are nanoseconds of a monotonic clock, given by the caller. */
#ifndef HTTP_GATE_H
#define HTTP_GATE_H

#include "base/check.h"
#include "http/door_kind.h"
#include "http/reply.h"
#include "http/request.h"
#include "http/site.h"
#include "net/addr.h"

#include <stdbool.h>
#include <stdint.h>

/* Addresses of which the rate is remembered. */
#define GATE_CLIENTS_MAX 4096

struct gate_options {
	const struct site *site; /* outlives the gate */
	enum door_kind door;
	bool is_unix;  /* all clients are one */
	bool is_local; /* only this machine can connect there */
};

struct gate {
	struct gate_options options;
	struct client_limits *rates;  /* NULL: no limit */
	struct client_limits *places; /* of connections at one time; the same */
};

/* A request's line and headers. Borrowed; headers are NULL where they were not sent. */
struct request_head {
	struct ip peer;
	const char *method;
	const char *path; /* percent-encoded, without a query */
	const char *host;
	const char *origin;
	const char *authorization;
	const char *content_length;
	const char *content_type;
};

/* 0 or -ENOMEM. */
MUST_CHECK int gate_init(struct gate *g, const struct gate_options *options);
void gate_done(struct gate *g);

/* A connection comes. False: its address has as many as it may. *ret_counted: gate_leave() when it
 * goes. */
MUST_CHECK bool gate_enter(struct gate *g, const struct ip *peer, uint64_t now_ns,
                           bool *ret_counted);
void gate_leave(struct gate *g, const struct ip *peer);

/* May this request be made? True: q's door, match and token are filled; false: r is. */
MUST_CHECK bool gate_let_in(struct gate *g, const struct request_head *head, uint64_t now_ns,
                            struct request *q, struct reply *r);

#endif
