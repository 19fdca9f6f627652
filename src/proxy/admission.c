/* The door. The client is who the PROXY header says, where there was one. What is refused here
 * costs an accept, a line in the log and a reset: no dial, no backend, no place in the queue. */
#include "proxy/admission.h"

#include "base/log.h"
#include "proxy/access_log.h"
#include "proxy/session.h"
#include "proxy/worker.h"

static void complain(struct worker *w)
{
	struct log_line l;

	if (w->now_ms < w->complain_ms)
		return;
	w->complain_ms = w->now_ms + ADMISSION_COMPLAIN_MS;
	log_begin(&l, LOG_WARN, "client_table_full");
	log_uint(&l, "clients", w->shared->config->client_table_max);
	log_str(&l, "effect", "further clients are served without a limit of their own");
	log_end(&l);
}

/* False: a rule of the table denies it. */
static bool allowed(struct session *s, const struct place *place)
{
	const struct access_rule_row *rule = access_find(s->worker->table->access, s->service->app,
	                                                 &s->client.ip, place->country);

	if (rule == NULL)
		return true;
	access_log_rule(s, rule);
	return rule->allow;
}

bool admission_enter(struct session *s, const struct place *place)
{
	struct worker *w = s->worker;

	if (!allowed(s, place)) {
		session_close(s, CLOSE_DENIED);
		return false;
	}
	if (w->shared->client_limits == NULL)
		return true;
	switch (client_limits_enter(w->shared->client_limits, &s->client.ip, w->now_ns)) {
	case CLIENT_COUNTED:
		s->counted = true;
		return true;
	case CLIENT_UNCOUNTED:
		complain(w);
		return true;
	case CLIENT_AT_LIMIT:
		session_close(s, CLOSE_CLIENT_CONN_LIMIT);
		return false;
	case CLIENT_TOO_FAST:
		session_close(s, CLOSE_CLIENT_RATE_LIMIT);
		return false;
	}
	CHECK(false);
}

void admission_leave(struct session *s)
{
	if (s->counted)
		client_limits_leave(s->worker->shared->client_limits, &s->client.ip);
	s->counted = false;
}
