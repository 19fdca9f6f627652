#include "observe/syslog_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static char buf[SYSLOG_MESSAGE_MAX];

static void expect(size_t len, const char *text)
{
	assert_int_equal(len, strlen(text));
	assert_memory_equal(buf, text, len);
}

#define TEXT "time=2026-11-22T02:03:43.123456Z level=info event=session n=1"
#define JSON "{\"time\":\"2026-11-22T02:03:43.123456Z\",\"level\":\"info\",\"event\":\"connected\"}"

static void over_the_network(void **state)
{
	(void)state;
	expect(syslog_message_rfc5424(buf, "pop-1", 42, TEXT, strlen(TEXT)),
	       "<134>1 2026-11-22T02:03:43.123456Z pop-1 edgeproxy 42 session - " TEXT);
	expect(syslog_message_rfc5424(buf, "", 42, JSON, strlen(JSON)),
	       "<134>1 2026-11-22T02:03:43.123456Z - edgeproxy 42 connected - " JSON);
	/* Nothing that has no place in a header gets there. */
	expect(syslog_message_rfc5424(buf, "h", 1, "x=1", 3), "<134>1 - h edgeproxy 1 - - x=1");
}

static void on_this_machine(void **state)
{
	struct tm tm = {.tm_mon = 10, .tm_mday = 2, .tm_hour = 3, .tm_min = 4, .tm_sec = 5};

	(void)state;
	expect(syslog_message_local(buf, &tm, 42, TEXT, strlen(TEXT)),
	       "<134>Nov  2 03:04:05 edgeproxy[42]: " TEXT);
}

static void the_longest(void **state)
{
	char host[300];
	char line[LOG_LINE_BYTES];

	(void)state;
	memset(host, 'h', sizeof(host) - 1);
	host[sizeof(host) - 1] = '\0';
	memset(line, 'x', sizeof(line));
	assert_int_equal(syslog_message_rfc5424(buf, host, INT32_MAX, line, sizeof(line)),
	                 strlen("<134>1 -  edgeproxy 2147483647 - - ") + 255 + sizeof(line));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(over_the_network),
		cmocka_unit_test(on_this_machine),
		cmocka_unit_test(the_longest),
	};

	return cmocka_run_group_tests_name("observe/syslog_message", tests, NULL, NULL);
}
