/* PROXY headers. Each verdict is asked for with an input in a heap block of just its size, so that
 * the address sanitizer sees a read beyond it, and for each beginning of the input as well, because
 * a header may arrive byte by byte. */
#include "net/proxy_protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* after what it needs */

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

/* A version 2 header under construction. */
struct bytes {
	uint8_t data[PROXY_HEADER_MAX + 64];
	size_t len;
};

static void add(struct bytes *b, const void *data, size_t len)
{
	assert_true(len <= sizeof(b->data) - b->len);
	memcpy(b->data + b->len, data, len);
	b->len += len;
}

static void add16(struct bytes *b, unsigned n)
{
	add(b, (uint8_t[]){(uint8_t)(n >> 8), (uint8_t)n}, 2);
}

/* The fixed part, announcing that many bytes. */
static struct bytes v2_begin(unsigned ver_cmd, unsigned family, unsigned announced)
{
	struct bytes b = {.len = 0};

	add(&b, "\r\n\r\n\0\r\nQUIT\n", 12);
	add(&b, (uint8_t[]){(uint8_t)ver_cmd, (uint8_t)family}, 2);
	add16(&b, announced);
	return b;
}

/* 192.0.2.1:1234 to 198.51.100.2:443. */
static struct bytes v2_inet(unsigned tlv_bytes)
{
	struct bytes b = v2_begin(0x21, 0x11, 12 + tlv_bytes);

	add(&b, (uint8_t[]){192, 0, 2, 1, 198, 51, 100, 2}, 8);
	add16(&b, 1234);
	add16(&b, 443);
	return b;
}

/* [2001:db8::1]:65535 to [2001:db8::2]:0. */
static struct bytes v2_inet6(unsigned tlv_bytes)
{
	struct bytes b = v2_begin(0x21, 0x21, 36 + tlv_bytes);

	add(&b, (uint8_t[16]){0x20, 0x01, 0x0d, 0xb8, [15] = 1}, 16);
	add(&b, (uint8_t[16]){0x20, 0x01, 0x0d, 0xb8, [15] = 2}, 16);
	add16(&b, 65535);
	add16(&b, 0);
	return b;
}

static void add_tlv(struct bytes *b, unsigned type, unsigned len, const void *value)
{
	add(b, (uint8_t[]){(uint8_t)type}, 1);
	add16(b, len);
	add(b, value, len);
}

static enum proxy_verdict parse_exact(const uint8_t *data, size_t len, struct proxy_header *ret_h,
                                      const char **ret_why)
{
	uint8_t *copy = malloc(len ? len : 1);
	enum proxy_verdict verdict;

	assert_non_null(copy);
	if (len > 0)
		memcpy(copy, data, len);
	verdict = proxy_protocol_parse(len ? copy : copy + 1, len, ret_h, ret_why);
	free(copy);
	return verdict;
}

/* The whole is OK, every beginning of it wants more, and what follows it does not matter. */
static struct proxy_header expect_ok(const void *data, size_t len)
{
	struct proxy_header h, longer;
	const char *why = "";
	uint8_t *more = malloc(len + 3);

	assert_non_null(more);
	if (parse_exact(data, len, &h, &why) != PROXY_OK)
		fail_msg("refused: %s", why);
	assert_int_equal(h.length, len);
	for (size_t n = 0; n < len; n++)
		assert_int_equal(parse_exact(data, n, &longer, &why), PROXY_MORE);
	memcpy(more, data, len);
	memcpy(more + len, (uint8_t[]){'\r', '\n', 'X'}, 3);
	assert_int_equal(parse_exact(more, len + 3, &longer, &why), PROXY_OK);
	assert_int_equal(longer.length, len);
	free(more);
	return h;
}

/* BAD as soon as the first len bytes are there, not before, and whatever follows; with a reason
 * that says so. */
static void expect_bad(const void *data, size_t len, const char *reason)
{
	struct proxy_header h = {.length = 77};
	const char *why = "";
	uint8_t *more = malloc(len + 2);

	assert_non_null(more);
	if (parse_exact(data, len - 1, &h, &why) != PROXY_MORE)
		fail_msg("one byte early: %s", why);
	if (parse_exact(data, len, &h, &why) != PROXY_BAD)
		fail_msg("not refused; wanted: %s", reason);
	if (!strstr(why, reason))
		fail_msg("\"%s\", wanted: %s", why, reason);
	memcpy(more, data, len);
	memcpy(more + len, (uint8_t[]){'\r', '\n'}, 2);
	assert_int_equal(parse_exact(more, len + 2, &h, &why), PROXY_BAD);
	assert_non_null(strstr(why, reason));
	assert_int_equal(h.length, 77); /* written only on success */
	free(more);
}

static void expect_endpoints(const struct proxy_header *h, const char *src, const char *dst)
{
	char buf[ENDPOINT_TEXT_MAX];

	assert_false(h->local);
	assert_string_equal(endpoint_format(&h->src, buf), src);
	assert_string_equal(endpoint_format(&h->dst, buf), dst);
}

static void v1_addresses(void **state)
{
	static const struct {
		const char *line, *src, *dst;
	} rows[] = {
		{"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n", "192.0.2.1:1234",
	         "198.51.100.2:443"},
		{"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
	         "255.255.255.255:65535", "255.255.255.255:65535"},
		{"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0", "0.0.0.0:0"},
		{"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "[2001:db8::1]:1", "[::1]:2"},
		{"PROXY TCP6 2001:0DB8:0:0:0:0:0:1 :: 1 2\r\n", "[2001:db8::1]:1", "[::]:2"},
		{"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6402 1 2\r\n", "192.0.2.1:1",
	         "198.51.100.2:2"},
		{"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
	         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
	         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct proxy_header h = expect_ok(rows[i].line, strlen(rows[i].line));

		assert_int_equal(h.version, 1);
		expect_endpoints(&h, rows[i].src, rows[i].dst);
	}
}

static void v1_unknown_is_local(void **state)
{
	static const char *const rows[] = {
		"PROXY UNKNOWN\r\n", "PROXY UNKNOWN \r\n",
		"PROXY UNKNOWN what \r ever \n it says\r\r\n",
		("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"), /* 107 bytes */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct proxy_header h = expect_ok(rows[i], strlen(rows[i]));

		assert_int_equal(h.version, 1);
		assert_true(h.local);
	}
}

/* Each row ends with the byte that makes it bad. */
static void v1_refused(void **state)
{
	static const struct {
		const char *line, *why;
	} rows[] = {
		{"G", "not a PROXY"},
		{"\x16", "not a PROXY"},
		{"p", "not a PROXY"},
		{"PO", "not a PROXY"},
		{"PROXY\t", "not a PROXY"},
		{"PROXY\r", "not a PROXY"},
		{"PROXY  ", "protocol"},
		{"PROXY t", "protocol"},
		{"PROXY UD", "protocol"},
		{"PROXY TCP5", "protocol"},
		{"PROXY TCP\r", "protocol"},
		{"PROXY TCP4\r", "protocol"},
		{"PROXY TCP46", "protocol"},
		{"PROXY UNKNOWN\n", "protocol"},
		{"PROXY UNKNOWNS", "protocol"},
		{"PROXY UNKNOWN\r\r", "CRLF"},
		{"PROXY TCP4  ", "source address"},
		{"PROXY TCP4 192.0.2.01 ", "source address"},
		{"PROXY TCP4 192.0.2.256 ", "source address"},
		{"PROXY TCP4 192.0.2 ", "source address"},
		{"PROXY TCP4 192.0.2.1\t", "source address"},
		{"PROXY TCP4 192.0.2.1\r", "source address"},
		{"PROXY TCP4 ::ffff:192.0.2.1 ", "source address"},
		{"PROXY TCP6 192.0.2.1 ", "source address"},
		{"PROXY TCP6 [", "source address"},
		{"PROXY TCP6 fe80::1%", "source address"},
		{"PROXY TCP6 2001:db8::1::2 ", "source address"},
		{"PROXY TCP6 0000000000000000000000000000000000000000000000", "source address"},
		{"PROXY TCP4 192.0.2.1 \r", "destination address"},
		{"PROXY TCP4 192.0.2.1 2001:db8::1 ", "destination address"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2  ", "source port"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 65536 ", "source port"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 4294967297 ", "source port"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 080 ", "source port"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 00 ", "source port"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 -", "source port"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 +", "source port"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 0x", "source port"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 1\r", "source port"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 1 \r", "destination port"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", "destination port"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 ", "destination port"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r", "destination port"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r", "CRLF"},
		{"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rG", "CRLF"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		expect_bad(rows[i].line, strlen(rows[i].line), rows[i].why);
	/* A zero byte is not the end of anything. */
	expect_bad("PROXY TCP4 192.0.2.1\0", 21, "source address");
	expect_bad("PROXY\0", 6, "not a PROXY");
}

static void v1_line_has_a_limit(void **state)
{
	char line[200] = "PROXY UNKNOWN ";

	(void)state;
	memset(line + 14, 'x', sizeof(line) - 14);
	expect_bad(line, 107, "107 bytes");
	line[105] = '\r'; /* CRLF just inside, then just outside */
	line[106] = '\n';
	expect_ok(line, 107);
	line[105] = 'x';
	line[106] = '\r';
	line[107] = '\n';
	expect_bad(line, 107, "107 bytes");
	/* Two of the longest texts for an address fit a field, but not the line. */
	memset(line, 0, sizeof(line));
	strcpy(line, "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255 "
	             "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255 65535 65535\r\n");
	expect_bad(line, 107, "107 bytes");
}

static void v2_addresses(void **state)
{
	struct bytes v4 = v2_inet(0), v6 = v2_inet6(0);
	struct proxy_header h = expect_ok(v4.data, v4.len);

	(void)state;
	assert_int_equal(h.version, 2);
	expect_endpoints(&h, "192.0.2.1:1234", "198.51.100.2:443");
	h = expect_ok(v6.data, v6.len);
	assert_int_equal(h.version, 2);
	expect_endpoints(&h, "[2001:db8::1]:65535", "[2001:db8::2]:0");
}

static void v2_unwraps_mapped_addresses(void **state)
{
	struct bytes b = v2_begin(0x21, 0x21, 36);
	struct proxy_header h;

	(void)state;
	add(&b, (uint8_t[16]){[10] = 0xff, 0xff, 192, 0, 2, 1}, 16);
	add(&b, (uint8_t[16]){[10] = 0xff, 0xff, 192, 0, 2, 2}, 16);
	add16(&b, 1);
	add16(&b, 2);
	h = expect_ok(b.data, b.len);
	expect_endpoints(&h, "192.0.2.1:1", "192.0.2.2:2");
}

static void v2_without_addresses_is_local(void **state)
{
	static const struct {
		unsigned ver_cmd, family, bytes;
	} rows[] = {
		{0x20, 0x00, 0},  {0x20, 0x00, 9}, /* LOCAL, also with a block that makes no sense
	                                            */
		{0x20, 0x11, 0},  {0x20, 0x11, 3}, {0x20, 0x22, 1},   {0x20, 0xff, 5},
		{0x21, 0x00, 0},  {0x21, 0x00, 2}, {0x21, 0x01, 0},   {0x21, 0x10, 4},
		{0x21, 0x20, 36}, {0x21, 0x30, 0}, {0x21, 0x31, 216},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct bytes b = v2_begin(rows[i].ver_cmd, rows[i].family, rows[i].bytes);
		struct proxy_header h;

		for (unsigned k = 0; k < rows[i].bytes; k++)
			add(&b, "/", 1);
		h = expect_ok(b.data, b.len);
		assert_int_equal(h.version, 2);
		assert_true(h.local);
	}
}

static void v2_fixed_part_refused(void **state)
{
	static const struct {
		unsigned ver_cmd, family, announced;
		size_t bad_at;
		const char *why;
	} rows[] = {
		{0x11, 0x11, 12, 13, "version is not 2"},
		{0x31, 0x11, 12, 13, "version is not 2"},
		{0x00, 0x00, 0, 13, "version is not 2"},
		{0x22, 0x11, 12, 13, "command"},
		{0x2f, 0x11, 12, 13, "command"},
		{0x21, 0x41, 12, 14, "address family"},
		{0x21, 0xf0, 12, 14, "address family"},
		{0x21, 0x13, 12, 14, "transport is unknown"},
		{0x21, 0x0f, 12, 14, "transport is unknown"},
		{0x21, 0x12, 12, 14, "DGRAM"},
		{0x21, 0x22, 36, 14, "DGRAM"},
		{0x21, 0x32, 216, 14, "DGRAM"},
		{0x21, 0x02, 0, 14, "DGRAM"},
		{0x21, 0x11, 0, 16, "shorter than its addresses"},
		{0x21, 0x11, 11, 16, "shorter than its addresses"},
		{0x21, 0x21, 12, 16, "shorter than its addresses"},
		{0x21, 0x21, 35, 16, "shorter than its addresses"},
		{0x21, 0x31, 215, 16, "shorter than its addresses"},
		{0x21, 0x11, PROXY_HEADER_MAX - 15, 16, "PROXY_HEADER_MAX"},
		{0x21, 0x11, 65535, 16, "PROXY_HEADER_MAX"},
		{0x20, 0x00, 65535, 16, "PROXY_HEADER_MAX"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct bytes b = v2_begin(rows[i].ver_cmd, rows[i].family, rows[i].announced);

		expect_bad(b.data, rows[i].bad_at, rows[i].why);
	}
}

static void v2_signature_refused(void **state)
{
	struct bytes good = v2_inet(0);

	(void)state;
	for (size_t i = 0; i < 12; i++) {
		struct bytes b = good;

		b.data[i] ^= 0x40;
		if (b.data[i] != 'P') /* else it begins as version 1 */
			expect_bad(b.data, i + 1, "not a PROXY");
	}
}

static void v2_longest_header(void **state)
{
	static const uint8_t padding[PROXY_HEADER_MAX];
	unsigned value = PROXY_HEADER_MAX - 28 - 3;
	struct bytes b = v2_inet(value + 3);
	struct proxy_header h;

	(void)state;
	add_tlv(&b, 0x04, value, padding);
	assert_int_equal(b.len, PROXY_HEADER_MAX);
	h = expect_ok(b.data, b.len);
	expect_endpoints(&h, "192.0.2.1:1234", "198.51.100.2:443");
}

static void v2_tlvs_are_skipped(void **state)
{
	struct bytes b = v2_inet(4 * 3 + 5 + 4 + 1);
	struct proxy_header h;

	(void)state;
	add_tlv(&b, 0x02, 5, "a.b.c");
	add_tlv(&b, 0x04, 0, "");
	add_tlv(&b, 0xea, 4, "\3\0\4x"); /* looks like a checksum, but is a value */
	add_tlv(&b, 0xff, 1, "");
	h = expect_ok(b.data, b.len);
	expect_endpoints(&h, "192.0.2.1:1234", "198.51.100.2:443");
}

static void v2_tlvs_refused(void **state)
{
	struct bytes one = v2_inet(1), two = v2_inet(2), beyond = v2_inet(4), second = v2_inet(6);
	struct bytes local = v2_begin(0x21, 0x31, 217);

	(void)state;
	add(&one, "\4", 1);
	expect_bad(one.data, one.len, "cut short");
	add(&two, "\4\0", 2);
	expect_bad(two.data, two.len, "cut short");
	add(&beyond, "\4\0\2x", 4);
	expect_bad(beyond.data, beyond.len, "longer than the header");
	add_tlv(&second, 4, 0, "");
	add(&second, "\4\xff\xff", 3);
	expect_bad(second.data, second.len, "longer than the header");
	for (int i = 0; i < 217; i++) /* after UNIX addresses too */
		add(&local, "/", 1);
	expect_bad(local.data, local.len, "cut short");
}

/* The two checksums come from another implementation. */
static void v2_checksum(void **state)
{
	struct bytes v4 = v2_inet(7), v6 = v2_inet6(4 + 7 + 5);
	struct proxy_header h;

	(void)state;
	add_tlv(&v4, 0x03, 4, (uint8_t[]){0x3f, 0x39, 0x34, 0x85});
	h = expect_ok(v4.data, v4.len);
	expect_endpoints(&h, "192.0.2.1:1234", "198.51.100.2:443");

	add_tlv(&v6, 0x04, 1, "x");
	add_tlv(&v6, 0x03, 4, (uint8_t[]){0x61, 0xda, 0x01, 0xb6});
	add_tlv(&v6, 0x05, 2, "id");
	h = expect_ok(v6.data, v6.len);
	expect_endpoints(&h, "[2001:db8::1]:65535", "[2001:db8::2]:0");

	/* Any byte behind the length counts, also those after the checksum. */
	for (size_t i = 16; i < v6.len; i++) {
		struct bytes b = v6;
		bool is_tlv_frame = (i >= 52 && i < 55) || (i >= 56 && i < 59) ||
		                    (i >= 63 && i < 66);

		b.data[i] ^= 1;
		if (!is_tlv_frame)
			expect_bad(b.data, b.len, "CRC32C does not match");
	}
}

static void v2_checksum_refused(void **state)
{
	struct bytes shorter = v2_inet(6), longer = v2_inet(8), twice = v2_inet(14);

	(void)state;
	add_tlv(&shorter, 0x03, 3, "abc");
	expect_bad(shorter.data, shorter.len, "not of 4 bytes");
	add_tlv(&longer, 0x03, 5, "abcde");
	expect_bad(longer.data, longer.len, "not of 4 bytes");
	add_tlv(&twice, 0x03, 4, "abcd");
	add_tlv(&twice, 0x03, 4, "abcd");
	expect_bad(twice.data, twice.len, "two CRC32C");
}

static struct endpoint endpoint_of(const char *text)
{
	struct endpoint e;

	if (endpoint_parse(text, true, &e) < 0)
		fail_msg("not an endpoint: %s", text);
	return e;
}

static void write_and_read_back(void **state)
{
	static const struct {
		const char *src, *dst, *line;
	} rows[] = {
		{"192.0.2.1:1234", "198.51.100.2:443",
	         "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n"},
		{"0.0.0.0:0", "255.255.255.255:65535",
	         "PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n"},
		{"[2001:db8::1]:1", "[::]:2", "PROXY TCP6 2001:db8::1 :: 1 2\r\n"},
		{"192.0.2.1:1", "[2001:db8::1]:2",
	         "PROXY TCP6 ::ffff:c000:201 2001:db8::1 1 2\r\n"},
		{"[2001:db8::1]:1", "192.0.2.1:2",
	         "PROXY TCP6 2001:db8::1 ::ffff:c000:201 1 2\r\n"},
		{"[::192.0.2.1]:1", "[::1]:2", "PROXY TCP6 ::c000:201 ::1 1 2\r\n"},
		{"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
	         "[fff0:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
	         "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	         "fff0:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct endpoint src = endpoint_of(rows[i].src), dst = endpoint_of(rows[i].dst);
		uint8_t buf[PROXY_HEADER_WRITE_MAX];
		struct proxy_header h;
		size_t len;

		for (unsigned version = 1; version <= 2; version++) {
			len = proxy_protocol_write(version, &src, &dst, buf);
			h = expect_ok(buf, len);
			assert_int_equal(h.version, version);
			assert_true(endpoint_equal(&h.src, &src));
			assert_true(endpoint_equal(&h.dst, &dst));
		}
		len = proxy_protocol_write(1, &src, &dst, buf);
		assert_int_equal(len, strlen(rows[i].line));
		assert_memory_equal(buf, rows[i].line, len);
	}
}

static void write_v2_bytes(void **state)
{
	struct endpoint v4 = endpoint_of("192.0.2.1:1234"), v4_to = endpoint_of("198.51.100.2:443");
	struct endpoint v6 = endpoint_of("[2001:db8::1]:65535"),
			v6_to = endpoint_of("[2001:db8::2]:0");
	struct bytes want_v4 = v2_inet(0), want_v6 = v2_inet6(0);
	uint8_t buf[PROXY_HEADER_WRITE_MAX];

	(void)state;
	assert_int_equal(proxy_protocol_write(2, &v4, &v4_to, buf), 28);
	assert_memory_equal(buf, want_v4.data, 28);
	assert_int_equal(proxy_protocol_write(2, &v6, &v6_to, buf), 52);
	assert_memory_equal(buf, want_v6.data, 52);
	assert_int_equal(proxy_protocol_write(2, &v4, &v6_to, buf), 52);
	assert_memory_equal(buf + 16,
	                    ((uint8_t[]){0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1}),
	                    16);
}

static void write_local(void **state)
{
	uint8_t buf[PROXY_HEADER_WRITE_MAX];

	(void)state;
	for (unsigned version = 1; version <= 2; version++) {
		size_t len = proxy_protocol_write_local(version, buf);
		struct proxy_header h;
		const char *why;

		assert_int_equal(proxy_protocol_parse(buf, len, &h, &why), PROXY_OK);
		assert_int_equal(h.length, len);
		assert_int_equal(h.version, version);
		assert_true(h.local);
	}
}

static void nothing_yet(void **state)
{
	struct proxy_header h;
	const char *why;

	(void)state;
	assert_int_equal(proxy_protocol_parse(NULL, 0, &h, &why), PROXY_MORE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v1_addresses),
		cmocka_unit_test(v1_unknown_is_local),
		cmocka_unit_test(v1_refused),
		cmocka_unit_test(v1_line_has_a_limit),
		cmocka_unit_test(v2_addresses),
		cmocka_unit_test(v2_unwraps_mapped_addresses),
		cmocka_unit_test(v2_without_addresses_is_local),
		cmocka_unit_test(v2_fixed_part_refused),
		cmocka_unit_test(v2_signature_refused),
		cmocka_unit_test(v2_longest_header),
		cmocka_unit_test(v2_tlvs_are_skipped),
		cmocka_unit_test(v2_tlvs_refused),
		cmocka_unit_test(v2_checksum),
		cmocka_unit_test(v2_checksum_refused),
		cmocka_unit_test(write_and_read_back),
		cmocka_unit_test(write_v2_bytes),
		cmocka_unit_test(write_local),
		cmocka_unit_test(nothing_yet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
