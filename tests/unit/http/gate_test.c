/* Who is let in, and with which answer others are sent away. */
#include "http/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SECRET "0123456789abcdef"

enum { SHOW, CHANGE, OPEN };

static const struct route routes[] = {
	[SHOW] = {.method = "GET",
                  .pattern = "/backends/{id}",
                  .needs_token = true,
                  .doors = AT_API | AT_CONTROL},
	[CHANGE] = {.method = "PUT",
                    .pattern = "/backends/{id}",
                    .needs_token = true,
                    .takes_json = true,
                    .doors = AT_API | AT_CONTROL},
	[OPEN] = {.method = "GET", .pattern = "/health", .doors = AT_API},
};

struct world {
	struct config config;
	struct site site;
	struct gate gate;
	struct request request;
	uint64_t now_ns;
};

static void begin(struct world *w, const char *tokens, struct gate_options options)
{
	char error[TOKEN_ERROR_MAX];

	w->site.config = &w->config;
	w->site.routes = routes;
	w->site.route_count = sizeof(routes) / sizeof(routes[0]);
	if (tokens != NULL)
		assert_int_equal(tokens_parse(tokens, strlen(tokens), &w->site.tokens, error), 0);
	options.site = &w->site;
	assert_int_equal(gate_init(&w->gate, &options), 0);
}

static void end(struct world *w)
{
	gate_done(&w->gate);
	tokens_free(w->site.tokens);
}

/* 0: let in. */
static unsigned ask(struct world *w, const struct request_head *head)
{
	struct reply r = {0};
	unsigned status;

	memset(&w->request, 0, sizeof(w->request));
	if (gate_let_in(&w->gate, head, w->now_ns, &w->request, &r))
		return 0;
	status = r.status;
	reply_done(&r);
	return status;
}

static unsigned get(struct world *w, const char *path)
{
	return ask(w, &(struct request_head){.method = "GET", .path = path});
}

static void routes_come_first(void **state)
{
	struct world w = {0};

	(void)state;
	begin(&w, "web " SECRET, (struct gate_options){.door = DOOR_API});
	assert_int_equal(get(&w, "/nothing"), 404);
	assert_int_equal(get(&w, "/backends/%zz"), 400);
	assert_int_equal(ask(&w, &(struct request_head){.method = "POST", .path = "/health"}), 405);
	assert_int_equal(get(&w, "/health"), 0);
	assert_ptr_equal(w.request.match.route, &routes[OPEN]);
	assert_int_equal(w.request.door, DOOR_API);
	assert_null(w.request.token);
	end(&w);
}

static void tokens_before_bodies(void **state)
{
	struct request_head put = {
		.method = "PUT", .path = "/backends/a", .content_length = "999999"};
	struct world w = {0};

	(void)state;
	begin(&w, "web " SECRET, (struct gate_options){.door = DOOR_API});
	assert_int_equal(ask(&w, &put), 401);
	put.authorization = "Bearer " SECRET "x";
	assert_int_equal(ask(&w, &put), 401);
	put.authorization = "Bearer " SECRET;
	assert_int_equal(ask(&w, &put), 413);
	put.content_length = "16384";
	assert_int_equal(ask(&w, &put), 415);
	put.content_type = "application/jsonp";
	assert_int_equal(ask(&w, &put), 415);
	put.content_type = "Application/JSON; charset=utf-8";
	assert_int_equal(ask(&w, &put), 0);
	assert_string_equal(w.request.token->name, "web");
	assert_string_equal(w.request.match.id, "a");
	end(&w);
}

/* Whoever may open the control socket may do everything. */
static void no_token_at_the_control_socket(void **state)
{
	struct world w = {0};

	(void)state;
	begin(&w, "web " SECRET, (struct gate_options){.door = DOOR_CONTROL, .is_unix = true});
	assert_int_equal(get(&w, "/backends/a"), 0);
	assert_int_equal(get(&w, "/health"), 404);
	end(&w);
}

static unsigned from(struct world *w, const char *method, const char *host, const char *origin)
{
	return ask(w, &(struct request_head){
			      .method = method,
			      .path = "/backends/a",
			      .host = host,
			      .origin = origin,
			      .content_type = "application/json",
		      });
}

static void browsers(void **state)
{
	static const char *const plain[] = {"127.0.0.1:8081", "10.0.0.1",       "[::1]:8081",
	                                    "[::1]",          "localhost:8081", "LocalHost"};
	static const char *const names[] = {"evil.example", "localhost.evil.example",
	                                    "127.0.0.1.evil.example:8081", ":8081", "localhos"};
	struct world w = {0};

	(void)state;
	begin(&w, NULL, (struct gate_options){.door = DOOR_API, .is_local = true});
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		assert_int_equal(from(&w, "PUT", plain[i], NULL), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		assert_int_equal(from(&w, "GET", names[i], NULL), 403);
	assert_int_equal(from(&w, "GET", "localhost", "https://evil.example"), 0);
	assert_int_equal(from(&w, "PUT", "localhost", "https://evil.example"), 403);
	assert_int_equal(from(&w, "PUT", "localhost", "null"), 403);
	end(&w);

	/* Where a token is asked for, no page has it. */
	begin(&w, "web " SECRET, (struct gate_options){.door = DOOR_API, .is_local = true});
	assert_int_equal(from(&w, "PUT", "evil.example", "https://evil.example"), 401);
	end(&w);
}

static void rates(void **state)
{
	struct request_head head = {.method = "GET", .path = "/nothing"};
	struct world w = {.config = {.api_rate = 2}};

	(void)state;
	begin(&w, NULL, (struct gate_options){.door = DOOR_API});
	head.peer.b[15] = 1;
	assert_int_equal(ask(&w, &head), 404);
	assert_int_equal(ask(&w, &head), 404);
	assert_int_equal(ask(&w, &head), 429);
	head.peer.b[0] = 1; /* somebody else's */
	assert_int_equal(ask(&w, &head), 404);
	head.peer.b[0] = 0;
	w.now_ns = 1000000000;
	assert_int_equal(ask(&w, &head), 404);
	end(&w);
}

static void places(void **state)
{
	struct world w = {.config = {.api_client_max_conn = 1}};
	struct ip peer = {.b = {0x20, 1}};
	bool counted = false;

	(void)state;
	begin(&w, NULL, (struct gate_options){.door = DOOR_API});
	assert_true(gate_enter(&w.gate, &peer, w.now_ns, &counted));
	assert_true(counted);
	assert_false(gate_enter(&w.gate, &peer, w.now_ns, &counted));
	assert_false(counted);
	gate_leave(&w.gate, &peer);
	assert_true(gate_enter(&w.gate, &peer, w.now_ns, &counted));
	gate_leave(&w.gate, &peer);
	end(&w);

	/* Monitors have no such limit. */
	begin(&w, NULL, (struct gate_options){.door = DOOR_METRICS});
	assert_true(gate_enter(&w.gate, &peer, w.now_ns, &counted));
	assert_false(counted);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(routes_come_first),
		cmocka_unit_test(tokens_before_bodies),
		cmocka_unit_test(no_token_at_the_control_socket),
		cmocka_unit_test(browsers),
		cmocka_unit_test(rates),
		cmocka_unit_test(places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
