/* The words that a session leaves. Every value comes from the session itself, so a line can be
 * written when the table it was decided with has long gone. */
#include "proxy/access_log.h"

#include "base/log.h"
#include "proxy/worker.h"

#include <string.h>

static void log_endpoint(struct log_line *l, const char *key, const struct endpoint *e)
{
	char text[ENDPOINT_TEXT_MAX];

	log_str(l, key, endpoint_format(e, text));
}

static void log_client(struct log_line *l, const struct session *s)
{
	log_endpoint(l, "client", &s->client);
	if (s->peer != NULL)
		log_endpoint(l, "peer", s->peer);
	log_str(l, "service", s->service->name);
}

static void log_backend(struct log_line *l, const struct session *s)
{
	if (s->slot == LIVE_NO_SLOT)
		return;
	log_str(l, "backend", live_id(s->worker->shared->live, s->slot));
	log_endpoint(l, "backend_addr", &s->backend_addr);
}

/* Turned away at the door. Whoever wants to can make as many of these lines as the machine can
 * accept clients; they must not take the room of others. */
static bool is_at_the_door(enum close_reason reason)
{
	return reason == CLOSE_DENIED || reason == CLOSE_CLIENT_CONN_LIMIT ||
	       reason == CLOSE_CLIENT_RATE_LIMIT;
}

/* Is its line among the sample? Asked for a second time, the answer is the same. */
static bool is_sampled(struct session *s)
{
	struct worker *w = s->worker;

	if (!s->drawn) {
		s->drawn = true;
		s->sampled = sampler_take(&w->sampler, w->shared->config->access_log_sample,
		                          &w->sample_rng);
	}
	return s->sampled;
}

static void log_begin_access(struct log_line *l, const struct session *s, const char *event)
{
	struct log_writer *to = s->worker->shared->access_log;

	if (to != NULL)
		log_begin_to(l, to, event);
	else
		log_begin(l, LOG_INFO, event);
}

/* Who it is, where it comes from and who serves it. */
static void log_route(struct log_line *l, const struct session *s)
{
	log_client(l, s);
	if (s->country[0] != '\0')
		log_strn(l, "country", s->country, sizeof(s->country));
	if (s->region != REGION_NONE)
		log_str(l, "region", region_name(s->region));
	if (s->located)
		log_str(l, "place", place_source_word((enum place_source)s->place_source));
	log_backend(l, s);
	if (s->slot != LIVE_NO_SLOT) {
		log_str(l, "affinity", s->from_affinity ? "hit" : "miss");
		log_uint(l, "region_score", s->region_score);
	}
}

static void log_waits(struct log_line *l, const struct session *s)
{
	if (s->queued)
		log_ms(l, "queue_ms", (uint64_t)s->queue_us * 1000);
	if (s->connected)
		log_ms(l, "connect_ms", (uint64_t)s->connect_us * 1000);
}

/* How many sessions the line stands for. */
static void log_sample(struct log_line *l, const struct session *s)
{
	uint64_t sample = s->worker->shared->config->access_log_sample;

	if (sample > 1)
		log_uint(l, "sample", sample);
}

void access_log_session(struct session *s, enum close_reason reason, uint64_t now_ns)
{
	const struct config *config = s->worker->shared->config;
	struct log_line l;

	if (config->access_log.kind == LOG_TARGET_OFF || (reason == CLOSE_DONE && !is_sampled(s)))
		return;
	log_begin_access(&l, s, "session");
	l.minor = is_at_the_door(reason);
	log_route(&l, s);
	log_uint(&l, "bytes_in", s->dir[CLIENT].bytes);
	log_uint(&l, "bytes_out", s->dir[BACKEND].bytes);
	log_waits(&l, s);
	log_ms(&l, "total_ms", now_ns - s->accept_ns);
	log_uint(&l, "retries", s->retries);
	log_str(&l, "reason", close_reason_word(reason));
	if (reason == CLOSE_DONE)
		log_sample(&l, s);
	log_end(&l);
}

void access_log_connected(struct session *s)
{
	const struct config *config = s->worker->shared->config;
	struct log_line l;

	if (!config->access_log_at_connect || config->access_log.kind == LOG_TARGET_OFF ||
	    !is_sampled(s))
		return;
	log_begin_access(&l, s, "connected");
	log_route(&l, s);
	log_waits(&l, s);
	log_uint(&l, "retries", s->retries);
	log_sample(&l, s);
	log_end(&l);
}

void access_log_header_bad(const struct session *s, const char *why)
{
	struct log_line l;

	log_begin(&l, LOG_WARN, "proxy_header_bad");
	log_client(&l, s);
	log_str(&l, "why", why);
	log_end(&l);
}

void access_log_connect_failed(const struct session *s, int err)
{
	struct log_line l;

	log_begin(&l, LOG_WARN, "connect_failed");
	log_client(&l, s);
	log_backend(&l, s);
	log_errno(&l, err);
	log_end(&l);
}

void access_log_rule(const struct session *s, const struct access_rule_row *rule)
{
	struct log_line l;

	if (!log_wanted(LOG_DEBUG))
		return;
	log_begin(&l, LOG_DEBUG, "access_rule");
	log_client(&l, s);
	log_str(&l, "rule", rule->id);
	log_str(&l, "action", rule->allow ? "allow" : "deny");
	log_end(&l);
}

void access_log_queued(const struct session *s)
{
	struct log_line l;

	if (!log_wanted(LOG_DEBUG))
		return;
	log_begin(&l, LOG_DEBUG, "queued");
	log_client(&l, s);
	log_uint(&l, "waiting", queue_length(s->worker->shared->queue));
	log_end(&l);
}

void access_log_decision(const struct session *s, const struct place *place,
                         const struct choice *choice)
{
	char network[PREFIX_TEXT_MAX];
	struct log_line l;

	if (!log_wanted(LOG_DEBUG))
		return;
	log_begin(&l, LOG_DEBUG, "decision");
	log_client(&l, s);
	log_str(&l, "place", place_source_word(place->source));
	if (place->source != PLACE_UNKNOWN)
		log_str(&l, "network", prefix_format(&place->network, network));
	if (place->special != NULL)
		log_str(&l, "special", place->special->name);
	if (place->country[0] != '\0')
		log_str(&l, "country", place->country);
	if (place->region != REGION_NONE)
		log_str(&l, "region", region_name(place->region));
	log_str(&l, "local_region", region_name(s->worker->table->local_region));
	log_backend(&l, s);
	log_str(&l, "affinity", choice->from_affinity ? "hit" : "miss");
	log_str(&l, "backend_region", region_name(choice->backend->region));
	log_uint(&l, "region_score", choice->terms.region_score);
	log_uint(&l, "connections", choice->terms.connections);
	log_uint(&l, "soft_limit", choice->backend->soft_limit);
	log_uint(&l, "weight", choice->backend->weight);
	log_real(&l, "load_factor", choice->terms.load_factor);
	log_real(&l, "score", choice->terms.score);
	log_uint(&l, "own_country", choice->terms.own_country);
	if (choice->terms.ramp != LIVE_NO_RAMP)
		log_uint(&l, "ramp", choice->terms.ramp);
	if (table_in_panic(s->worker->table, s->service->app[0] != '\0' ? s->service->app : NULL))
		log_uint(&l, "panic", 1);
	log_uint(&l, "retries", s->retries);
	log_end(&l);
}
