/* PROXY headers: the input is a stream as a peer may send it. What must hold for every input:
 *
 * - nothing is read beyond the bytes given (each call gets a heap block of just that size);
 * - the verdict is the stream's, however it is cut: MORE up to one byte, and from there on OK with
 *   the same header or BAD for the same reason; a header is OK from its last byte on, not before;
 * - nobody is asked for more for ever;
 * - the TLVs fill a header exactly, and a checksum that does not match is noticed;
 * - what is read can be written, in both versions, and reads back the same. */
#include "base/check.h"
#include "fuzz.h"
#include "net/proxy_protocol.h"

#include <stdlib.h>
#include <string.h>

#define V1_MAX 107
#define INPUT_MAX (PROXY_HEADER_MAX + 64)
/* Up to here every cut is tried, further on every 61st: it keeps long inputs quick. */
#define CUT_EACH_MAX 280
#define CUT_STRIDE 61

struct outcome {
	enum proxy_verdict verdict;
	struct proxy_header header;
	const char *why;
};

static struct outcome parse(const uint8_t *data, size_t len)
{
	struct outcome o = {.why = NULL};
	uint8_t *exact = len > 0 ? malloc(len) : NULL;

	CHECK(exact || len == 0);
	if (len > 0)
		memcpy(exact, data, len);
	o.verdict = proxy_protocol_parse(exact, len, &o.header, &o.why);
	free(exact);
	CHECK((o.verdict == PROXY_BAD) == (o.why != NULL));
	return o;
}

static void check_header(const uint8_t *data, size_t size, const struct proxy_header *h)
{
	CHECK(h->length > 0 && h->length <= size);
	if (data[0] == 'P') {
		CHECK(h->version == 1 && h->length <= V1_MAX);
		CHECK(data[h->length - 2] == '\r' && data[h->length - 1] == '\n');
		CHECK(h->local || (data[9] == '6') == (memchr(data, ':', h->length) != NULL));
	} else {
		CHECK(h->version == 2 && h->length <= PROXY_HEADER_MAX);
		CHECK(h->local || data[13] == 0x11 || data[13] == 0x21);
	}
}

/* After addresses that were read: the TLVs end where the header ends, and of a checksum each bit
 * counts. */
static void check_tlvs(const uint8_t *data, const struct proxy_header *h)
{
	uint8_t *copy = malloc(h->length);
	size_t at = data[13] == 0x11 ? 28 : 52;

	CHECK(copy);
	memcpy(copy, data, h->length);
	while (at + 3 <= h->length) {
		size_t len = (size_t)data[at + 1] << 8 | data[at + 2];

		if (data[at] == 0x03) {
			CHECK(len == 4);
			copy[at + 3 + h->src.port % 4] ^= (uint8_t)(1 << h->dst.port % 8);
			CHECK(parse(copy, h->length).verdict == PROXY_BAD);
		}
		at += 3 + len;
	}
	CHECK(at == h->length);
	free(copy);
}

static void check_same(const struct outcome *a, const struct outcome *b)
{
	CHECK(a->verdict == b->verdict);
	if (a->verdict == PROXY_BAD)
		CHECK(strcmp(a->why, b->why) == 0);
	if (a->verdict != PROXY_OK)
		return;
	CHECK(a->header.length == b->header.length && a->header.version == b->header.version);
	CHECK(a->header.local == b->header.local);
	CHECK(a->header.local || endpoint_equal(&a->header.src, &b->header.src));
	CHECK(a->header.local || endpoint_equal(&a->header.dst, &b->header.dst));
}

static void check_cuts(const uint8_t *data, size_t size, const struct outcome *whole)
{
	bool decided = false;

	for (size_t len = 0; len < size; len += len < CUT_EACH_MAX ? 1 : CUT_STRIDE) {
		struct outcome o = parse(data, len);

		if (whole->verdict == PROXY_OK)
			CHECK((o.verdict == PROXY_OK) == (len >= whole->header.length));
		if (o.verdict == PROXY_MORE)
			CHECK(!decided);
		else
			check_same(&o, whole);
		decided = o.verdict != PROXY_MORE;
	}
	/* The cut that matters most, which the stride may have missed. */
	if (whole->verdict == PROXY_OK)
		CHECK(parse(data, whole->header.length - 1).verdict == PROXY_MORE);
}

static void check_round_trip(const struct endpoint *src, const struct endpoint *dst)
{
	for (unsigned version = 1; version <= 2; version++) {
		uint8_t buf[PROXY_HEADER_WRITE_MAX];
		size_t len = proxy_protocol_write(version, src, dst, buf);
		struct outcome o = parse(buf, len);

		CHECK(o.verdict == PROXY_OK && o.header.length == len);
		CHECK(o.header.version == version && !o.header.local);
		CHECK(endpoint_equal(&o.header.src, src) && endpoint_equal(&o.header.dst, dst));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole;
	struct endpoint any[2];

	if (size > INPUT_MAX)
		size = INPUT_MAX;
	whole = parse(data, size);
	check_cuts(data, size, &whole);
	if (whole.verdict == PROXY_OK) {
		check_header(data, size, &whole.header);
		if (!whole.header.local)
			check_round_trip(&whole.header.src, &whole.header.dst);
		if (!whole.header.local && whole.header.version == 2)
			check_tlvs(data, &whole.header);
	} else if (whole.verdict == PROXY_MORE) {
		CHECK(size == 0 || size < (data[0] == 'P' ? V1_MAX : PROXY_HEADER_MAX));
	}
	/* Any bytes are two endpoints, too. */
	if (size >= sizeof(any)) {
		memcpy(any, data, sizeof(any));
		check_round_trip(&any[0], &any[1]);
	}
	return 0;
}
