/* The lines that a session leaves: one when it ends, one when it is connected where that is wanted,
 * both where EDGEPROXY_ACCESS_LOG says; in the main log one for each failure, and under DEBUG one
 * for each decision. Any worker; a session's own. */
#ifndef PROXY_ACCESS_LOG_H
#define PROXY_ACCESS_LOG_H

#include "proxy/session.h"
#include "route/policy.h"

/* The one line of an accepted client: of those that are done a sample, of others each. */
void access_log_session(struct session *s, enum close_reason reason, uint64_t now_ns);
/* A backend has been connected: a line, if one is wanted. */
void access_log_connected(struct session *s);
/* A trusted proxy's header that cannot be read, and why. */
void access_log_header_bad(const struct session *s, const char *why);
/* A failed try; err is an errno value. */
void access_log_connect_failed(const struct session *s, int err);
/* A rule decides whether it may come in; at debug. */
void access_log_rule(const struct session *s, const struct access_rule_row *rule);
/* It waits for a place; at debug. */
void access_log_queued(const struct session *s);
/* Why this backend; at debug. */
void access_log_decision(const struct session *s, const struct place *place,
                         const struct choice *choice);

#endif
