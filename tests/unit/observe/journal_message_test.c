#include "observe/journal_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void expect(const char *line, const char *entry, size_t entry_len)
{
	static const char fixed[] = "PRIORITY=6\nSYSLOG_IDENTIFIER=edgeproxy\nSYSLOG_FACILITY=16\n";
	char buf[JOURNAL_MESSAGE_MAX];
	char wanted[JOURNAL_MESSAGE_MAX];
	size_t len = journal_message(buf, line, strlen(line));
	int head = snprintf(wanted, sizeof(wanted), "MESSAGE=%s\n%s", line, fixed);

	memcpy(wanted + head, entry, entry_len);
	assert_int_equal(len, (size_t)head + entry_len);
	assert_memory_equal(buf, wanted, len);
}

#define EXPECT(line, entry) expect(line, entry, sizeof(entry) - 1)

static void fields_of_both_formats(void **state)
{
	(void)state;
	EXPECT("time=2026 level=info event=session client=[::1]:5 text=\"a \\\"b\\\"\" n=1.5",
	       "EDGEPROXY_TIME=2026\nEDGEPROXY_EVENT=session\nEDGEPROXY_CLIENT=[::1]:5\n"
	       "EDGEPROXY_TEXT=a \"b\"\nEDGEPROXY_N=1.5\n");
	EXPECT("{\"time\":\"2026\",\"level\":\"info\",\"event\":\"session\",\"bytes_in\":7}",
	       "EDGEPROXY_TIME=2026\nEDGEPROXY_EVENT=session\nEDGEPROXY_BYTES_IN=7\n");
}

/* Such a value has its length in front. */
static void a_value_with_a_new_line(void **state)
{
	(void)state;
	EXPECT("event=\"a\\u000ab\" n=1",
	       "EDGEPROXY_EVENT\n\x03\0\0\0\0\0\0\0a\nb\nEDGEPROXY_N=1\n");
}

static void the_longest_line(void **state)
{
	char line[LOG_LINE_BYTES];
	char buf[JOURNAL_MESSAGE_MAX];
	size_t len = 0;
	size_t fields = 0;

	(void)state;
	while (len + 4 <= sizeof(line)) {
		memcpy(line + len, "a=1 ", 4);
		len += 4;
		fields++;
	}
	/* No line has more fields, and there is room for all. */
	size_t head = journal_message(buf, line, 0) + len - 1;

	len = journal_message(buf, line, len - 1);
	assert_int_equal(len, head + fields * strlen("EDGEPROXY_A=1\n"));
	assert_memory_equal(buf + len - 14, "EDGEPROXY_A=1\n", 14);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_of_both_formats),
		cmocka_unit_test(a_value_with_a_new_line),
		cmocka_unit_test(the_longest_line),
	};

	return cmocka_run_group_tests_name("observe/journal_message", tests, NULL, NULL);
}
