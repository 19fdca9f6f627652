/* Prefixes and the map. The map is also held against a linear scan on many small random sets: the
 * sets are dense, so that nesting, touching ends and equal prefixes are the rule. */
#include "net/prefix.h"

#include "base/rng.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* after what it needs */

static struct ip ip_of(const char *text)
{
	struct ip ip;

	if (ip_parse(text, &ip) < 0)
		fail_msg("not an address: %s", text);
	return ip;
}

static struct prefix prefix_of(const char *text)
{
	struct prefix p;

	if (prefix_parse(text, &p) < 0)
		fail_msg("not a prefix: %s", text);
	return p;
}

static void parse_and_format(void **state)
{
	static const struct {
		const char *text, *formatted;
		unsigned bits;
	} rows[] = {
		{"0.0.0.0/0", "0.0.0.0/0", 96},
		{"10.0.0.0/8", "10.0.0.0/8", 104},
		{"192.0.2.1", "192.0.2.1/32", 128},
		{"192.0.2.1/32", "192.0.2.1/32", 128},
		{"128.0.0.0/1", "128.0.0.0/1", 97},
		{"::/0", "::/0", 0},
		{"2001:db8::/32", "2001:db8::/32", 32},
		{"2001:DB8::1", "2001:db8::1/128", 128},
		{"::1/128", "::1/128", 128},
		{"::ffff:0:0/96", "0.0.0.0/0", 96},
		{"::ffff:10.0.0.0/104", "10.0.0.0/8", 104},
		{"::ffff:10.0.0.1", "10.0.0.1/32", 128},
		{"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128",
	         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", 128},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct prefix p = prefix_of(rows[i].text);
		char buf[PREFIX_TEXT_MAX];
		struct prefix again = prefix_of(prefix_format(&p, buf));

		assert_string_equal(buf, rows[i].formatted);
		assert_int_equal(p.bits, rows[i].bits);
		assert_int_equal(again.bits, p.bits);
		assert_true(ip_equal(&again.ip, &p.ip));
	}
}

static void refuse_what_is_no_prefix(void **state)
{
	static const struct {
		const char *text;
		int err;
	} rows[] = {
		{"", -EINVAL},
		{"/", -EINVAL},
		{"/8", -EINVAL},
		{"10.0.0.0/", -EINVAL},
		{"10.0.0.0/33", -EINVAL},
		{"10.0.0.0/08", -EINVAL},
		{"10.0.0.0/+8", -EINVAL},
		{"10.0.0.0/-1", -EINVAL},
		{"10.0.0.0/8/8", -EINVAL},
		{"10.0.0.0/8 ", -EINVAL},
		{" 10.0.0.0/8", -EINVAL},
		{"10.0.0.0 /8", -EINVAL},
		{"10.0.0.0/255.0.0.0", -EINVAL},
		{"10.0.0.0/4294967304", -EINVAL},
		{"10/8", -EINVAL},
		{"2001:db8::/129", -EINVAL},
		{"[2001:db8::]/32", -EINVAL},
		{"2001:db8::/32%eth0", -EINVAL},
		{"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.2555/128", -EINVAL},
		{"10.0.0.1/8", -EDOM},
		{"0.0.0.1/0", -EDOM},
		{"192.0.2.1/31", -EDOM},
		{"2001:db8::1/127", -EDOM},
		{"::1/0", -EDOM},
		{"::ffff:10.0.0.0/8", -EDOM}, /* of the 128: it would be ::/8 */
		{"::ffff:0:0/95", -EDOM},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct prefix p = {.bits = 200};
		int err = prefix_parse(rows[i].text, &p);

		if (err != rows[i].err)
			fail_msg("\"%s\" gives %d", rows[i].text, err);
		assert_int_equal(p.bits, 200);
	}
}

static void contains(void **state)
{
	static const struct {
		const char *prefix, *ip;
		bool inside;
	} rows[] = {
		{"10.0.0.0/8", "10.0.0.0", true},
		{"10.0.0.0/8", "10.255.255.255", true},
		{"10.0.0.0/8", "11.0.0.0", false},
		{"10.0.0.0/8", "9.255.255.255", false},
		{"10.0.0.0/8", "::10.0.0.0", false},
		{"0.0.0.0/0", "255.255.255.255", true},
		{"0.0.0.0/0", "::", false},
		{"0.0.0.0/0", "::fffe:ffff:ffff", false},
		{"0.0.0.0/0", "::1:0:0:0", false},
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.0", false},
		{"2001:db8::/33", "2001:db8:7fff:ffff::", true},
		{"2001:db8::/33", "2001:db8:8000::", false},
		{"::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true},
		{"::/0", "::", true},
		{"::/0", "192.0.2.1", false}, /* another family */
		{"::/80", "192.0.2.1", false},
		{"::/80", "::fffe:0:0", true},
		{"::ffff:0:0/96", "192.0.2.1", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct prefix p = prefix_of(rows[i].prefix);
		struct ip ip = ip_of(rows[i].ip);

		if (prefix_contains(&p, &ip) != rows[i].inside)
			fail_msg("%s in %s", rows[i].ip, rows[i].prefix);
	}
}

/* Builds a map whose values are the places in the list. */
static struct prefix_map *map_of(const char *list)
{
	struct prefix_map *m;
	size_t at, len;

	assert_int_equal(prefix_map_parse(list, &m, &at, &len), 0);
	return m;
}

static void expect_find(const struct prefix_map *m, const char *ip, int want)
{
	struct ip address = ip_of(ip);
	const struct prefix_entry *found = prefix_map_find(m, &address);
	int value = found ? (int)found->value : -1;

	if (value != want)
		fail_msg("%s gives %d, not %d", ip, value, want);
}

static void find_the_most_specific(void **state)
{
	struct prefix_map *m = map_of("10.1.0.0/16 10.0.0.0/8 10.1.2.0/24 10.1.2.3 10.255.255.255 "
	                              "2001:db8::/32 2001:db8::/128");

	(void)state;
	assert_int_equal(prefix_map_size(m), 7);
	expect_find(m, "9.255.255.255", -1);
	expect_find(m, "10.0.0.0", 1);
	expect_find(m, "10.0.255.255", 1);
	expect_find(m, "10.1.0.0", 0);
	expect_find(m, "10.1.1.255", 0);
	expect_find(m, "10.1.2.0", 2);
	expect_find(m, "10.1.2.3", 3);
	expect_find(m, "10.1.2.4", 2);
	expect_find(m, "10.1.2.255", 2);
	expect_find(m, "10.1.3.0", 0);
	expect_find(m, "10.2.0.0", 1);
	expect_find(m, "10.255.255.254", 1);
	expect_find(m, "10.255.255.255", 4); /* both end here */
	expect_find(m, "11.0.0.0", -1);
	expect_find(m, "2001:db8::", 6);
	expect_find(m, "2001:db8::1", 5);
	expect_find(m, "2001:db9::", -1);
	prefix_map_free(m);
}

static void edges_of_the_space(void **state)
{
	struct prefix_map *m = map_of(
		"::/0, ::, ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff, 8000::/1");

	(void)state;
	expect_find(m, "::", 1);
	expect_find(m, "::1", 0);
	expect_find(m, "7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0);
	expect_find(m, "8000::", 3);
	expect_find(m, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", 3);
	expect_find(m, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 2);
	prefix_map_free(m);
}

/* Whoever trusts "::/0" does not trust IPv4, and the other way round. */
static void families_apart(void **state)
{
	struct prefix_map *v6 = map_of("::/0");
	struct prefix_map *v4 = map_of("0.0.0.0/0");
	struct prefix_map *both = map_of("::/0 0.0.0.0/0 ::/64 10.0.0.0/8");

	(void)state;
	expect_find(v6, "0.0.0.0", -1);
	expect_find(v6, "255.255.255.255", -1);
	expect_find(v6, "::fffe:ffff:ffff", 0);
	expect_find(v6, "::1:0:0:0", 0);
	expect_find(v4, "0.0.0.0", 0);
	expect_find(v4, "255.255.255.255", 0);
	expect_find(v4, "::fffe:ffff:ffff", -1);
	expect_find(v4, "::1:0:0:0", -1);
	assert_int_equal(prefix_map_size(v4), 1);
	expect_find(both, "192.0.2.1", 1);
	expect_find(both, "10.0.0.1", 3);
	expect_find(both, "::1:0:0:0", 2);
	expect_find(both, "0:0:0:1::", 0);
	prefix_map_free(v6);
	prefix_map_free(v4);
	prefix_map_free(both);
}

static void later_of_equals_wins(void **state)
{
	struct prefix_map *m = map_of("10.0.0.0/8 192.0.2.0/24 10.0.0.0/8 ::ffff:10.0.0.0/104");

	(void)state;
	assert_int_equal(prefix_map_size(m), 2);
	expect_find(m, "10.0.0.1", 3);
	expect_find(m, "192.0.2.1", 1);
	prefix_map_free(m);
}

static void neighbours_do_not_leak(void **state)
{
	struct prefix_map *m = map_of("192.0.2.0/25,192.0.2.128/25,192.0.3.0/32");

	(void)state;
	expect_find(m, "192.0.1.255", -1);
	expect_find(m, "192.0.2.127", 0);
	expect_find(m, "192.0.2.128", 1);
	expect_find(m, "192.0.2.255", 1);
	expect_find(m, "192.0.3.0", 2);
	expect_find(m, "192.0.3.1", -1);
	prefix_map_free(m);
}

/* One prefix of each length: the deepest nesting that there is. */
static void nest_129_deep(void **state)
{
	struct prefix_entry entries[129];
	struct ip ones = ip_of("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	struct prefix_map *m;

	(void)state;
	for (unsigned bits = 0; bits <= 128; bits++) {
		entries[bits].prefix.ip = ip_masked(&ones, 0, bits);
		entries[bits].prefix.bits = (uint8_t)bits;
		entries[bits].value = bits;
	}
	m = prefix_map_new(entries, 129);
	assert_non_null(m);
	expect_find(m, "::", 0);
	expect_find(m, "7fff::", 0);
	expect_find(m, "8000::", 1);
	expect_find(m, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffd", 126);
	expect_find(m, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", 127);
	expect_find(m, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 128);
	prefix_map_free(m);
}

/* The same below :: , where the IPv4 island lies inside 81 of them. */
static void nest_around_ipv4(void **state)
{
	struct prefix_entry entries[129];
	struct prefix_map *m;

	(void)state;
	for (unsigned bits = 0; bits <= 128; bits++)
		entries[bits] = (struct prefix_entry){{.bits = (uint8_t)bits}, bits};
	m = prefix_map_new(entries, 129);
	assert_non_null(m);
	expect_find(m, "::", 128);
	expect_find(m, "::1", 127);
	expect_find(m, "::fffe:ffff:ffff", 80);
	expect_find(m, "0.0.0.0", -1);
	expect_find(m, "255.255.255.255", -1);
	expect_find(m, "::1:0:0:0", 79);
	expect_find(m, "8000::", 0);
	prefix_map_free(m);
}

static void empty_maps_hold_nothing(void **state)
{
	struct prefix_map *m = prefix_map_new(NULL, 0);
	struct prefix_map *list = map_of("");
	struct prefix_map *blank = map_of(" ,\t, \n");

	(void)state;
	assert_non_null(m);
	assert_int_equal(prefix_map_size(m), 0);
	assert_int_equal(prefix_map_size(list), 0);
	assert_int_equal(prefix_map_size(blank), 0);
	assert_int_equal(prefix_map_size(NULL), 0);
	expect_find(m, "::", -1);
	expect_find(m, "0.0.0.0", -1);
	expect_find(m, "255.255.255.255", -1);
	expect_find(NULL, "::", -1);
	prefix_map_free(m);
	prefix_map_free(list);
	prefix_map_free(blank);
	prefix_map_free(NULL);
}

/* The entries handed in may change or go: the map has its own. */
static void map_keeps_its_entries(void **state)
{
	struct prefix_entry entry = {prefix_of("10.0.0.0/8"), 42};
	struct prefix_map *m = prefix_map_new(&entry, 1);
	struct ip ip = ip_of("10.1.2.3");
	const struct prefix_entry *found;

	(void)state;
	memset(&entry, 0xff, sizeof(entry));
	found = prefix_map_find(m, &ip);
	assert_non_null(found);
	assert_int_equal(found->value, 42);
	assert_int_equal(found->prefix.bits, 104);
	prefix_map_free(m);
}

static void lists(void **state)
{
	struct prefix_map *m = map_of(",, 10.0.0.0/8,192.0.2.1\t2001:db8::/32\n,");

	(void)state;
	assert_int_equal(prefix_map_size(m), 3);
	expect_find(m, "10.0.0.1", 0);
	expect_find(m, "192.0.2.1", 1);
	expect_find(m, "2001:db8::1", 2);
	prefix_map_free(m);
}

static void lists_name_the_bad_part(void **state)
{
	static const struct {
		const char *text;
		int err;
		size_t at, len;
	} rows[] = {
		{"x", -EINVAL, 0, 1},
		{"10.0.0.0/8, 10.0.0.0/33,y", -EINVAL, 12, 11},
		{"10.0.0.0/8 10.0.0.1/8", -EDOM, 11, 10},
		{"  10.0.0.0/8;::1 ", -EINVAL, 2, 14},
		{"::1,00000000000000000000000000000000000000000000000000", -EINVAL, 4, 50},
		{"::1,000000000000000000000000000000000000000000000000000000", -EINVAL, 4, 54},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct prefix_map *m = (struct prefix_map *)&rows;
		size_t at = 99, len = 99;

		assert_int_equal(prefix_map_parse(rows[i].text, &m, &at, &len), rows[i].err);
		assert_int_equal(at, rows[i].at);
		assert_int_equal(len, rows[i].len);
		assert_ptr_equal(m, &rows); /* written only on success */
	}
}

/* The definition, one entry after the other. */
static const struct prefix_entry *scan(const struct prefix_entry *entries, size_t n,
                                       const struct ip *ip)
{
	const struct prefix_entry *best = NULL;

	for (size_t i = 0; i < n; i++)
		if (prefix_contains(&entries[i].prefix, ip) &&
		    (!best || entries[i].prefix.bits >= best->prefix.bits))
			best = &entries[i];
	return best;
}

/* An address of which only a few bits vary, at places where ranges like to meet. */
static struct ip crowded_ip(struct rng *rng)
{
	static const char *const bases[] = {"::", "10.0.0.0", "::fffe:0:0", "2001:db8::", "ffff::"};
	struct ip ip = ip_of(bases[rng_below(rng, 5)]);

	ip.b[15] |= (uint8_t)(rng_below(rng, 8) << 5);
	ip.b[12] |= (uint8_t)rng_below(rng, 2);
	if (rng_below(rng, 4) == 0)
		memset(ip.b + 13, 0xff, 3);
	return ip;
}

static void agrees_with_a_scan(void **state)
{
	struct rng rng = {.state = 1};
	struct prefix_entry entries[24];

	(void)state;
	for (int round = 0; round < 2000; round++) {
		size_t n = rng_below(&rng, 25);
		struct prefix_map *m;

		for (size_t i = 0; i < n; i++) {
			struct ip ip = crowded_ip(&rng);
			unsigned v4 = (unsigned)rng_below(&rng, 33);
			unsigned v6 = (unsigned)rng_below(&rng, 129);

			entries[i].prefix.ip = ip_masked(&ip, v4, v6);
			entries[i].prefix.bits = (uint8_t)(ip_is_v4(&ip) ? 96 + v4 : v6);
			entries[i].value = (uint32_t)i;
		}
		m = prefix_map_new(entries, n);
		assert_non_null(m);
		for (int i = 0; i < 50; i++) {
			struct ip ip = crowded_ip(&rng);
			const struct prefix_entry *want = scan(entries, n, &ip);
			const struct prefix_entry *found = prefix_map_find(m, &ip);

			assert_int_equal(found == NULL, want == NULL);
			if (want)
				assert_int_equal(found->value, want->value);
		}
		prefix_map_free(m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_and_format),
		cmocka_unit_test(refuse_what_is_no_prefix),
		cmocka_unit_test(contains),
		cmocka_unit_test(find_the_most_specific),
		cmocka_unit_test(edges_of_the_space),
		cmocka_unit_test(families_apart),
		cmocka_unit_test(later_of_equals_wins),
		cmocka_unit_test(neighbours_do_not_leak),
		cmocka_unit_test(nest_129_deep),
		cmocka_unit_test(nest_around_ipv4),
		cmocka_unit_test(empty_maps_hold_nothing),
		cmocka_unit_test(map_keeps_its_entries),
		cmocka_unit_test(lists),
		cmocka_unit_test(lists_name_the_bad_part),
		cmocka_unit_test(agrees_with_a_scan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
