/* What is let through, asked in this order: rate, route, method, browser, token, size, type. So
 * nobody without a token makes us keep a body.
 *
 * Where there are no tokens, being on this machine is what allows a request. A browser on this
 * machine is not: a page from elsewhere could make it send requests here. Those are told by their
 * Origin, and a name that was rebound to a local address by its Host.
 *
 * It trusts that libmicrohttpd has read the head well, and that the peer's address is the peer's.
 * It never looks into a body, and never says what was wrong with a token. */
#include "http/gate.h"

#include "config/config.h"
#include "route/client_limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- how many, and how often ---- */

/* Limits of one address; 0: any number. */
static struct client_limits *make_limits(uint32_t max_conn, uint32_t rate, uint64_t seed)
{
	return client_limits_new(&(struct client_limits_options){
		.max_entries = GATE_CLIENTS_MAX,
		.max_conn = max_conn,
		.rate = rate,
		.period_ns = 1000000000,
		.v4_bits = 32,
		.v6_bits = 64,
		.seed = seed,
	});
}

/* Connections that one address may have at one time; 0: any number. */
static uint32_t client_max_conn(const struct config *config, enum door_kind kind)
{
	switch (kind) {
	case DOOR_API:
		return (uint32_t)config->api_client_max_conn;
	case DOOR_METRICS:
		return (uint32_t)config->metrics_client_max_conn;
	case DOOR_CONTROL: /* all are one */
	case DOOR_COUNT:
		break;
	}
	return 0;
}

int gate_init(struct gate *g, const struct gate_options *options)
{
	const struct config *config = options->site->config;
	uint32_t rate = options->door == DOOR_API ? (uint32_t)config->api_rate : 0;
	uint32_t max_conn = client_max_conn(config, options->door);

	*g = (struct gate){.options = *options};
	if (rate != 0)
		g->rates = make_limits(0, rate, options->site->seed);
	if (max_conn != 0)
		g->places = make_limits(max_conn, 0, options->site->seed);
	if ((rate == 0 || g->rates != NULL) && (max_conn == 0 || g->places != NULL))
		return 0;
	gate_done(g);
	return -ENOMEM;
}

void gate_done(struct gate *g)
{
	client_limits_free(g->rates);
	client_limits_free(g->places);
}

bool gate_enter(struct gate *g, const struct ip *peer, uint64_t now_ns, bool *ret_counted)
{
	enum client_verdict verdict = CLIENT_UNCOUNTED;

	if (g->places != NULL && !g->options.is_unix)
		verdict = client_limits_enter(g->places, peer, now_ns);
	*ret_counted = verdict == CLIENT_COUNTED;
	return verdict != CLIENT_AT_LIMIT;
}

void gate_leave(struct gate *g, const struct ip *peer)
{
	client_limits_leave(g->places, peer);
}

static bool too_fast(struct gate *g, const struct ip *peer, uint64_t now_ns)
{
	if (g->rates == NULL)
		return false;
	switch (client_limits_enter(g->rates, peer, now_ns)) {
	case CLIENT_COUNTED:
		client_limits_leave(g->rates, peer);
		return false;
	case CLIENT_UNCOUNTED:
		return false;
	default:
		return true;
	}
}

/* ---- what for, and who ---- */

/* False after it has answered. */
static bool find_route(const struct gate *g, const struct request_head *head, struct request *q,
                       struct reply *r)
{
	const struct site *site = g->options.site;
	int err = router_match(site->routes, site->route_count, head->method, head->path,
	                       g->options.door, &q->match);

	if (err == 0)
		return true;
	if (err == -EINVAL) {
		reply_problem(r, 400, "id",
		              "the id in the path must be 1..%d bytes, percent-encoded",
		              BACKEND_ID_MAX);
	} else if (err == -EPERM) {
		reply_problem(r, 405, NULL, "this path allows %s", q->match.allow);
		r->allow = q->match.allow;
	} else {
		reply_problem(r, 404, NULL, "no such path; /%s",
		              g->options.door == DOOR_METRICS ? "metrics is what is here"
		                                              : "openapi.json lists them");
	}
	return false;
}

/* "127.0.0.1:8081", "[::1]", "localhost:8081": no name that somebody else could have given to this
 * machine. */
static bool is_plain_host(const char *host)
{
	size_t name = strcspn(host, ":");

	return host[0] == '[' || host[strspn(host, "0123456789.")] == '\0' ||
	       (host[strspn(host, "0123456789.")] == ':' && name > 0) ||
	       (name == 9 && strncasecmp(host, "localhost", 9) == 0);
}

/* Are tokens asked for here? */
static bool has_tokens(const struct gate *g)
{
	return g->options.door == DOOR_API && g->options.site->tokens != NULL;
}

static bool is_browsers(const struct gate *g, const struct request_head *head)
{
	bool reads = strcmp(head->method, "GET") == 0 || strcmp(head->method, "HEAD") == 0;

	if (has_tokens(g) || !g->options.is_local || g->options.is_unix)
		return false;
	return (!reads && head->origin != NULL) ||
	       (head->host != NULL && !is_plain_host(head->host));
}

/* ---- a body to come ---- */

static bool has_json(const char *type)
{
	size_t len = type != NULL ? strcspn(type, "; \t") : 0;

	return len == 16 && strncasecmp(type, "application/json", 16) == 0;
}

static bool is_too_much(const char *content_length)
{
	return content_length != NULL && strtoull(content_length, NULL, 10) > REQUEST_BODY_MAX;
}

bool gate_let_in(struct gate *g, const struct request_head *head, uint64_t now_ns,
                 struct request *q, struct reply *r)
{
	q->door = g->options.door;
	if (too_fast(g, &head->peer, now_ns)) {
		reply_problem(r, 429, NULL, "more than EDGEPROXY_API_RATE requests a second");
		r->retry_after_secs = 1;
		return false;
	}
	if (!find_route(g, head, q, r))
		return false;
	if (is_browsers(g, head)) {
		reply_problem(r, 403, NULL,
		              "without tokens, requests that pages of other sites "
		              "may have made are refused");
		return false;
	}
	if (has_tokens(g) && q->match.route->needs_token) {
		q->token = tokens_find(g->options.site->tokens, head->authorization);
		if (q->token == NULL) {
			reply_problem(r, 401, NULL, "a bearer token is needed");
			return false;
		}
	}
	if (is_too_much(head->content_length)) {
		reply_problem(r, 413, NULL, "a body may have at most %d bytes", REQUEST_BODY_MAX);
		return false;
	}
	if (q->match.route->takes_json && !has_json(head->content_type)) {
		reply_problem(r, 415, NULL, "the body must be of Content-Type application/json");
		return false;
	}
	return true;
}
