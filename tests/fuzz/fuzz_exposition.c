/* Label values. What must hold for every value: what is written is one line of UTF-8 whose quotes
 * are closed where the value ends, and reading it back gives the value and nothing else; so no two
 * values come out alike. The reader here is Prometheus' rule (a backslash takes the next character
 * with it), not the writer's code turned round. */
#include "base/check.h"
#include "fuzz.h"
#include "observe/exposition.h"

#include <stdlib.h>
#include <string.h>

#define BEFORE "edgeproxy_sessions_ended_total{reason=\""
#define AFTER "\"} 1\n"

static unsigned digit(char c)
{
	CHECK((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a') + 10;
}

/* Decodes one character strictly, by its value. Returns its length. */
static size_t decode(const unsigned char *p, const unsigned char *end, uint32_t *ret)
{
	size_t len = *p < 0x80 ? 1 : *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2;
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c = len == 1 ? *p : *p & (0xffu >> (len + 1));

	CHECK(len == 1 || *p >= 0xc0);
	CHECK(*p < 0xf8 && (size_t)(end - p) >= len);
	for (size_t i = 1; i < len; i++) {
		CHECK((p[i] & 0xc0) == 0x80);
		c = c << 6 | (p[i] & 0x3f);
	}
	CHECK(c >= least[len] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff));
	*ret = c;
	return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *value = malloc(size + 1);
	char *read = malloc(size + 1);
	const char *const values[] = {value};
	struct exposition e = {0};
	const unsigned char *p, *end;
	size_t len = 0;

	CHECK(value != NULL && read != NULL);
	if (size > 0)
		memcpy(value, data, size);
	value[size] = '\0';
	exposition_metric(&e, METRIC_SESSIONS_ENDED);
	e.len = 0;
	exposition_uint(&e, values, 1);
	CHECK(!e.failed && e.len >= strlen(BEFORE AFTER) && e.len <= e.size);
	CHECK(memcmp(e.text, BEFORE, strlen(BEFORE)) == 0);
	p = (unsigned char *)e.text + strlen(BEFORE);
	end = (unsigned char *)e.text + e.len;
	while (*p != '"') {
		uint32_t c;
		size_t n = decode(p, end, &c);

		CHECK(c != '\n' && len < size);
		if (c == '\\') {
			CHECK(p[1] == 'n' || p[1] == '"' || p[1] == '\\');
			read[len++] = p[1] == 'n' ? '\n' : (char)p[1];
			n = 2;
		} else if (c == 0xfffd) {
			read[len++] = (char)(digit((char)p[3]) << 4 | digit((char)p[4]));
			n = 5;
		} else {
			CHECK(len + n <= size);
			memcpy(read + len, p, n);
			len += n;
		}
		p += n;
		CHECK(p < end);
	}
	CHECK((size_t)(end - p) == strlen(AFTER) && memcmp(p, AFTER, strlen(AFTER)) == 0);
	CHECK(len == strlen(value) && memcmp(read, value, len) == 0);
	free(e.text);
	free(value);
	free(read);
	return 0;
}
