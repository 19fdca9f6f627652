/* The environment as people get it wrong: each test hands over a made-up environment and looks at
 * the result and at every line that was reported. What each type of value takes is
 * option_test.c's. */
#include "config/config.h"

#include "base/log.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LINES_MAX 64

struct reported {
	int fatal;
	int warnings;
	char lines[LINES_MAX][1024];
};

static struct reported got;
static struct config config;

static void remember(void *arg, bool fatal, const char *text)
{
	struct reported *r = arg;
	int n = r->fatal + r->warnings;

	assert_true(n < LINES_MAX);
	assert_true(strlen(text) < sizeof r->lines[0]);
	assert_null(strpbrk(text, "\n\r\033"));
	strcpy(r->lines[n], text);
	*(fatal ? &r->fatal : &r->warnings) += 1;
}

/* Reads an environment of up to three variables; NULL: none. */
static int read3(const char *a, const char *b, const char *c)
{
	char *environment[4] = {0};
	const char *given[] = {a, b, c};
	struct config_report report = {.problem = remember, .arg = &got};
	int n = 0;
	int r;

	for (int i = 0; i < 3; i++) {
		if (given[i] != NULL)
			environment[n++] = strdup(given[i]);
	}
	got = (struct reported){0};
	r = config_read(environment, &report, &config);
	for (int i = 0; i < n; i++)
		free(environment[i]);
	assert_int_equal(r, got.fatal > 0 ? -EINVAL : 0);
	return r;
}

static void accepts(const char *entry)
{
	if (read3(entry, NULL, NULL) != 0)
		fail_msg("%s was refused: %s", entry, got.lines[0]);
	assert_int_equal(got.warnings, 0);
}

/* One line, and exactly this one. */
static void refuses(const char *entry, const char *line)
{
	if (read3(entry, NULL, NULL) == 0)
		fail_msg("%s was accepted", entry);
	assert_int_equal(got.fatal, 1);
	assert_string_equal(got.lines[0], line);
}

static int teardown(void **state)
{
	(void)state;
	config_done(&config);
	return 0;
}

static void an_empty_environment_gives_the_documented_defaults(void **state)
{
	char text[ENDPOINT_TEXT_MAX];

	(void)state;
	assert_int_equal(read3(NULL, NULL, NULL), 0);
	assert_int_equal(got.warnings, 0);
	assert_string_equal(endpoint_format(&config.listen_addr, text), "0.0.0.0:8080");
	assert_string_equal(config.db_path, "routing.db");
	assert_string_equal(config.region, "sa");
	assert_int_equal(config.db_reload_secs, 5);
	assert_int_equal(config.binding_ttl_secs, 600);
	assert_int_equal(config.binding_gc_interval_secs, 60);
	assert_false(config.debug);
	assert_string_equal(config.app, "");
	assert_int_equal(config.shutdown_timeout_secs, 30);
	assert_int_equal(config.retry_on, RETRY_EARLY_RESET);
	assert_int_equal(config.relay_mode, RELAY_AUTO);
	assert_int_equal(config.log_level, LOG_INFO);
	assert_int_equal(config.log_format, LOG_TEXT);
	assert_int_equal(prefix_map_size(config.trusted_proxies), 0);
	assert_true(config_listens(&config));
}

static void values_replace_defaults(void **state)
{
	(void)state;
	assert_int_equal(read3("EDGEPROXY_REGION=eu", "EDGEPROXY_DB_RELOAD_SECS=7",
	                       "EDGEPROXY_DB_PATH=/a=b;c"),
	                 0);
	assert_string_equal(config.region, "eu");
	assert_int_equal(config.db_reload_secs, 7);
	assert_string_equal(config.db_path, "/a=b;c");
}

static void the_first_of_two_equal_names_counts(void **state)
{
	(void)state;
	assert_int_equal(read3("EDGEPROXY_REGION=eu", "EDGEPROXY_REGION=us", NULL), 0);
	assert_string_equal(config.region, "eu");
}

static void choices_are_in_the_order_of_their_enums(void **state)
{
	(void)state;
	accepts("EDGEPROXY_RELAY_MODE=splice");
	assert_int_equal(config.relay_mode, RELAY_SPLICE);
	config_done(&config);
	accepts("EDGEPROXY_RELAY_MODE=copy");
	assert_int_equal(config.relay_mode, RELAY_COPY);
	config_done(&config);
	accepts("EDGEPROXY_RETRY_ON=conn-failure");
	assert_int_equal(config.retry_on, RETRY_CONN_FAILURE);
	config_done(&config);
	accepts("EDGEPROXY_LOG_FORMAT=json");
	assert_int_equal(config.log_format, LOG_JSON);
	config_done(&config);
	accepts("EDGEPROXY_LOG_LEVEL=error");
	assert_int_equal(config.log_level, LOG_ERROR);
	config_done(&config);
	accepts("EDGEPROXY_LOG_LEVEL=warn");
	assert_int_equal(config.log_level, LOG_WARN);
}

static void debug_and_the_log_level_are_one_switch(void **state)
{
	(void)state;
	assert_int_equal(read3("DEBUG=1", "EDGEPROXY_LOG_LEVEL=error", NULL), 0);
	assert_int_equal(config.log_level, LOG_DEBUG);
	assert_true(config.debug);
	config_done(&config);
	accepts("EDGEPROXY_LOG_LEVEL=debug");
	assert_true(config.debug);
}

/* One row a type: what is allowed comes from its row. */
static void a_refusal_says_what_is_allowed(void **state)
{
	static const char *const rows[][2] = {
		{"EDGEPROXY_DB_RELOAD_SECS=abc",
	         "EDGEPROXY_DB_RELOAD_SECS=abc: not a whole number; "
	         "allowed: 1..86400 s (default 5)"},
		{"EDGEPROXY_DB_RELOAD_SECS=0",
	         "EDGEPROXY_DB_RELOAD_SECS=0: out of range; allowed: 1..86400 s (default 5)"},
		{"EDGEPROXY_WORKERS=",
	         "EDGEPROXY_WORKERS=: empty; allowed: 0..256 threads (default 0)"},
		{"EDGEPROXY_REGION=",
	         "EDGEPROXY_REGION=: empty; allowed: 1..32 bytes (default sa)"},
		{"EDGEPROXY_REGION=rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr",
	         "EDGEPROXY_REGION=rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr: 33 bytes long; allowed: "
	         "1..32 bytes (default sa)"},
		{"DEBUG=2",
	         "DEBUG=2: not one of the words; allowed: 0, 1, false, true, no, yes, off, on "
	         "(default 0)"},
		{"EDGEPROXY_RELAY_MODE=spliced",
	         "EDGEPROXY_RELAY_MODE=spliced: not one of the words; allowed: auto, copy, splice "
	         "(default auto)"},
		{"EDGEPROXY_LISTEN_ADDR=[::]:0",
	         "EDGEPROXY_LISTEN_ADDR=[::]:0: port 0 needs one family's address; allowed: "
	         "ADDRESS:PORT, [IPV6]:PORT, :PORT, or empty (default 0.0.0.0:8080)"},
		{"EDGEPROXY_TRUSTED_PROXIES=127.0.0.1,nonsense",
	         "EDGEPROXY_TRUSTED_PROXIES=127.0.0.1,nonsense: \"nonsense\" is neither an "
	         "address nor a CIDR; allowed: addresses and CIDRs, commas between (default "
	         "empty)"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		refuses(rows[i][0], rows[i][1]);
}

static void listening_can_be_switched_off(void **state)
{
	(void)state;
	accepts("EDGEPROXY_LISTEN_ADDR=");
	assert_false(config_listens(&config));
	config_done(&config);
	accepts("EDGEPROXY_LISTEN_ADDR=0.0.0.0:0");
	assert_true(config_listens(&config));
}

static void some_values_may_be_empty(void **state)
{
	(void)state;
	assert_int_equal(
		read3("EDGEPROXY_APP=", "EDGEPROXY_GEOIP_PATH=", "EDGEPROXY_TRUSTED_PROXIES="), 0);
	assert_string_equal(config.app, "");
	assert_string_equal(config.geoip_path, "");
	assert_int_equal(prefix_map_size(config.trusted_proxies), 0);
}

static void every_problem_is_told(void **state)
{
	(void)state;
	assert_int_equal(read3("EDGEPROXY_WORKERS=many", "EDGEPROXY_REGOIN=eu",
	                       "EDGEPROXY_RELAY_MODE=fast"),
	                 -EINVAL);
	assert_int_equal(got.fatal, 2);
	assert_int_equal(got.warnings, 1);
}

static void a_refusal_leaves_the_result_alone(void **state)
{
	struct config before;

	(void)state;
	memset(&config, 0x5a, sizeof config);
	before = config;
	assert_int_equal(read3("EDGEPROXY_REGION=eu", "EDGEPROXY_TRUSTED_PROXIES=127.0.0.1",
	                       "EDGEPROXY_WORKERS=x"),
	                 -EINVAL);
	assert_memory_equal(&config, &before, sizeof config);
	memset(&config, 0, sizeof config);
}

static void an_unknown_name_warns_with_the_nearest(void **state)
{
	static const char *const rows[][2] = {
		{"EDGEPROXY_REGOIN=x",
	         "EDGEPROXY_REGOIN: no such option; the nearest is EDGEPROXY_REGION"},
		{"EDGEPROXY_LISTEN=x",
	         "EDGEPROXY_LISTEN: no such option; the nearest is EDGEPROXY_LISTEN_ADDR"},
		{"EDGEPROXY_LISTEN_ADDRESS=x",
	         "EDGEPROXY_LISTEN_ADDRESS: no such option; the nearest is EDGEPROXY_LISTEN_ADDR"},
		{"EDGEPROXY_DEBUG=1", "EDGEPROXY_DEBUG: no such option; the nearest is DEBUG"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(read3(rows[i][0], NULL, NULL), 0);
		assert_int_equal(got.warnings, 1);
		assert_string_equal(got.lines[0], rows[i][1]);
		config_done(&config);
	}
}

static void other_names_are_nobodys_business(void **state)
{
	(void)state;
	assert_int_equal(read3("EDGEPROX_REGION=x", "edgeproxy_region=x", "DEBUGGER=x"), 0);
	assert_int_equal(got.warnings, 0);
	config_done(&config);
	assert_int_equal(read3("EDGEPROXY_=x", NULL, NULL), 0); /* near to nothing, but told */
	assert_int_equal(got.warnings, 1);
	config_done(&config);
	/* An entry without "=" is no variable, and a longer name is another one. */
	assert_int_equal(read3("EDGEPROXY_WORKERS", "EDGEPROXY_REGION_OLD=x", NULL), 0);
	assert_string_equal(config.region, "sa");
}

static void a_message_is_one_short_clean_line(void **state)
{
	char entry[4096] = "EDGEPROXY_WORKERS=";
	char name[4096] = "EDGEPROXY_";

	(void)state;
	refuses("EDGEPROXY_WORKERS=1\n\033[2J", "EDGEPROXY_WORKERS=1??[2J: not a whole number; "
	                                        "allowed: 0..256 threads (default 0)");
	refuses("EDGEPROXY_TRUSTED_PROXIES=a\033b",
	        "EDGEPROXY_TRUSTED_PROXIES=a?b: \"a?b\" is neither an address nor a CIDR; allowed: "
	        "addresses and CIDRs, commas between (default empty)");
	memset(entry + strlen(entry), '9', 4000);
	assert_int_equal(read3(entry, NULL, NULL), -EINVAL);
	assert_true(strlen(got.lines[0]) < 250);
	assert_non_null(strstr(got.lines[0], "999...: out of range; allowed: 0..256 threads"));
	memset(name + strlen(name), 'X', 4000);
	strcat(name, "=1");
	assert_int_equal(read3(name, NULL, NULL), 0);
	assert_int_equal(got.warnings, 1);
	assert_non_null(strstr(got.lines[0], "XXX...: no such option; the nearest is EDGEPROXY_"));
}

static const char *help(void)
{
	static char text[1u << 16];
	FILE *f = fmemopen(text, sizeof text, "w");

	assert_non_null(f);
	config_print_options(f);
	assert_int_equal(fclose(f), 0);
	return text;
}

static void help_names_every_option_once_in_100_columns(void **state)
{
	static const char *const variables[] = {
#define OPTION(type, field, variable, ...) variable,
#include "config/options.def"
#undef OPTION
	};
	const char *text = help();

	(void)state;
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
		char line[64];
		const char *at;

		snprintf(line, sizeof line, "\n  %s ", variables[i]);
		at = strstr(text, line);
		if (at == NULL || strstr(at + 1, line) != NULL)
			fail_msg("%s is not in the help exactly once", variables[i]);
	}
	for (const char *line = text; *line != '\0';) {
		size_t len = strcspn(line, "\n");

		if (len > 100 || (len > 0 && line[len - 1] == ' '))
			fail_msg("%zu columns: %.*s", len, (int)len, line);
		line += len + (line[len] == '\n');
	}
}

static void help_has_each_group_once(void **state)
{
	static const char *const groups[] = {
#define OPTION(type, field, variable, default_text, least, most, unit, group, help) group,
#include "config/options.def"
#undef OPTION
	};
	const char *text = help();

	(void)state;
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		char line[64];
		const char *at = text;
		size_t headings = 0;

		snprintf(line, sizeof line, "%s ", groups[i]);
		for (; (at = strstr(at, line)) != NULL; at++)
			headings += at == text || at[-1] == '\n';
		if (headings != 1)
			fail_msg("%zu headings %s", headings, groups[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(an_empty_environment_gives_the_documented_defaults,
	                                  teardown),
		cmocka_unit_test_teardown(values_replace_defaults, teardown),
		cmocka_unit_test_teardown(the_first_of_two_equal_names_counts, teardown),
		cmocka_unit_test_teardown(choices_are_in_the_order_of_their_enums, teardown),
		cmocka_unit_test_teardown(debug_and_the_log_level_are_one_switch, teardown),
		cmocka_unit_test_teardown(a_refusal_says_what_is_allowed, teardown),
		cmocka_unit_test_teardown(listening_can_be_switched_off, teardown),
		cmocka_unit_test_teardown(some_values_may_be_empty, teardown),
		cmocka_unit_test_teardown(every_problem_is_told, teardown),
		cmocka_unit_test_teardown(a_refusal_leaves_the_result_alone, teardown),
		cmocka_unit_test_teardown(an_unknown_name_warns_with_the_nearest, teardown),
		cmocka_unit_test_teardown(other_names_are_nobodys_business, teardown),
		cmocka_unit_test_teardown(a_message_is_one_short_clean_line, teardown),
		cmocka_unit_test(help_names_every_option_once_in_100_columns),
		cmocka_unit_test(help_has_each_group_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
