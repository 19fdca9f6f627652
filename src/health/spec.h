/* How one backend is checked: the row of health_checks and the environment made one. Texts are
 * borrowed from both. Pure. */
#ifndef HEALTH_SPEC_H
#define HEALTH_SPEC_H

#include "config/config.h"
#include "health/check.h"
#include "health/http.h"
#include "net/addr.h"
#include "route/health_check.h"

#include <stdbool.h>

enum probe_kind { PROBE_TCP, PROBE_HTTP, PROBE_GRPC, PROBE_SCRIPT, PROBE_AGENT };

const char *probe_kind_word(enum probe_kind kind);

struct check_spec {
	enum probe_kind kind;
	struct endpoint addr; /* to connect to; of the backend itself for a script */
	unsigned send_proxy;  /* 0, 1, 2 */
	struct check_timing timing;
	const char *method;
	const char *path;
	const char *host; /* "": addr as text */
	struct http_expect expect;
	const char *service;
	const char *script;
};

/* Of a backend at addr; row may be NULL. False: it is not checked. */
bool spec_of_check(const struct config *config, const struct health_check_row *row,
                   const struct endpoint *addr, struct check_spec *ret_spec);
/* The agent of a backend at addr. False: it has none. */
bool spec_of_agent(const struct config *config, const struct health_check_row *row,
                   const struct endpoint *addr, struct check_spec *ret_spec);

#endif
