/* Addresses: text, the kernel's sockaddr and the 16 bytes that the rest of the program compares.
 *
 * An IPv4 address lives in ::ffff:0:0/96. That is more than a convenience: on a socket that takes
 * both families the kernel hands out IPv4 peers in that form, and a client must be the same client
 * whichever socket it came through. So wrapped and plain IPv4 are one value from here on.
 *
 * Text may come from anywhere and is read strictly: the C library accepts no octal, no shorthand
 * such as "10.1" and no scope in inet_pton(), and what surrounds the address is checked here.
 * A scope id is dropped on the way in from the kernel: link-local addresses route nothing here.
 *
 * Nothing here resolves names, allocates or depends on a locale. */
#include "net/addr.h"

#include "net/decimal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#define V4_OFFSET 12 /* where the IPv4 address starts in its mapped form */

static const uint8_t v4_mapped[V4_OFFSET] = {[10] = 0xff, [11] = 0xff};

bool ip_is_v4(const struct ip *ip)
{
	return memcmp(ip->b, v4_mapped, V4_OFFSET) == 0;
}

bool ip_equal(const struct ip *a, const struct ip *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

bool ip_is_unspecified(const struct ip *ip)
{
	static const struct ip any;
	static const uint8_t any_v4[4];

	return ip_equal(ip, &any) || (ip_is_v4(ip) && memcmp(ip->b + V4_OFFSET, any_v4, 4) == 0);
}

bool ip_is_multicast(const struct ip *ip)
{
	if (ip_is_v4(ip))
		return (ip->b[V4_OFFSET] & 0xf0) == 0xe0; /* 224.0.0.0/4 */
	return ip->b[0] == 0xff;                          /* ff00::/8 */
}

struct ip ip_from_v4(const uint8_t bytes[4])
{
	struct ip ip;

	memcpy(ip.b, v4_mapped, V4_OFFSET);
	memcpy(ip.b + V4_OFFSET, bytes, 4);
	return ip;
}

int ip_parse(const char *text, struct ip *ret_ip)
{
	struct ip ip;
	uint8_t v4[4];

	if (inet_pton(AF_INET, text, v4) == 1)
		ip = ip_from_v4(v4);
	else if (inet_pton(AF_INET6, text, ip.b) != 1)
		return -EINVAL;
	*ret_ip = ip;
	return 0;
}

char *ip_format(const struct ip *ip, char buf[IP_TEXT_MAX])
{
	char *p = buf;

	if (!ip_is_v4(ip)) {
		const char *text = inet_ntop(AF_INET6, ip->b, buf, IP_TEXT_MAX);

		CHECK(text);
		return buf;
	}
	for (int i = 0; i < 4; i++) {
		if (i > 0)
			*p++ = '.';
		p = decimal_write(p, ip->b[V4_OFFSET + i]);
	}
	*p = '\0';
	return buf;
}

struct ip ip_masked(const struct ip *ip, unsigned v4_bits, unsigned v6_bits)
{
	unsigned bits = ip_is_v4(ip) ? V4_OFFSET * 8 + v4_bits : v6_bits;
	struct ip masked = *ip;

	CHECK(v4_bits <= 32 && v6_bits <= 128);
	for (unsigned i = 0; i < sizeof(masked.b); i++) {
		unsigned kept = bits > i * 8 ? bits - i * 8 : 0;

		if (kept < 8)
			masked.b[i] &= (uint8_t)(0xff00u >> kept);
	}
	return masked;
}

int endpoint_parse(const char *text, bool allow_port_0, struct endpoint *ret_endpoint)
{
	const char *colon = strrchr(text, ':');
	const char *from = text;
	struct endpoint e = {0};
	char host[IP_TEXT_MAX];
	bool brackets = *text == '[';
	unsigned port;
	size_t len;

	if (!colon || decimal_parse(colon + 1, UINT16_MAX, &port) < 0)
		return -EINVAL;
	if (port == 0 && !allow_port_0)
		return -EINVAL;
	e.port = (uint16_t)port;
	len = (size_t)(colon - text);
	if (brackets) {
		if (len < 2 || text[len - 1] != ']')
			return -EINVAL;
		from++;
		len -= 2;
	} else if (len == 0) {
		*ret_endpoint = e; /* ":80" */
		return 0;
	}
	if (len >= sizeof(host))
		return -EINVAL;
	memcpy(host, from, len);
	host[len] = '\0';
	/* Brackets hold IPv6 and only IPv6: without them "2001:db8::1:80" could be read in two
	 * ways. */
	if (brackets != (strchr(host, ':') != NULL) || ip_parse(host, &e.ip) < 0)
		return -EINVAL;
	*ret_endpoint = e;
	return 0;
}

char *endpoint_format(const struct endpoint *e, char buf[ENDPOINT_TEXT_MAX])
{
	bool bracket = !ip_is_v4(&e->ip);
	char *p = buf;

	if (bracket)
		*p++ = '[';
	ip_format(&e->ip, p);
	p += strlen(p);
	if (bracket)
		*p++ = ']';
	*p++ = ':';
	*decimal_write(p, e->port) = '\0';
	return buf;
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && ip_equal(&a->ip, &b->ip);
}

socklen_t endpoint_to_sockaddr(const struct endpoint *e, struct sockaddr_storage *ret_sa)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(e->port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(e->port)};

	memset(ret_sa, 0, sizeof(*ret_sa));
	if (ip_is_v4(&e->ip)) {
		memcpy(&v4.sin_addr, e->ip.b + V4_OFFSET, 4);
		memcpy(ret_sa, &v4, sizeof(v4));
		return sizeof(v4);
	}
	memcpy(&v6.sin6_addr, e->ip.b, sizeof(e->ip.b));
	memcpy(ret_sa, &v6, sizeof(v6));
	return sizeof(v6);
}

/* Copies before it reads: a sockaddr need not be aligned for the family it turns out to be. */
int endpoint_from_sockaddr(const struct sockaddr *sa, struct endpoint *ret_endpoint)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	switch (sa->sa_family) {
	case AF_INET:
		memcpy(&v4, sa, sizeof(v4));
		ret_endpoint->ip = ip_from_v4((const uint8_t *)&v4.sin_addr);
		ret_endpoint->port = ntohs(v4.sin_port);
		return 0;
	case AF_INET6:
		memcpy(&v6, sa, sizeof(v6));
		memcpy(ret_endpoint->ip.b, &v6.sin6_addr, sizeof(ret_endpoint->ip.b));
		ret_endpoint->port = ntohs(v6.sin6_port);
		return 0;
	default:
		return -EAFNOSUPPORT;
	}
}
