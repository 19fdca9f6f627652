/* What the database says about how backends are checked: a row of health_checks, and which row
 * applies to which backend. How a check is made is health/'s business. Pure; any thread. */
#ifndef ROUTE_HEALTH_CHECK_H
#define ROUTE_HEALTH_CHECK_H

#include "base/arena.h"
#include "base/check.h"
#include "net/status_set.h"
#include "route/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* EDGEPROXY_HEALTH_CHECK has the words for the first ones, in this order. */
enum check_type { CHECK_NONE, CHECK_TCP, CHECK_HTTP, CHECK_GRPC, CHECK_SCRIPT };

const char *check_type_word(enum check_type type);

/* A row, or the whole environment's default. What is unset (NULL, 0, -1) is the environment's. */
struct health_check_row {
	/* Whom it is for: a backend, or an app, or, both NULL, everybody. */
	const char *backend;
	const char *app;

	enum check_type type;
	uint16_t port;      /* 0: unset, and then the backend's own */
	int16_t send_proxy; /* version of a PROXY header that goes first: 0 none, 1, 2; -1 unset */
	uint32_t inter_ms;
	uint32_t fastinter_ms;
	uint32_t downinter_ms;
	uint32_t timeout_ms;
	uint32_t rise;
	uint32_t fall;
	int64_t grace_ms; /* -1: unset */

	/* HTTP; host also for gRPC. */
	const char *method;
	const char *path;
	const char *host;
	struct status_set expect_status; /* empty: unset */
	const char *expect_body;
	const char *service; /* gRPC */
	const char *script;  /* name of a file in EDGEPROXY_HEALTH_SCRIPT_DIR */

	/* The agent, which is asked beside the check. */
	uint16_t agent_port; /* 0: none */
	uint32_t agent_inter_ms;
};

/* Copies with texts of the arena's. 0 or -ENOMEM. */
MUST_CHECK int health_check_copy(struct arena *arena, const struct health_check_row *row,
                                 struct health_check_row *ret_copy);
/* "backend:ID", "app:NAME" or "*". Returns buf. */
char *health_check_target(const struct health_check_row *row, char buf[CHECK_TARGET_MAX + 1]);

/* Puts rows into the order in which health_check_find() looks. */
void health_checks_sort(struct health_check_row *rows, size_t count);
/* The row for a backend: its own, else its app's, else everybody's, else NULL. Rows are sorted. */
const struct health_check_row *health_check_find(const struct health_check_row *rows, size_t count,
                                                 const char *backend, const char *app);

/* For the same, and in the same way. */
bool health_check_equal(const struct health_check_row *a, const struct health_check_row *b);

#endif
