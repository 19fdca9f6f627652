/* Prefixes, and the map that answers "which is the most specific one that holds this address?".
 *
 * Prefixes are either nested or disjoint, so walking them in order of (first address, length) with
 * a stack of those still open yields every address at which the answer changes. Those addresses and
 * their answers are all that a lookup needs: one binary search over 16-byte keys, no tree, no
 * pointers, nothing that a writer could disturb.
 *
 * IPv4 lives inside the IPv6 space (net/addr.h), yet "::/0" means "all of IPv6" to whoever writes
 * it, and an IPv6 catch-all that silently trusted or relocated every IPv4 client would be a trap.
 * So
 * ::ffff:0:0/96 is its own island: a shorter prefix does not reach into it. In the map that is one
 * entry of ours, the first, which holds the island on behalf of nobody.
 *
 * The texts may come from anywhere. The entries given to prefix_map_new() come from this program: a
 * bit set behind the length is a bug. The number of entries is the caller's to bound; a list given
 * as text has fewer than half as many as the text has bytes. */
#include "net/prefix.h"

#include "net/decimal.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define V4_BITS 96 /* the length of ::ffff:0:0/96 */
#define NOBODY 0   /* the entry of that island, and the answer where no prefix holds */
#define LIST_SEPARATORS ", \t\r\n"

typedef unsigned __int128 u128; /* an address as a number: the one typedef, __int128 has no tag */

struct prefix_map {
	struct prefix_entry *entries; /* [0] is the island, then the caller's in their order */
	size_t n_prefixes;            /* different ones, without the island */
	/* Range i is [first[i], first[i + 1]), the last one open; owner[i] is an index of entries.
	 */
	u128 *first;
	uint32_t *owner;
	size_t n_ranges;
};

static u128 number_of(const struct ip *ip)
{
	uint64_t high, low;

	memcpy(&high, ip->b, sizeof(high));
	memcpy(&low, ip->b + sizeof(high), sizeof(low));
	return (u128)be64toh(high) << 64 | be64toh(low);
}

static u128 host_mask(unsigned bits)
{
	return bits == 128 ? 0 : ~(u128)0 >> bits;
}

int prefix_parse(const char *text, struct prefix *ret_prefix)
{
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	unsigned bits = 128;
	struct prefix p;
	char ip[IP_TEXT_MAX];
	bool v4;

	if (len >= sizeof(ip))
		return -EINVAL;
	memcpy(ip, text, len);
	ip[len] = '\0';
	if (ip_parse(ip, &p.ip) < 0)
		return -EINVAL;
	/* How it is written decides what the length counts: ::ffff:10.0.0.0/104 is 10.0.0.0/8. */
	v4 = strchr(ip, ':') == NULL;
	if (slash) {
		if (decimal_parse(slash + 1, v4 ? 32 : 128, &bits) < 0)
			return -EINVAL;
		if (v4)
			bits += V4_BITS;
	}
	if (number_of(&p.ip) & host_mask(bits))
		return -EDOM;
	p.bits = (uint8_t)bits;
	*ret_prefix = p;
	return 0;
}

char *prefix_format(const struct prefix *p, char buf[PREFIX_TEXT_MAX])
{
	unsigned bits = ip_is_v4(&p->ip) ? p->bits - V4_BITS : p->bits;
	char ip[IP_TEXT_MAX];

	snprintf(buf, PREFIX_TEXT_MAX, "%s/%u", ip_format(&p->ip, ip), bits);
	return buf;
}

bool prefix_contains(const struct prefix *p, const struct ip *ip)
{
	if (p->bits < V4_BITS && ip_is_v4(ip))
		return false;
	return ((number_of(&p->ip) ^ number_of(ip)) & ~host_mask(p->bits)) == 0;
}

/* By first address, a wider prefix before those inside it, a later entry after an earlier. */
static int compare_entries(const void *a, const void *b)
{
	const struct prefix_entry *x = *(struct prefix_entry *const *)a;
	const struct prefix_entry *y = *(struct prefix_entry *const *)b;
	int by_ip = memcmp(x->prefix.ip.b, y->prefix.ip.b, sizeof(x->prefix.ip.b));

	if (by_ip != 0)
		return by_ip;
	if (x->prefix.bits != y->prefix.bits)
		return x->prefix.bits < y->prefix.bits ? -1 : 1;
	return x < y ? -1 : x > y;
}

static bool same_prefix(const struct prefix *a, const struct prefix *b)
{
	return a->bits == b->bits && ip_equal(&a->ip, &b->ip);
}

/* From here on the answer is another. Of two changes at one address the later is right (one prefix
 * ended there and another began, or a wider one began there first) and takes the place of the
 * earlier: a lookup would not notice, but neighbours are the rule and would double the ranges. */
static void add_change(struct prefix_map *m, u128 at, uint32_t owner)
{
	if (m->n_ranges == 0 || m->first[m->n_ranges - 1] != at)
		m->first[m->n_ranges++] = at;
	m->owner[m->n_ranges - 1] = owner;
}

/* The prefixes that hold the address the walk has reached, the most specific on top: no two are of
 * equal length, so there are at most 129. */
struct open_prefixes {
	struct {
		u128 last;
		uint32_t entry;
	} at[129];
	unsigned depth;
};

/* Closes what ends before the given address. */
static void close_before(struct prefix_map *m, struct open_prefixes *open, u128 address)
{
	while (open->depth > 0 && open->at[open->depth - 1].last < address) {
		u128 last = open->at[--open->depth].last;

		add_change(m, last + 1, open->depth ? open->at[open->depth - 1].entry : NOBODY);
	}
}

static void flatten(struct prefix_map *m, struct prefix_entry *const *sorted, size_t n)
{
	struct open_prefixes open = {.depth = 0};

	add_change(m, 0, NOBODY);
	for (size_t i = 0; i < n; i++) {
		const struct prefix *p = &sorted[i]->prefix;
		u128 first = number_of(&p->ip);
		uint32_t entry = (uint32_t)(sorted[i] - m->entries);

		if (i + 1 < n && same_prefix(p, &sorted[i + 1]->prefix))
			continue;
		CHECK(p->bits <= 128 && (first & host_mask(p->bits)) == 0);
		close_before(m, &open, first);
		add_change(m, first, entry);
		open.at[open.depth].last = first | host_mask(p->bits);
		open.at[open.depth++].entry = entry;
		if (entry != NOBODY)
			m->n_prefixes++;
	}
	/* What reaches to the last address of all ends nowhere; the rest ends before it. */
	close_before(m, &open, ~(u128)0);
}

struct prefix_map *prefix_map_new(const struct prefix_entry *entries, size_t n)
{
	static const struct prefix island = {.ip.b = {[10] = 0xff, [11] = 0xff}, .bits = V4_BITS};
	struct prefix_map *m = calloc(1, sizeof(*m));
	struct prefix_entry **sorted = calloc(n + 1, sizeof(struct prefix_entry *));

	CHECK(n < UINT32_MAX);
	if (!m || !sorted)
		goto no_memory;
	m->entries = calloc(n + 1, sizeof(*m->entries));
	/* Each prefix begins once and ends once; before them all comes nobody. */
	m->first = calloc(2 * (n + 1) + 1, sizeof(*m->first));
	m->owner = calloc(2 * (n + 1) + 1, sizeof(*m->owner));
	if (!m->entries || !m->first || !m->owner)
		goto no_memory;

	m->entries[NOBODY].prefix = island;
	if (n > 0)
		memcpy(m->entries + 1, entries, n * sizeof(*entries));
	for (size_t i = 0; i <= n; i++)
		sorted[i] = &m->entries[i];
	qsort(sorted, n + 1, sizeof(struct prefix_entry *), compare_entries);
	flatten(m, sorted, n + 1);
	free(sorted);
	return m;

no_memory:
	free(sorted);
	prefix_map_free(m);
	return NULL;
}

void prefix_map_free(struct prefix_map *m)
{
	if (!m)
		return;
	free(m->entries);
	free(m->first);
	free(m->owner);
	free(m);
}

const struct prefix_entry *prefix_map_find(const struct prefix_map *m, const struct ip *ip)
{
	u128 address = number_of(ip);
	size_t low = 0, high;

	if (!m)
		return NULL;
	/* The last range that starts at or before the address: first[0] is 0, so there is one. */
	high = m->n_ranges;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (m->first[middle] <= address)
			low = middle;
		else
			high = middle;
	}
	return m->owner[low] == NOBODY ? NULL : &m->entries[m->owner[low]];
}

size_t prefix_map_size(const struct prefix_map *m)
{
	return m ? m->n_prefixes : 0;
}

/* The next part of a list; false at its end. */
static bool next_part(const char **at, size_t *ret_len)
{
	*at += strspn(*at, LIST_SEPARATORS);
	*ret_len = strcspn(*at, LIST_SEPARATORS);
	return *ret_len > 0;
}

static int part_parse(const char *part, size_t len, struct prefix *ret_prefix)
{
	char text[PREFIX_TEXT_MAX];

	if (len >= sizeof(text))
		return -EINVAL;
	memcpy(text, part, len);
	text[len] = '\0';
	return prefix_parse(text, ret_prefix);
}

int prefix_map_parse(const char *text, struct prefix_map **ret_map, size_t *ret_bad_at,
                     size_t *ret_bad_len)
{
	struct prefix_entry *entries;
	struct prefix_map *m;
	const char *at;
	size_t n = 0, len;
	int err;

	for (at = text; next_part(&at, &len); at += len)
		n++;
	entries = calloc(n + 1, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	n = 0;
	for (at = text; next_part(&at, &len); at += len) {
		err = part_parse(at, len, &entries[n].prefix);
		if (err < 0) {
			*ret_bad_at = (size_t)(at - text);
			*ret_bad_len = len;
			free(entries);
			return err;
		}
		entries[n].value = (uint32_t)n;
		n++;
	}
	m = prefix_map_new(entries, n);
	free(entries);
	if (!m)
		return -ENOMEM;
	*ret_map = m;
	return 0;
}
