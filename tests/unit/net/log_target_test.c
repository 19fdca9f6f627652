#include "net/log_target.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void what_is_accepted(void **state)
{
	static const struct {
		const char *text;
		enum log_target_kind kind;
		const char *formatted; /* NULL: the same */
	} rows[] = {
		{"stderr", LOG_TARGET_STDERR, NULL},
		{"stdout", LOG_TARGET_STDOUT, NULL},
		{"off", LOG_TARGET_OFF, NULL},
		{"file:/a:b c", LOG_TARGET_FILE, NULL},
		{"syslog", LOG_TARGET_SYSLOG, "syslog:/dev/log"},
		{"syslog:/tmp/log", LOG_TARGET_SYSLOG, NULL},
		{"syslog:192.0.2.1:514", LOG_TARGET_SYSLOG_UDP, NULL},
		{"syslog:[2001:db8::1]:514", LOG_TARGET_SYSLOG_UDP, NULL},
		{"journald", LOG_TARGET_JOURNALD, "journald:/run/systemd/journal/socket"},
		{"journald:/tmp/j", LOG_TARGET_JOURNALD, NULL},
	};
	char text[LOG_TARGET_TEXT_MAX];
	struct log_target t;
	const char *why;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(log_target_parse(rows[i].text, &t, &why), 0);
		assert_int_equal(t.kind, rows[i].kind);
		assert_string_equal(log_target_format(&t, text),
		                    rows[i].formatted != NULL ? rows[i].formatted : rows[i].text);
	}
}

static void what_is_not(void **state)
{
	static const char *const wrong[] = {
		"",
		":",
		"Stderr",
		"stderr:",
		"stdout:/x",
		"off:",
		"file",
		"file:",
		"file:x",
		"syslog:",
		"syslog:514",
		"syslog::514",
		"syslog:[::]:514",
		"syslog:0.0.0.0:514",
		"syslog:192.0.2.1",
		"syslog:192.0.2.1:0",
		"syslog:localhost:514",
		"journald:",
		"journald:x",
		"journal",
		"syslogd",
	};
	char text[LOG_TARGET_PATH_MAX + 32];
	struct log_target t;
	const char *why;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		why = NULL;
		if (log_target_parse(wrong[i], &t, &why) != -EINVAL || why == NULL)
			fail_msg("%s was accepted", wrong[i]);
	}
	/* The longest paths, and one byte more. */
	for (int more = 0; more < 2; more++) {
		memset(text, 'x', sizeof(text));
		memcpy(text, "file:/", 6);
		text[5 + LOG_TARGET_PATH_MAX - 1 + more] = '\0';
		assert_int_equal(log_target_parse(text, &t, &why), more == 0 ? 0 : -EINVAL);
		memset(text, 'x', sizeof(text));
		memcpy(text, "syslog:/", 8);
		text[7 + 107 + more] = '\0';
		assert_int_equal(log_target_parse(text, &t, &why), more == 0 ? 0 : -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_accepted),
		cmocka_unit_test(what_is_not),
	};

	return cmocka_run_group_tests_name("net/log_target", tests, NULL, NULL);
}
