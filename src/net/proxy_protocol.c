/* The PROXY protocol: how a proxy in front of us says who its client is, and how we say it to a
 * backend. The reader is the first code that touches bytes from the network, so it trusts nothing:
 * it is only ever called for peers that the operator trusts, but a trusted peer may forward what an
 * attacker sent, when it was not set up to speak this protocol.
 *
 * The verdict depends on the bytes of the stream and never on how they arrive: what is BAD is BAD
 * as soon as the byte that makes it so is there, and stays so; what is OK was MORE one byte before.
 * So a caller may ask after each read and hang up early on a peer that does not speak PROXY at all.
 *
 * Version 1 is read strictly, as its specification asks: one space, no leading zero, nothing but
 * CRLF at the end. One thing is read that it leaves out: an IPv6 address may end in dotted IPv4
 * ("::ffff:192.0.2.1"), because senders that print with inet_ntop() write it so.
 *
 * Version 2: where no address is to be had (LOCAL, or an unspecified family or transport) the whole
 * block is skipped unread, as the specification asks, so a checksum in there is not looked at.
 * Otherwise the TLVs must fill the block exactly. They are walked for the checksum alone.
 *
 * Nothing here allocates, keeps state between calls or reads beyond len. */
#include "net/proxy_protocol.h"

#include "net/decimal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define V1_MAX 107
#define V1_FIELD_MAX (IP_TEXT_MAX - 1)

#define V2_FIXED 16 /* bytes before the addresses */
#define V2_VERSION 2
#define TLV_FIXED 3
#define TLV_CRC32C 0x03
#define CRC32C_BYTES 4
#define CRC32C_POLYNOMIAL 0x82f63b78u /* Castagnoli, bits reversed (RFC 4960, appendix B) */

enum v2_command { V2_LOCAL, V2_PROXY };
enum v2_family { V2_UNSPEC, V2_INET, V2_INET6, V2_UNIX };
enum v2_transport { V2_ANY, V2_STREAM, V2_DGRAM };

/* Two addresses, and two ports where there are any. */
static const size_t v2_address_bytes[] = {
	[V2_INET] = 2 * (4 + 2),
	[V2_INET6] = 2 * (16 + 2),
	[V2_UNIX] = 2 * 108,
};

static const uint8_t v2_signature[12] = {'\r', '\n', '\r', '\n', '\0', '\r',
                                         '\n', 'Q',  'U',  'I',  'T',  '\n'};

static const char not_proxy[] = "not a PROXY protocol header";
static const char v1_protocol[] = "version 1 protocol is not TCP4, TCP6 or UNKNOWN";
static const char v1_end[] = "version 1 line does not end in CRLF";

static unsigned load16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static void store16(uint8_t *p, unsigned n)
{
	p[0] = (uint8_t)(n >> 8);
	p[1] = (uint8_t)n;
}

/* Version 1: each step reads its part of the line, or does nothing once an earlier one has not
 * ended in OK. */
struct v1_reader {
	const uint8_t *data;
	size_t len; /* never beyond V1_MAX */
	size_t at;
	enum proxy_verdict verdict;
	const char *why;
};

static void v1_bad(struct v1_reader *r, const char *why)
{
	r->verdict = PROXY_BAD;
	r->why = why;
}

/* The bytes end here: more may come, unless the line has reached its limit. */
static void v1_out_of_bytes(struct v1_reader *r)
{
	r->verdict = PROXY_MORE;
	if (r->len == V1_MAX)
		v1_bad(r, "version 1 line longer than 107 bytes");
}

static void v1_literal(struct v1_reader *r, const char *literal, const char *why)
{
	for (; *literal && r->verdict == PROXY_OK; literal++) {
		if (r->at == r->len)
			v1_out_of_bytes(r);
		else if (r->data[r->at++] != (uint8_t)*literal)
			v1_bad(r, why);
	}
}

/* One of two bytes; the byte read. */
static char v1_either(struct v1_reader *r, char a, char b, const char *why)
{
	char c = 0;

	if (r->verdict != PROXY_OK)
		return c;
	if (r->at == r->len) {
		v1_out_of_bytes(r);
		return c;
	}
	c = (char)r->data[r->at++];
	if (c != a && c != b)
		v1_bad(r, why);
	return c;
}

/* What an address or a port may consist of; not isxdigit(), which asks the locale. */
static bool v1_field_byte(uint8_t c)
{
	return c == '.' || c == ':' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ||
	       (c >= 'A' && c <= 'F');
}

/* The text up to the byte end, which is read too. */
static void v1_field(struct v1_reader *r, char end, char text[V1_FIELD_MAX + 1], const char *why)
{
	size_t n = 0;

	while (r->verdict == PROXY_OK) {
		uint8_t c;

		if (r->at == r->len) {
			v1_out_of_bytes(r);
			return;
		}
		c = r->data[r->at++];
		if (c == (uint8_t)end)
			break;
		if (n == V1_FIELD_MAX || !v1_field_byte(c))
			v1_bad(r, why);
		else
			text[n++] = (char)c;
	}
	text[n] = '\0';
}

static void v1_address(struct v1_reader *r, bool v6, struct ip *ret_ip, const char *why)
{
	char text[V1_FIELD_MAX + 1];

	v1_field(r, ' ', text, why);
	if (r->verdict != PROXY_OK)
		return;
	if (v6 != (strchr(text, ':') != NULL) || ip_parse(text, ret_ip) < 0)
		v1_bad(r, why);
}

static void v1_port(struct v1_reader *r, char end, uint16_t *ret_port, const char *why)
{
	char text[V1_FIELD_MAX + 1];
	unsigned port;

	v1_field(r, end, text, why);
	if (r->verdict != PROXY_OK)
		return;
	if (decimal_parse(text, UINT16_MAX, &port) < 0)
		v1_bad(r, why);
	else
		*ret_port = (uint16_t)port;
}

/* "UNKNOWN" may be followed by anything, up to the first CRLF. */
static void v1_unknown(struct v1_reader *r)
{
	v1_literal(r, "UNKNOWN", v1_protocol);
	if (v1_either(r, ' ', '\r', v1_protocol) == '\r') {
		v1_literal(r, "\n", v1_end);
		return;
	}
	while (r->verdict == PROXY_OK &&
	       !(r->data[r->at - 2] == '\r' && r->data[r->at - 1] == '\n'))
		if (r->at == r->len)
			v1_out_of_bytes(r);
		else
			r->at++;
}

static enum proxy_verdict v1_parse(const uint8_t *data, size_t len, struct proxy_header *ret_header,
                                   const char **ret_why)
{
	struct v1_reader r = {
		.data = data, .len = len < V1_MAX ? len : V1_MAX, .verdict = PROXY_OK};
	struct proxy_header h = {.version = 1};

	v1_literal(&r, "PROXY ", not_proxy);
	if (r.verdict == PROXY_OK && r.at < r.len && data[r.at] == 'U') {
		h.local = true;
		v1_unknown(&r);
	} else {
		bool v6;

		v1_literal(&r, "TCP", v1_protocol);
		v6 = v1_either(&r, '4', '6', v1_protocol) == '6';
		v1_literal(&r, " ", v1_protocol);
		v1_address(&r, v6, &h.src.ip, "version 1 source address is malformed");
		v1_address(&r, v6, &h.dst.ip, "version 1 destination address is malformed");
		v1_port(&r, ' ', &h.src.port, "version 1 source port is malformed");
		v1_port(&r, '\r', &h.dst.port, "version 1 destination port is malformed");
		v1_literal(&r, "\n", v1_end);
	}
	if (r.verdict == PROXY_OK) {
		h.length = r.at;
		*ret_header = h;
	} else if (r.verdict == PROXY_BAD) {
		*ret_why = r.why;
	}
	return r.verdict;
}

/* Bit by bit: a header is some dozen bytes long, and a table would cost more cache than time. */
static uint32_t crc32c_add(uint32_t crc, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
	}
	return crc;
}

/* The checksum of a header is made with its own field zeroed. */
static uint32_t header_crc32c(const uint8_t *data, size_t len, size_t field)
{
	static const uint8_t zero[CRC32C_BYTES];
	uint32_t crc = crc32c_add(UINT32_MAX, data, field);

	crc = crc32c_add(crc, zero, CRC32C_BYTES);
	field += CRC32C_BYTES;
	return ~crc32c_add(crc, data + field, len - field);
}

/* The TLVs from at to the end of the header: what is wrong with them, or NULL. */
static const char *v2_check_tlvs(const uint8_t *data, size_t at, size_t end)
{
	size_t crc_at = 0;

	while (at < end) {
		size_t len;

		if (end - at < TLV_FIXED)
			return "version 2 TLV is cut short";
		len = load16(data + at + 1);
		if (len > end - at - TLV_FIXED)
			return "version 2 TLV is longer than the header";
		if (data[at] == TLV_CRC32C) {
			if (crc_at != 0)
				return "version 2 header has two CRC32C TLVs";
			if (len != CRC32C_BYTES)
				return "version 2 CRC32C TLV is not of 4 bytes";
			crc_at = at + TLV_FIXED;
		}
		at += TLV_FIXED + len;
	}
	if (crc_at != 0) {
		uint32_t want = (uint32_t)load16(data + crc_at) << 16 | load16(data + crc_at + 2);

		if (header_crc32c(data, end, crc_at) != want)
			return "version 2 CRC32C does not match";
	}
	return NULL;
}

static void v2_read_addresses(const uint8_t *p, enum v2_family family, struct proxy_header *h)
{
	if (family == V2_INET) {
		h->src.ip = ip_from_v4(p);
		h->dst.ip = ip_from_v4(p + 4);
		p += 8;
	} else {
		memcpy(h->src.ip.b, p, 16);
		memcpy(h->dst.ip.b, p + 16, 16);
		p += 32;
	}
	h->src.port = (uint16_t)load16(p);
	h->dst.port = (uint16_t)load16(p + 2);
}

/* The fixed part, as far as it is there: what is wrong with it, or NULL. */
static const char *v2_check_fixed(const uint8_t *data, size_t len)
{
	if (memcmp(data, v2_signature, len < sizeof(v2_signature) ? len : sizeof(v2_signature)) !=
	    0)
		return not_proxy;
	if (len > 12) {
		if (data[12] >> 4 != V2_VERSION)
			return "version is not 2";
		if ((data[12] & 0x0f) > V2_PROXY)
			return "version 2 command is not LOCAL or PROXY";
	}
	/* A LOCAL header's family is to be ignored, whatever it is. */
	if (len > 13 && (data[12] & 0x0f) == V2_PROXY) {
		if (data[13] >> 4 > V2_UNIX)
			return "version 2 address family is unknown";
		if ((data[13] & 0x0f) > V2_DGRAM)
			return "version 2 transport is unknown";
		if ((data[13] & 0x0f) == V2_DGRAM)
			return "version 2 transport is DGRAM, on a TCP connection";
	}
	if (len >= V2_FIXED && V2_FIXED + load16(data + 14) > PROXY_HEADER_MAX)
		return "version 2 header is longer than PROXY_HEADER_MAX";
	return NULL;
}

static enum proxy_verdict v2_parse(const uint8_t *data, size_t len, struct proxy_header *ret_header,
                                   const char **ret_why)
{
	struct proxy_header h = {.version = 2};
	const char *why = v2_check_fixed(data, len);
	enum v2_family family;
	bool skip;

	if (why) {
		*ret_why = why;
		return PROXY_BAD;
	}
	if (len < V2_FIXED)
		return PROXY_MORE;
	h.length = V2_FIXED + load16(data + 14);
	family = data[13] >> 4;
	skip = (data[12] & 0x0f) == V2_LOCAL || family == V2_UNSPEC || (data[13] & 0x0f) == V2_ANY;
	h.local = skip || family == V2_UNIX;
	if (!skip && h.length < V2_FIXED + v2_address_bytes[family]) {
		*ret_why = "version 2 header is shorter than its addresses";
		return PROXY_BAD;
	}
	if (len < h.length)
		return PROXY_MORE;
	if (!skip)
		why = v2_check_tlvs(data, V2_FIXED + v2_address_bytes[family], h.length);
	if (why) {
		*ret_why = why;
		return PROXY_BAD;
	}
	if (!h.local)
		v2_read_addresses(data + V2_FIXED, family, &h);
	*ret_header = h;
	return PROXY_OK;
}

enum proxy_verdict proxy_protocol_parse(const uint8_t *data, size_t len,
                                        struct proxy_header *ret_header, const char **ret_why)
{
	if (len == 0)
		return PROXY_MORE;
	if (data[0] == 'P')
		return v1_parse(data, len, ret_header, ret_why);
	return v2_parse(data, len, ret_header, ret_why);
}

/* The specification's IPv6 has hexadecimal groups alone, so the dotted end that inet_ntop() gives
 * to some addresses is rewritten. */
static void v1_format_v6(const struct ip *ip, char buf[IP_TEXT_MAX])
{
	CHECK(inet_ntop(AF_INET6, ip->b, buf, IP_TEXT_MAX));
	if (strchr(buf, '.')) {
		char *end = strrchr(buf, ':') + 1;

		snprintf(end, IP_TEXT_MAX - (size_t)(end - buf), "%x:%x", load16(ip->b + 12),
		         load16(ip->b + 14));
	}
}

static size_t v1_write(const struct endpoint *src, const struct endpoint *dst, bool v4,
                       uint8_t buf[PROXY_HEADER_WRITE_MAX])
{
	char from[IP_TEXT_MAX], to[IP_TEXT_MAX];
	int len;

	if (v4) {
		ip_format(&src->ip, from);
		ip_format(&dst->ip, to);
	} else {
		v1_format_v6(&src->ip, from);
		v1_format_v6(&dst->ip, to);
	}
	len = snprintf((char *)buf, PROXY_HEADER_WRITE_MAX, "PROXY %s %s %s %u %u\r\n",
	               v4 ? "TCP4" : "TCP6", from, to, src->port, dst->port);
	CHECK(len > 0 && len <= V1_MAX);
	return (size_t)len;
}

static size_t v2_write(const struct endpoint *src, const struct endpoint *dst, bool v4,
                       uint8_t buf[PROXY_HEADER_WRITE_MAX])
{
	enum v2_family family = v4 ? V2_INET : V2_INET6;
	size_t ip_bytes = v4 ? 4 : 16;
	uint8_t *p = buf + V2_FIXED;

	memcpy(buf, v2_signature, sizeof(v2_signature));
	buf[12] = V2_VERSION << 4 | V2_PROXY;
	buf[13] = (uint8_t)(family << 4 | V2_STREAM);
	store16(buf + 14, (unsigned)v2_address_bytes[family]);
	/* An IPv4 address is the end of its mapped form. */
	memcpy(p, src->ip.b + 16 - ip_bytes, ip_bytes);
	memcpy(p + ip_bytes, dst->ip.b + 16 - ip_bytes, ip_bytes);
	p += 2 * ip_bytes;
	store16(p, src->port);
	store16(p + 2, dst->port);
	return V2_FIXED + v2_address_bytes[family];
}

size_t proxy_protocol_write(unsigned version, const struct endpoint *src,
                            const struct endpoint *dst, uint8_t buf[PROXY_HEADER_WRITE_MAX])
{
	bool v4 = ip_is_v4(&src->ip) && ip_is_v4(&dst->ip);

	CHECK(version == 1 || version == 2);
	return version == 1 ? v1_write(src, dst, v4, buf) : v2_write(src, dst, v4, buf);
}

size_t proxy_protocol_write_local(unsigned version, uint8_t buf[PROXY_HEADER_WRITE_MAX])
{
	static const char v1[] = "PROXY UNKNOWN\r\n";

	CHECK(version == 1 || version == 2);
	if (version == 1) {
		memcpy(buf, v1, sizeof(v1) - 1);
		return sizeof(v1) - 1;
	}
	memset(buf, 0, V2_FIXED); /* command LOCAL, no family, no addresses */
	memcpy(buf, v2_signature, sizeof(v2_signature));
	buf[sizeof(v2_signature)] = V2_VERSION << 4;
	return V2_FIXED;
}
