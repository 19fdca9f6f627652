/* A row's value where it has one, else the environment's. An interval that neither gives is the
 * ordinary interval. */
#include "health/spec.h"

#include <string.h>

_Static_assert((int)HEALTH_CHECK_OPTION_NONE == (int)CHECK_NONE &&
                       (int)HEALTH_CHECK_OPTION_TCP == (int)CHECK_TCP &&
                       (int)HEALTH_CHECK_OPTION_HTTP == (int)CHECK_HTTP &&
                       (int)HEALTH_CHECK_OPTION_GRPC == (int)CHECK_GRPC,
               "the option has the words of the first types");

/* What a backend without a row has: everything is the environment's. */
static const struct health_check_row unset = {.send_proxy = -1, .grace_ms = -1};

const char *probe_kind_word(enum probe_kind kind)
{
	static const char *const words[] = {
		[PROBE_TCP] = "tcp",       [PROBE_HTTP] = "http",   [PROBE_GRPC] = "grpc",
		[PROBE_SCRIPT] = "script", [PROBE_AGENT] = "agent",
	};

	return words[kind];
}

static uint32_t first_of(uint64_t a, uint64_t b, uint64_t c)
{
	return (uint32_t)(a != 0 ? a : b != 0 ? b : c);
}

static struct check_timing timing_of(const struct config *c, const struct health_check_row *row)
{
	uint32_t inter = first_of(row->inter_ms, c->health_inter_ms, 0);
	/* The environment's other intervals belong to its inter. */
	bool own = row->inter_ms != 0;

	return (struct check_timing){
		.inter_ms = inter,
		.fastinter_ms = first_of(row->fastinter_ms, own ? 0 : c->health_fastinter_ms,
	                                 inter),
		.downinter_ms = first_of(row->downinter_ms, own ? 0 : c->health_downinter_ms,
	                                 inter),
		.timeout_ms = first_of(row->timeout_ms, c->health_timeout_ms, 0),
		.grace_ms = (uint32_t)(row->grace_ms >= 0 ? (uint64_t)row->grace_ms
	                                                  : c->health_grace_ms),
		.rise = first_of(row->rise, c->health_rise, 0),
		.fall = first_of(row->fall, c->health_fall, 0),
	};
}

static const char *text_of(const char *text, const char *otherwise)
{
	return text != NULL ? text : otherwise;
}

static bool kind_of(enum check_type type, enum probe_kind *ret_kind)
{
	switch (type) {
	case CHECK_NONE:
		return false;
	case CHECK_TCP:
		*ret_kind = PROBE_TCP;
		return true;
	case CHECK_HTTP:
		*ret_kind = PROBE_HTTP;
		return true;
	case CHECK_GRPC:
		*ret_kind = PROBE_GRPC;
		return true;
	case CHECK_SCRIPT:
		*ret_kind = PROBE_SCRIPT;
		return true;
	}
	return false;
}

bool spec_of_check(const struct config *c, const struct health_check_row *row,
                   const struct endpoint *addr, struct check_spec *ret_spec)
{
	enum check_type type = row != NULL ? row->type : (enum check_type)c->health_check;
	struct check_spec s = {.addr = *addr};

	if (!kind_of(type, &s.kind))
		return false;
	/* A script without the folder it would be in is never run. */
	if (s.kind == PROBE_SCRIPT && c->health_script_dir[0] == '\0')
		return false;
	if (row == NULL)
		row = &unset;
	s.addr.port = (uint16_t)first_of(row->port, c->health_port, addr->port);
	s.send_proxy = row->send_proxy >= 0 ? (unsigned)row->send_proxy
	                                    : (unsigned)c->health_send_proxy;
	s.timing = timing_of(c, row);
	s.method = text_of(row->method, c->health_http_method);
	s.path = text_of(row->path, c->health_http_path);
	s.host = text_of(row->host, c->health_http_host);
	s.expect = (struct http_expect){
		.status = row->expect_status.count > 0 ? &row->expect_status
	                                               : &c->health_expect_status,
		.body = text_of(row->expect_body, c->health_expect_body),
		.head = strcmp(s.method, "HEAD") == 0,
	};
	s.service = text_of(row->service, c->health_grpc_service);
	s.script = row->script;
	*ret_spec = s;
	return true;
}

bool spec_of_agent(const struct config *c, const struct health_check_row *row,
                   const struct endpoint *addr, struct check_spec *ret_spec)
{
	struct check_spec s = {.kind = PROBE_AGENT, .addr = *addr};

	if (row == NULL || row->agent_port == 0)
		return false;
	s.addr.port = row->agent_port;
	s.timing = timing_of(c, row);
	if (row->agent_inter_ms != 0)
		s.timing.inter_ms = row->agent_inter_ms;
	/* An agent is believed at once, and asked at one pace. */
	s.timing.fastinter_ms = s.timing.downinter_ms = s.timing.inter_ms;
	s.timing.rise = s.timing.fall = 1;
	*ret_spec = s;
	return true;
}
