/* IP addresses and endpoints. An IPv4 address is held in its v4-mapped form (RFC 4291, 2.5.5.2), so
 * one type, one comparison and one hash serve both families. Values; any thread. */
#ifndef NET_ADDR_H
#define NET_ADDR_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct ip {
	uint8_t b[16]; /* network byte order */
};

struct endpoint {
	struct ip ip;
	uint16_t port; /* host byte order */
};

#define IP_TEXT_MAX 46       /* INET6_ADDRSTRLEN */
#define ENDPOINT_TEXT_MAX 56 /* "[" address "]:65535" and the end */

bool ip_is_v4(const struct ip *ip);
bool ip_equal(const struct ip *a, const struct ip *b);
bool ip_is_unspecified(const struct ip *ip);
bool ip_is_multicast(const struct ip *ip);
/* From 4 bytes in network order. */
struct ip ip_from_v4(const uint8_t bytes[4]);

/* "192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1" (unwrapped). No brackets, no scope, no spaces.
 * 0 or -EINVAL. */
MUST_CHECK int ip_parse(const char *text, struct ip *ret_ip);
/* Writes at most IP_TEXT_MAX bytes and returns buf. */
char *ip_format(const struct ip *ip, char buf[IP_TEXT_MAX]);
/* Zeroes all but the first v4_bits (0..32) or v6_bits (0..128) bits, by family. */
struct ip ip_masked(const struct ip *ip, unsigned v4_bits, unsigned v6_bits);

/* "192.0.2.1:80", "[2001:db8::1]:80", ":80" (all addresses, IPv6 and IPv4). Port 1..65535, or 0
 * where allow_port_0. 0 or -EINVAL. */
MUST_CHECK int endpoint_parse(const char *text, bool allow_port_0, struct endpoint *ret_endpoint);
char *endpoint_format(const struct endpoint *e, char buf[ENDPOINT_TEXT_MAX]);
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);

/* To and from the kernel's form. An IPv4 endpoint becomes AF_INET. -EAFNOSUPPORT for a family that
 * is neither. */
socklen_t endpoint_to_sockaddr(const struct endpoint *e, struct sockaddr_storage *ret_sa);
MUST_CHECK int endpoint_from_sockaddr(const struct sockaddr *sa, struct endpoint *ret_endpoint);

#endif
