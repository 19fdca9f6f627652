/* Fields are KEY=value and a new line, or, where the value has a new line of its own, KEY, a new
 * line, the length as 64 bits little endian, the value and a new line. */
#include "observe/journal_message.h"

#include "base/log_field.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define PREFIX "EDGEPROXY_"

struct writer {
	char *buf;
	size_t len;
};

static void append(struct writer *w, const void *data, size_t len)
{
	memcpy(w->buf + w->len, data, len);
	w->len += len;
}

static void append_field(struct writer *w, const char *key, const char *value, size_t len)
{
	uint64_t length = htole64(len);
	size_t key_len = strlen(key);

	if (JOURNAL_MESSAGE_MAX - w->len < key_len + len + sizeof(length) + 3)
		return;
	append(w, key, key_len);
	if (memchr(value, '\n', len) == NULL) {
		append(w, "=", 1);
	} else {
		append(w, "\n", 1);
		append(w, &length, sizeof(length));
	}
	append(w, value, len);
	append(w, "\n", 1);
}

static void make_key(const char *key, char ret_key[sizeof(PREFIX) + LOG_KEY_MAX])
{
	char *to = ret_key + sizeof(PREFIX) - 1;

	memcpy(ret_key, PREFIX, sizeof(PREFIX));
	for (; *key != '\0'; key++)
		*to++ = (char)(*key >= 'a' && *key <= 'z' ? *key - 'a' + 'A' : *key);
	*to = '\0';
}

size_t journal_message(char buf[JOURNAL_MESSAGE_MAX], const char *line, size_t len)
{
	static const char fixed[] = "PRIORITY=6\nSYSLOG_IDENTIFIER=edgeproxy\nSYSLOG_FACILITY=16\n";
	struct writer w = {.buf = buf};
	struct log_field f;
	size_t at = 0;

	append_field(&w, "MESSAGE", line, len);
	append(&w, fixed, sizeof(fixed) - 1);
	while (log_field_next(line, len, &at, &f)) {
		char key[sizeof(PREFIX) + LOG_KEY_MAX];

		if (strcmp(f.key, "level") == 0)
			continue;
		make_key(f.key, key);
		append_field(&w, key, f.value, f.len);
	}
	return w.len;
}
