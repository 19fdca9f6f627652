/* Row and environment made one. */
#include "health/spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct config config;
static const struct endpoint addr = {.ip = {{[10] = 255, [11] = 255, [12] = 10, [15] = 1}},
                                     .port = 8080};
static const struct health_check_row unset = {.send_proxy = -1, .grace_ms = -1};

static void ignore(void *arg, bool fatal, const char *text)
{
	(void)arg;
	(void)fatal;
	(void)text;
}

static int read_config(void **state)
{
	static char texts[][48] = {
		"EDGEPROXY_HEALTH_CHECK=http",        "EDGEPROXY_HEALTH_FASTINTER_MS=500",
		"EDGEPROXY_HEALTH_INTER_MS=3000",     "EDGEPROXY_HEALTH_SEND_PROXY=2",
		"EDGEPROXY_HEALTH_HTTP_PATH=/health",
	};
	char *const environment[] = {texts[0], texts[1], texts[2], texts[3], texts[4], NULL};
	const struct config_report report = {.problem = ignore};

	(void)state;
	return config_read(environment, &report, &config);
}

static int drop_config(void **state)
{
	(void)state;
	config_done(&config);
	return 0;
}

static void the_environment_alone(void **state)
{
	struct check_spec s;

	(void)state;
	assert_true(spec_of_check(&config, NULL, &addr, &s));
	assert_int_equal(s.kind, PROBE_HTTP);
	assert_int_equal(s.addr.port, 8080);
	assert_int_equal(s.send_proxy, 2);
	assert_int_equal(s.timing.inter_ms, 3000);
	assert_int_equal(s.timing.fastinter_ms, 500);
	assert_int_equal(s.timing.downinter_ms, 3000);
	assert_int_equal(s.timing.rise, 2);
	assert_int_equal(s.timing.fall, 3);
	assert_string_equal(s.path, "/health");
	assert_true(status_set_has(s.expect.status, 204));
	assert_false(spec_of_agent(&config, NULL, &addr, &s));
}

static void a_row_is_stronger(void **state)
{
	struct health_check_row row = unset;
	struct check_spec s;

	(void)state;
	row.type = CHECK_GRPC;
	row.port = 9000;
	row.inter_ms = 700;
	row.fall = 9;
	row.send_proxy = 0;
	row.service = "x";
	assert_true(spec_of_check(&config, &row, &addr, &s));
	assert_int_equal(s.kind, PROBE_GRPC);
	assert_int_equal(s.addr.port, 9000);
	assert_int_equal(s.send_proxy, 0);
	assert_int_equal(s.timing.inter_ms, 700);
	/* The environment's fast interval belongs to its own ordinary one. */
	assert_int_equal(s.timing.fastinter_ms, 700);
	assert_int_equal(s.timing.fall, 9);
	assert_int_equal(s.timing.rise, 2);
	assert_string_equal(s.service, "x");
	row.type = CHECK_NONE;
	assert_false(spec_of_check(&config, &row, &addr, &s));
}

static void scripts_need_a_folder(void **state)
{
	struct health_check_row row = unset;
	struct check_spec s;

	(void)state;
	row.type = CHECK_SCRIPT;
	row.script = "x";
	assert_false(spec_of_check(&config, &row, &addr, &s));
}

static void an_agent_is_beside_the_check(void **state)
{
	struct health_check_row row = unset;
	struct check_spec s;

	(void)state;
	row.agent_port = 99;
	assert_false(spec_of_check(&config, &row, &addr, &s));
	assert_true(spec_of_agent(&config, &row, &addr, &s));
	assert_int_equal(s.addr.port, 99);
	assert_int_equal(s.timing.inter_ms, 3000);
	row.agent_inter_ms = 250;
	assert_true(spec_of_agent(&config, &row, &addr, &s));
	assert_int_equal(s.timing.inter_ms, 250);
	assert_int_equal(s.send_proxy, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_environment_alone),
		cmocka_unit_test(a_row_is_stronger),
		cmocka_unit_test(scripts_need_a_folder),
		cmocka_unit_test(an_agent_is_beside_the_check),
	};

	return cmocka_run_group_tests(tests, read_config, drop_config);
}
