/* Special-purpose addresses: the rows of IANA's two special-purpose address registries (set up by
 * RFC 6890; updated by RFC 8190 and by the RFCs that the rows name), as of the end of 2025.
 *
 * All rows count, those that the registry calls globally reachable too: an anycast address such as
 * 192.0.0.9 answers everywhere, so it is in no country. One row is left out: ::ffff:0:0/96,
 * "IPv4-mapped Address". Here every IPv4 address is held in that form (net/addr.h) and the row
 * would match them all.
 *
 * Three rows are not of those registries, but are in no country either: multicast, which has
 * registries of its own, and the IPv4-compatible IPv6 addresses, under which an MMDB file keeps its
 * IPv4 networks, so that a database would answer for ::8.8.8.8 as for 8.8.8.8.
 *
 * Trusts its own table: a row that is not a prefix is a bug. Looks at nothing but the address. */
#include "geo/special.h"

#include <stddef.h>

static struct special_range ranges[] = {
	/* IPv4 */
	{.cidr = "0.0.0.0/8", .name = "\"This network\"", .rfc = "RFC 791"},
	{.cidr = "0.0.0.0/32", .name = "\"This host on this network\"", .rfc = "RFC 1122"},
	{.cidr = "10.0.0.0/8", .name = "Private-Use", .rfc = "RFC 1918"},
	{.cidr = "100.64.0.0/10", .name = "Shared Address Space", .rfc = "RFC 6598"},
	{.cidr = "127.0.0.0/8", .name = "Loopback", .rfc = "RFC 1122"},
	{.cidr = "169.254.0.0/16", .name = "Link Local", .rfc = "RFC 3927"},
	{.cidr = "172.16.0.0/12", .name = "Private-Use", .rfc = "RFC 1918"},
	{.cidr = "192.0.0.0/24", .name = "IETF Protocol Assignments", .rfc = "RFC 6890"},
	{.cidr = "192.0.0.0/29", .name = "IPv4 Service Continuity Prefix", .rfc = "RFC 7335"},
	{.cidr = "192.0.0.8/32", .name = "IPv4 dummy address", .rfc = "RFC 7600"},
	{.cidr = "192.0.0.9/32", .name = "Port Control Protocol Anycast", .rfc = "RFC 7723"},
	{.cidr = "192.0.0.10/32",
         .name = "Traversal Using Relays around NAT Anycast",
         .rfc = "RFC 8155"},
	{.cidr = "192.0.0.170/32", .name = "NAT64/DNS64 Discovery", .rfc = "RFC 8880"},
	{.cidr = "192.0.0.171/32", .name = "NAT64/DNS64 Discovery", .rfc = "RFC 8880"},
	{.cidr = "192.0.2.0/24", .name = "Documentation (TEST-NET-1)", .rfc = "RFC 5737"},
	{.cidr = "192.31.196.0/24", .name = "AS112-v4", .rfc = "RFC 7535"},
	{.cidr = "192.52.193.0/24", .name = "AMT", .rfc = "RFC 7450"},
	{.cidr = "192.88.99.0/24", .name = "Deprecated (6to4 Relay Anycast)", .rfc = "RFC 7526"},
	{.cidr = "192.88.99.2/32", .name = "6a44-relay anycast address", .rfc = "RFC 6751"},
	{.cidr = "192.168.0.0/16", .name = "Private-Use", .rfc = "RFC 1918"},
	{.cidr = "192.175.48.0/24", .name = "Direct Delegation AS112 Service", .rfc = "RFC 7534"},
	{.cidr = "198.18.0.0/15", .name = "Benchmarking", .rfc = "RFC 2544"},
	{.cidr = "198.51.100.0/24", .name = "Documentation (TEST-NET-2)", .rfc = "RFC 5737"},
	{.cidr = "203.0.113.0/24", .name = "Documentation (TEST-NET-3)", .rfc = "RFC 5737"},
	{.cidr = "240.0.0.0/4", .name = "Reserved", .rfc = "RFC 1112"},
	{.cidr = "255.255.255.255/32", .name = "Limited Broadcast", .rfc = "RFC 919"},

	/* IPv6 */
	{.cidr = "::1/128", .name = "Loopback Address", .rfc = "RFC 4291"},
	{.cidr = "::/128", .name = "Unspecified Address", .rfc = "RFC 4291"},
	{.cidr = "64:ff9b::/96", .name = "IPv4-IPv6 Translat.", .rfc = "RFC 6052"},
	{.cidr = "64:ff9b:1::/48", .name = "IPv4-IPv6 Translat.", .rfc = "RFC 8215"},
	{.cidr = "100::/64", .name = "Discard-Only Address Block", .rfc = "RFC 6666"},
	{.cidr = "100:0:0:1::/64", .name = "Dummy IPv6 Prefix", .rfc = "RFC 9780"},
	{.cidr = "2001::/23", .name = "IETF Protocol Assignments", .rfc = "RFC 2928"},
	{.cidr = "2001::/32", .name = "TEREDO", .rfc = "RFC 4380"},
	{.cidr = "2001:1::1/128", .name = "Port Control Protocol Anycast", .rfc = "RFC 7723"},
	{.cidr = "2001:1::2/128",
         .name = "Traversal Using Relays around NAT Anycast",
         .rfc = "RFC 8155"},
	{.cidr = "2001:1::3/128",
         .name = "DNS-SD Service Registration Protocol Anycast",
         .rfc = "RFC 9665"},
	{.cidr = "2001:2::/48", .name = "Benchmarking", .rfc = "RFC 5180"},
	{.cidr = "2001:3::/32", .name = "AMT", .rfc = "RFC 7450"},
	{.cidr = "2001:4:112::/48", .name = "AS112-v6", .rfc = "RFC 7535"},
	{.cidr = "2001:10::/28", .name = "Deprecated (previously ORCHID)", .rfc = "RFC 4843"},
	{.cidr = "2001:20::/28", .name = "ORCHIDv2", .rfc = "RFC 7343"},
	{.cidr = "2001:30::/28",
         .name = "Drone Remote ID Protocol Entity Tags (DETs) Prefix",
         .rfc = "RFC 9374"},
	{.cidr = "2001:db8::/32", .name = "Documentation", .rfc = "RFC 3849"},
	{.cidr = "2002::/16", .name = "6to4", .rfc = "RFC 3056"},
	{.cidr = "2620:4f:8000::/48", .name = "Direct Delegation AS112 Service", .rfc = "RFC 7534"},
	{.cidr = "3fff::/20", .name = "Documentation", .rfc = "RFC 9637"},
	{.cidr = "5f00::/16", .name = "Segment Routing (SRv6) SIDs", .rfc = "RFC 9602"},
	{.cidr = "fc00::/7", .name = "Unique-Local", .rfc = "RFC 4193"},
	{.cidr = "fe80::/10", .name = "Link-Local Unicast", .rfc = "RFC 4291"},

	/* Not of the special-purpose registries: see above. */
	{.cidr = "224.0.0.0/4", .name = "Multicast", .rfc = "RFC 5771"},
	{.cidr = "ff00::/8", .name = "Multicast", .rfc = "RFC 4291"},
	{.cidr = "::/96", .name = "IPv4-Compatible Address (deprecated)", .rfc = "RFC 4291"},
};

#define RANGES (sizeof(ranges) / sizeof(ranges[0]))

static struct prefix_map *map;

void special_init(void)
{
	struct prefix_entry entries[RANGES];

	if (map)
		return;
	for (size_t i = 0; i < RANGES; i++) {
		CHECK(prefix_parse(ranges[i].cidr, &ranges[i].prefix) == 0);
		entries[i] = (struct prefix_entry){.prefix = ranges[i].prefix,
		                                   .value = (uint32_t)i};
	}
	map = prefix_map_new(entries, RANGES);
	CHECK(map != NULL); /* out of memory, and this is the start */
}

const struct special_range *special_find(const struct ip *ip)
{
	const struct prefix_entry *entry;

	CHECK(map != NULL); /* without special_init() private addresses would have a country */
	entry = prefix_map_find(map, ip);
	return entry ? &ranges[entry->value] : NULL;
}
