/* Prefixes: the input is a list as an operator may write it. What must hold for every input:
 *
 * - the list is read if and only if each of its parts is, and an error names the first bad part;
 * - a prefix survives being written and read;
 * - of equal entries the map counts one;
 * - the map answers as the definition does: of all entries that hold an address the longest, and of
 *   equal ones the last. The definition here is a scan, bit by bit, that shares no code with the
 *   map; it is asked at both edges of each prefix and just outside, where ranges go wrong. */
#include "base/check.h"
#include "fuzz.h"
#include "net/prefix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX 4096
/* Each is probed at four addresses, and each probe scans all entries. */
#define PROBED_MAX 64

static char *exact_text(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
	size_t len = nul ? (size_t)(nul - data) : size;
	char *text = malloc(len + 1);

	CHECK(text);
	if (len > 0)
		memcpy(text, data, len);
	text[len] = '\0';
	return text;
}

static bool bit_at(const struct ip *ip, unsigned i)
{
	return ip->b[i / 8] >> (7 - i % 8) & 1;
}

static bool holds(const struct prefix *p, const struct ip *ip)
{
	if (p->bits < 96 && ip_is_v4(ip))
		return false;
	for (unsigned i = 0; i < p->bits; i++)
		if (bit_at(&p->ip, i) != bit_at(ip, i))
			return false;
	return true;
}

static void check_find(const struct prefix_map *m, const struct prefix_entry *entries, size_t n,
                       const struct ip *ip)
{
	const struct prefix_entry *best = NULL, *found = prefix_map_find(m, ip);

	for (size_t i = 0; i < n; i++) {
		CHECK(holds(&entries[i].prefix, ip) == prefix_contains(&entries[i].prefix, ip));
		if (holds(&entries[i].prefix, ip) &&
		    (!best || entries[i].prefix.bits >= best->prefix.bits))
			best = &entries[i];
	}
	CHECK((best == NULL) == (found == NULL));
	CHECK(!best || best->value == found->value);
}

/* The next (step 1) or previous (step 255) address, round the end of the space. */
static struct ip neighbour(struct ip ip, uint8_t step)
{
	for (size_t i = sizeof(ip.b); i-- > 0;) {
		ip.b[i] = (uint8_t)(ip.b[i] + step);
		if (ip.b[i] != (step == 1 ? 0 : 255))
			break;
	}
	return ip;
}

static void check_edges(const struct prefix_map *m, const struct prefix_entry *entries, size_t n,
                        const struct prefix *p)
{
	struct ip first = p->ip, last = p->ip, before, after;

	for (unsigned i = p->bits; i < 128; i++) {
		CHECK(!bit_at(&first, i));
		last.b[i / 8] |= (uint8_t)(1u << (7 - i % 8));
	}
	before = neighbour(first, 255);
	after = neighbour(last, 1);
	check_find(m, entries, n, &before);
	check_find(m, entries, n, &first);
	check_find(m, entries, n, &last);
	check_find(m, entries, n, &after);
}

static void check_round_trip(const struct prefix *p)
{
	char text[PREFIX_TEXT_MAX];
	struct prefix again;

	CHECK(prefix_parse(prefix_format(p, text), &again) == 0);
	CHECK(again.bits == p->bits && ip_equal(&again.ip, &p->ip));
}

static size_t count_different(const struct prefix_entry *entries, size_t n)
{
	size_t different = 0;

	for (size_t i = 0; i < n; i++) {
		size_t k = i + 1;

		while (k < n && !(entries[k].prefix.bits == entries[i].prefix.bits &&
		                  ip_equal(&entries[k].prefix.ip, &entries[i].prefix.ip)))
			k++;
		different += k == n;
	}
	return different;
}

/* Reads the parts one by one, with the C library's own splitter. Returns how many there were before
 * the end or the first bad one, which is then *ret_bad. */
static size_t split(char *text, struct prefix_entry *entries, char **ret_bad, int *ret_err)
{
	size_t n = 0;
	char *rest;

	*ret_bad = NULL;
	for (char *part = strtok_r(text, ", \t\r\n", &rest); part && n < ENTRIES_MAX;
	     part = strtok_r(NULL, ", \t\r\n", &rest)) {
		*ret_err = prefix_parse(part, &entries[n].prefix);
		if (*ret_err < 0) {
			*ret_bad = part;
			return n;
		}
		entries[n].value = (uint32_t)n;
		n++;
	}
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct prefix_entry entries[ENTRIES_MAX];
	char *text = exact_text(data, size), *parts = exact_text(data, size), *bad;
	struct prefix_map *m = NULL;
	size_t bad_at = 0, bad_len = 0, n;
	int err, part_err = 0;

	n = split(parts, entries, &bad, &part_err);
	err = n < ENTRIES_MAX ? prefix_map_parse(text, &m, &bad_at, &bad_len) : 0;
	if (n == ENTRIES_MAX) {
		/* Longer than this check cares for. */
	} else if (bad) {
		CHECK(err == part_err && (err == -EINVAL || err == -EDOM));
		CHECK(bad_at == (size_t)(bad - parts) && bad_len == strlen(bad));
	} else {
		CHECK(err == 0 && prefix_map_size(m) == count_different(entries, n));
		for (size_t i = 0; i < n && i < PROBED_MAX; i++) {
			check_round_trip(&entries[i].prefix);
			check_edges(m, entries, n, &entries[i].prefix);
		}
		prefix_map_free(m);
	}
	free(text);
	free(parts);
	return 0;
}
