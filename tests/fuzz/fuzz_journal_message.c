/* Lines on their way to the journal: the input is a line, which log.c may or may not have written.
 * What must hold for every input:
 *
 * - the entry is in the journal's protocol: read back by its rules, it is a list of fields whose
 *   names the journal takes, and the first is the line itself;
 * - each field was read from the line, and reading moves on. */
#include "base/check.h"
#include "base/log_field.h"
#include "fuzz.h"
#include "observe/journal_message.h"
#include "observe/syslog_message.h"

#include <endian.h>
#include <string.h>

static void check_name(const char *name, size_t len)
{
	CHECK(len > 0 && len <= 64 && name[0] != '_');
	for (size_t i = 0; i < len; i++)
		CHECK((name[i] >= 'A' && name[i] <= 'Z') || (name[i] >= '0' && name[i] <= '9') ||
		      name[i] == '_');
}

/* Returns the length of the field at entry; its value goes to the last two. */
static size_t read_field(const char *entry, size_t len, const char **ret_value, size_t *ret_len)
{
	const char *end = memchr(entry, '\n', len);
	const char *equals = end != NULL ? memchr(entry, '=', (size_t)(end - entry)) : NULL;
	uint64_t size;

	CHECK(end != NULL);
	check_name(entry, (size_t)((equals != NULL ? equals : end) - entry));
	if (equals != NULL) {
		*ret_value = equals + 1;
		*ret_len = (size_t)(end - equals) - 1;
		return (size_t)(end - entry) + 1;
	}
	CHECK(len - (size_t)(end - entry) > sizeof(size));
	memcpy(&size, end + 1, sizeof(size));
	*ret_value = end + 1 + sizeof(size);
	*ret_len = le64toh(size);
	CHECK(*ret_len < len && (*ret_value)[*ret_len] == '\n');
	return (size_t)(*ret_value - entry) + *ret_len + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *line = (const char *)data;
	char buf[JOURNAL_MESSAGE_MAX > SYSLOG_MESSAGE_MAX ? JOURNAL_MESSAGE_MAX
	                                                  : SYSLOG_MESSAGE_MAX];
	struct log_field f;
	size_t at = 0, before = 0, fields = 0, value_len, len;
	const char *value;

	if (size == 0 || size > LOG_LINE_BYTES)
		return 0;
	while (log_field_next(line, size, &at, &f)) {
		CHECK(at > before && at <= size && f.len <= sizeof(f.value));
		before = at;
		fields++;
	}
	len = journal_message(buf, line, size);
	CHECK(len <= sizeof(buf));
	for (size_t i = 0, n = 0; i < len; n++) {
		i += read_field(buf + i, len - i, &value, &value_len);
		CHECK(i <= len && n < fields + 4);
		if (n == 0)
			CHECK(value_len == size && memcmp(value, line, size) == 0);
	}
	len = syslog_message_rfc5424(buf, "host", 1, line, size);
	CHECK(len >= size && memcmp(buf + len - size, line, size) == 0);
	return 0;
}
