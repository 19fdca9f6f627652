#include "geo/special.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct special_range *find(const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(text, &ip), 0);
	return special_find(&ip);
}

/* Each range by its first and last address, or by those of its addresses that no more specific
 * range takes. Together these are all rows of the table. */
static void every_range(void **state)
{
	static const struct {
		const char *cidr;
		const char *first;
		const char *last;
	} expected[] = {
		{"0.0.0.0/8", "0.0.0.1", "0.255.255.255"},
		{"0.0.0.0/32", "0.0.0.0", "0.0.0.0"},
		{"10.0.0.0/8", "10.0.0.0", "10.255.255.255"},
		{"100.64.0.0/10", "100.64.0.0", "100.127.255.255"},
		{"127.0.0.0/8", "127.0.0.0", "127.255.255.255"},
		{"169.254.0.0/16", "169.254.0.0", "169.254.255.255"},
		{"172.16.0.0/12", "172.16.0.0", "172.31.255.255"},
		{"192.0.0.0/24", "192.0.0.11", "192.0.0.255"},
		{"192.0.0.0/29", "192.0.0.0", "192.0.0.7"},
		{"192.0.0.8/32", "192.0.0.8", "192.0.0.8"},
		{"192.0.0.9/32", "192.0.0.9", "192.0.0.9"},
		{"192.0.0.10/32", "192.0.0.10", "192.0.0.10"},
		{"192.0.0.170/32", "192.0.0.170", "192.0.0.170"},
		{"192.0.0.171/32", "192.0.0.171", "192.0.0.171"},
		{"192.0.2.0/24", "192.0.2.0", "192.0.2.255"},
		{"192.31.196.0/24", "192.31.196.0", "192.31.196.255"},
		{"192.52.193.0/24", "192.52.193.0", "192.52.193.255"},
		{"192.88.99.0/24", "192.88.99.1", "192.88.99.255"},
		{"192.88.99.2/32", "192.88.99.2", "192.88.99.2"},
		{"192.168.0.0/16", "192.168.0.0", "192.168.255.255"},
		{"192.175.48.0/24", "192.175.48.0", "192.175.48.255"},
		{"198.18.0.0/15", "198.18.0.0", "198.19.255.255"},
		{"198.51.100.0/24", "198.51.100.0", "198.51.100.255"},
		{"203.0.113.0/24", "203.0.113.0", "203.0.113.255"},
		{"224.0.0.0/4", "224.0.0.0", "239.255.255.255"},
		{"240.0.0.0/4", "240.0.0.0", "255.255.255.254"},
		{"255.255.255.255/32", "255.255.255.255", "255.255.255.255"},
		{"::/128", "::", "::"},
		{"::1/128", "::1", "::1"},
		{"::/96", "::2", "::255.255.255.255"},
		{"64:ff9b::/96", "64:ff9b::", "64:ff9b::255.255.255.255"},
		{"64:ff9b:1::/48", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"},
		{"100::/64", "100::", "100::ffff:ffff:ffff:ffff"},
		{"100:0:0:1::/64", "100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff"},
		{"2001::/23", "2001:5::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"2001::/32", "2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"2001:1::1/128", "2001:1::1", "2001:1::1"},
		{"2001:1::2/128", "2001:1::2", "2001:1::2"},
		{"2001:1::3/128", "2001:1::3", "2001:1::3"},
		{"2001:2::/48", "2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff"},
		{"2001:3::/32", "2001:3::", "2001:3:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"2001:4:112::/48", "2001:4:112::", "2001:4:112:ffff:ffff:ffff:ffff:ffff"},
		{"2001:10::/28", "2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"2001:20::/28", "2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"2001:30::/28", "2001:30::", "2001:3f:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"2001:db8::/32", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"2002::/16", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"2620:4f:8000::/48", "2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"},
		{"3fff::/20", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"5f00::/16", "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"fc00::/7", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"fe80::/10", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"ff00::/8", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		const struct special_range *first = find(expected[i].first);

		assert_non_null(first);
		assert_string_equal(first->cidr, expected[i].cidr);
		assert_ptr_equal(find(expected[i].last), first);
	}
}

/* The neighbours of the ranges, and addresses that people have. */
static void ordinary_addresses(void **state)
{
	static const char *const expected[] = {
		"1.0.0.0",         "8.8.8.8",         "9.255.255.255",   "11.0.0.0",
		"100.63.255.255",  "100.128.0.0",     "126.255.255.255", "128.0.0.0",
		"169.253.255.255", "169.255.0.0",     "172.15.255.255",  "172.32.0.0",
		"191.255.255.255", "192.0.1.0",       "192.0.1.255",     "192.0.3.0",
		"192.31.195.255",  "192.31.197.0",    "192.52.192.255",  "192.52.194.0",
		"192.88.98.255",   "192.88.100.0",    "192.167.255.255", "192.169.0.0",
		"192.175.47.255",  "192.175.49.0",    "198.17.255.255",  "198.20.0.0",
		"198.51.99.255",   "198.51.101.0",    "203.0.112.255",   "203.0.114.0",
		"223.255.255.255", "::1:0:0:1",       "64:ff9a:ffff::",  "64:ff9b::1:0:0",
		"64:ff9b:2::",     "100:0:0:2::",     "2000::1",         "2001:200::1",
		"2001:4860::1",    "2001:db7:ffff::", "2001:db9::",      "2003::1",
		"2620:4f:7fff::",  "2620:4f:8001::",  "2804::1",         "3ffe:ffff::",
		"3fff:1000::",     "5eff:ffff::",     "5f01::",          "fbff:ffff::",
		"fe00::",          "fec0::",          "feff:ffff::",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		if (find(expected[i]))
			fail_msg("%s is in %s", expected[i], find(expected[i])->cidr);
}

static void the_row_says_what_and_why(void **state)
{
	const struct special_range *range = find("192.168.1.1");
	char text[PREFIX_TEXT_MAX];

	(void)state;
	assert_string_equal(range->name, "Private-Use");
	assert_string_equal(range->rfc, "RFC 1918");
	assert_string_equal(prefix_format(&range->prefix, text), range->cidr);
	range = find("2001:db8::80");
	assert_string_equal(range->name, "Documentation");
	assert_string_equal(prefix_format(&range->prefix, text), "2001:db8::/32");
}

/* What a dual-stack socket reports is unwrapped, so the mapped form is as special as what is in it.
 */
static void v4_mapped(void **state)
{
	(void)state;
	assert_ptr_equal(find("::ffff:10.1.2.3"), find("10.1.2.3"));
	assert_null(find("::ffff:8.8.8.8"));
	/* IPv4-compatible is another form, and no longer anyone's. */
	assert_string_equal(find("::8.8.8.8")->cidr, "::/96");
}

static void a_second_init_changes_nothing(void **state)
{
	const struct special_range *before = find("127.0.0.1");

	(void)state;
	special_init();
	assert_ptr_equal(find("127.0.0.1"), before);
}

static int init(void **state)
{
	(void)state;
	special_init();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_range),
		cmocka_unit_test(ordinary_addresses),
		cmocka_unit_test(the_row_says_what_and_why),
		cmocka_unit_test(v4_mapped),
		cmocka_unit_test(a_second_init_changes_nothing),
	};

	return cmocka_run_group_tests(tests, init, NULL);
}
