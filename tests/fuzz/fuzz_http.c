/* Replies to HTTP checks. The input: the wanted text, a newline, a byte that says how long the
 * pieces are in which the reply comes, the reply. What must hold for every input:
 *
 * - the verdict does not depend on the pieces, and is final;
 * - a reply that passed has an expected status and, where a text is wanted, the text in it;
 * - no more than the limit is read. */
#include "base/check.h"
#include "fuzz.h"
#include "health/http.h"

#include <stdlib.h>
#include <string.h>

static const struct status_set statuses = {.first = {200}, .last = {299}, .count = 1};

static enum http_verdict read_reply(struct http_reply *r, const struct http_expect *expect,
                                    const char *data, size_t size, size_t piece)
{
	enum http_verdict v = HTTP_MORE;

	http_reply_begin(r, expect);
	for (size_t at = 0; at < size && v == HTTP_MORE; at += piece) {
		size_t n = size - at < piece ? size - at : piece;
		char *copy = malloc(n); /* of its own size, so that a read beyond it is seen */

		CHECK(copy != NULL);
		memcpy(copy, data + at, n);
		v = http_reply_feed(r, expect, copy, n);
		free(copy);
	}
	return v == HTTP_MORE ? http_reply_end(r) : v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *line_end = memchr(data, '\n', size);
	char wanted[CHECK_BODY_MAX + 1] = "";
	struct http_expect expect = {.status = &statuses, .body = wanted};
	struct http_reply whole, cut;
	enum http_verdict v;
	const char *reply;
	size_t piece;

	if (line_end == NULL || line_end - data > CHECK_BODY_MAX || line_end + 1 == data + size)
		return 0;
	memcpy(wanted, data, (size_t)(line_end - data));
	expect.head = (line_end[1] & 128) != 0;
	piece = (size_t)(line_end[1] & 127) + 1;
	reply = (const char *)line_end + 2;
	size -= (size_t)(reply - (const char *)data);
	v = read_reply(&whole, &expect, reply, size, size + 1);
	CHECK(v != HTTP_MORE);
	CHECK(read_reply(&cut, &expect, reply, size, piece) == v);
	CHECK(cut.status == whole.status && cut.total == whole.total);
	CHECK(whole.total <= HTTP_REPLY_MAX + 1);
	if (v == HTTP_PASSED) {
		CHECK(status_set_has(&statuses, whole.status));
		CHECK(whole.total >= strlen("HTTP/1.1 200\n\n") + strlen(wanted));
	}
	if (v == HTTP_STATUS)
		CHECK(whole.status >= 200 && !status_set_has(&statuses, whole.status));
	return 0;
}
