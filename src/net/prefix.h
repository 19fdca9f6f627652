/* CIDR prefixes and longest-prefix matching.
 *
 * A prefix_map is built once from any number of prefixes and is immutable from then on: nested
 * prefixes are flattened into disjoint ranges, so a lookup is one binary search.
 *
 * A family is its own: a prefix shorter than ::ffff:0:0/96, such as "::/0", holds no IPv4 address.
 */
#ifndef NET_PREFIX_H
#define NET_PREFIX_H

#include "base/check.h"
#include "net/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct prefix {
	struct ip ip; /* no bit is set behind bits */
	uint8_t bits; /* of the 128; an IPv4 /8 is 104 */
};

#define PREFIX_TEXT_MAX 50

/* "10.0.0.0/8", "2001:db8::/32", or one address. 0; -EINVAL (not a prefix); -EDOM (bits set
 * behind the prefix length: "10.0.0.1/8"). */
MUST_CHECK int prefix_parse(const char *text, struct prefix *ret_prefix);
char *prefix_format(const struct prefix *p, char buf[PREFIX_TEXT_MAX]);
bool prefix_contains(const struct prefix *p, const struct ip *ip);

struct prefix_entry {
	struct prefix prefix;
	uint32_t value; /* the caller's: an index, a flag */
};

struct prefix_map;

/* Of two equal prefixes the later entry wins. entries may be NULL when n is 0. NULL: out of memory.
 */
struct prefix_map *prefix_map_new(const struct prefix_entry *entries, size_t n);
void prefix_map_free(struct prefix_map *m);
/* The most specific entry that holds ip, or NULL. A NULL map holds nothing. Any thread. */
const struct prefix_entry *prefix_map_find(const struct prefix_map *m, const struct ip *ip);
/* How many different prefixes it holds. */
size_t prefix_map_size(const struct prefix_map *m);

/* A list such as "10.0.0.0/8, 192.0.2.1" (commas or spaces) as a map with value 0..n-1.
 * 0; -EINVAL or -EDOM with *ret_bad_at, *ret_bad_len naming the part of text at fault; -ENOMEM. An
 * empty list gives an empty map. */
MUST_CHECK int prefix_map_parse(const char *text, struct prefix_map **ret_map, size_t *ret_bad_at,
                                size_t *ret_bad_len);

#endif
