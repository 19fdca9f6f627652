/* Reads and writes sets of status codes. Strict: three digits a code, no spaces, ranges that go
 * upwards; what is parsed can be written and read again as the same set. */
#include "net/status_set.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CODE_LEAST 100
#define CODE_MOST 599

/* Three digits; returns what is behind them, or NULL. */
static const char *code_parse(const char *text, uint16_t *ret_code)
{
	unsigned code = 0;

	for (int i = 0; i < 3; i++) {
		if (text[i] < '0' || text[i] > '9')
			return NULL;
		code = code * 10 + (unsigned)(text[i] - '0');
	}
	if (code < CODE_LEAST || code > CODE_MOST)
		return NULL;
	*ret_code = (uint16_t)code;
	return text + 3;
}

int status_set_parse(const char *text, struct status_set *ret_set)
{
	struct status_set set = {.count = 0};

	for (;;) {
		unsigned i = set.count++;

		if (i == STATUS_RANGES_MAX)
			return -EINVAL;
		text = code_parse(text, &set.first[i]);
		if (text == NULL)
			return -EINVAL;
		set.last[i] = set.first[i];
		if (*text == '-')
			text = code_parse(text + 1, &set.last[i]);
		if (text == NULL || set.last[i] < set.first[i])
			return -EINVAL;
		if (*text == '\0')
			break;
		if (*text++ != ',')
			return -EINVAL;
	}
	*ret_set = set;
	return 0;
}

char *status_set_format(const struct status_set *set, char buf[STATUS_SET_TEXT_MAX])
{
	size_t n = 0;

	CHECK(set->count <= STATUS_RANGES_MAX);
	buf[0] = '\0';
	for (unsigned i = 0; i < set->count; i++) {
		n += (size_t)snprintf(buf + n, STATUS_SET_TEXT_MAX - n, "%s%u", i > 0 ? "," : "",
		                      set->first[i]);
		if (set->last[i] != set->first[i])
			n += (size_t)snprintf(buf + n, STATUS_SET_TEXT_MAX - n, "-%u",
			                      set->last[i]);
	}
	CHECK(n < STATUS_SET_TEXT_MAX);
	return buf;
}

bool status_set_equal(const struct status_set *a, const struct status_set *b)
{
	return a->count == b->count &&
	       memcmp(a->first, b->first, a->count * sizeof(a->first[0])) == 0 &&
	       memcmp(a->last, b->last, a->count * sizeof(a->last[0])) == 0;
}

bool status_set_has(const struct status_set *set, unsigned status)
{
	for (unsigned i = 0; i < set->count; i++)
		if (status >= set->first[i] && status <= set->last[i])
			return true;
	return false;
}
