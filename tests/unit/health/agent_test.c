/* The lines of agents. */
#include "health/agent.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void says(const char *text, enum agent_health health, enum agent_admin admin, int percent,
                 const char *why)
{
	struct agent_line line;

	if (agent_line_parse(text, strlen(text), &line) != 0)
		fail_msg("refused: %s", text);
	assert_int_equal(line.health, health);
	assert_int_equal(line.admin, admin);
	assert_int_equal(line.weight_percent, percent);
	assert_string_equal(line.why, why);
}

static void good_lines(void **state)
{
	(void)state;
	says("up", AGENT_UP, AGENT_ADMIN_SAME, -1, "");
	says(" Down,\r", AGENT_DOWN, AGENT_ADMIN_SAME, -1, "");
	says("failed#no disk ", AGENT_DOWN, AGENT_ADMIN_SAME, -1, "no disk");
	says("stopped # a\x1b[1m#b", AGENT_DOWN, AGENT_ADMIN_SAME, -1, "a?[1m#b");
	says("ready up 75%", AGENT_UP, AGENT_READY, 75, "");
	says("drain", AGENT_HEALTH_SAME, AGENT_DRAIN, -1, "");
	says("MAINT\t0%", AGENT_HEALTH_SAME, AGENT_MAINT, 0, "");
	says("100% maxconn:30", AGENT_HEALTH_SAME, AGENT_ADMIN_SAME, 100, "");
	says("99999999999999999999%", AGENT_HEALTH_SAME, AGENT_ADMIN_SAME, 100, "");
	says("up down", AGENT_DOWN, AGENT_ADMIN_SAME, -1, "");
}

static void bad_lines(void **state)
{
	static const char *const bad[] = {
		"",   " ",   "#up",      "up-ish",     "%",    "-1%",  "1.5%",
		"50", "u p", "maxconn:", "maxconn:3x", "up x", "d#own"};
	struct agent_line line;
	char longest[AGENT_LINE_MAX + 2];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(agent_line_parse(bad[i], strlen(bad[i]), &line), -EINVAL);
	assert_int_equal(agent_line_parse("up\0", 3, &line), -EINVAL);
	memset(longest, ' ', sizeof(longest));
	memcpy(longest, "up", 2);
	assert_int_equal(agent_line_parse(longest, AGENT_LINE_MAX, &line), 0);
	assert_int_equal(agent_line_parse(longest, AGENT_LINE_MAX + 1, &line), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_lines),
		cmocka_unit_test(bad_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
