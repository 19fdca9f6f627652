/* Addresses and endpoints: what is read, what is refused, and that nothing is lost on the way. */
#include "net/addr.h"

#include "net/decimal.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h> /* after what it needs */

static struct ip ip_of(const char *text)
{
	struct ip ip;

	if (ip_parse(text, &ip) < 0)
		fail_msg("not an address: %s", text);
	return ip;
}

static void expect_ip_text(const struct ip *ip, const char *want)
{
	char buf[IP_TEXT_MAX];

	assert_string_equal(ip_format(ip, buf), want);
}

static void parse_and_format_addresses(void **state)
{
	static const struct {
		const char *text, *formatted;
		bool v4;
	} rows[] = {
		{"0.0.0.0", "0.0.0.0", true},
		{"192.0.2.1", "192.0.2.1", true},
		{"255.255.255.255", "255.255.255.255", true},
		{"::ffff:192.0.2.1", "192.0.2.1", true},
		{"::FFFF:c000:201", "192.0.2.1", true},
		{"0:0:0:0:0:ffff:192.0.2.1", "192.0.2.1", true},
		{"::", "::", false},
		{"::1", "::1", false},
		{"::192.0.2.1", "::192.0.2.1", false},
		{"::fffe:192.0.2.1", "::fffe:c000:201", false},
		{"1::ffff:192.0.2.1", "1::ffff:c000:201", false},
		{"2001:DB8:0:0:0:0:0:1", "2001:db8::1", false},
		{"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
	         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ip ip = ip_of(rows[i].text);
		char buf[IP_TEXT_MAX];
		struct ip again = ip_of(ip_format(&ip, buf));

		assert_string_equal(buf, rows[i].formatted);
		assert_int_equal(ip_is_v4(&ip), rows[i].v4);
		assert_true(ip_equal(&ip, &again));
	}
}

static void refuse_what_is_no_address(void **state)
{
	static const char *const rows[] = {
		"",
		" ",
		"1",
		"1.2.3",
		"1.2.3.4.5",
		"1.2.3.256",
		"01.2.3.4",
		"1.2.3.04",
		"1.2.3.4 ",
		" 1.2.3.4",
		"1.2.3.-4",
		"0x1.2.3.4",
		"1.2.3.4/32",
		"1.2.3.4:80",
		"[::1]",
		"::1%lo",
		"fe80::1%1",
		":",
		":::",
		"1::2::3",
		"1:2:3:4:5:6",
		"::1.2.3.256",
		"::1.2.3.04",
		"12345::",
		"::g",
		"1:2:3:4:5:6:7:8:9",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ip ip;

		memset(&ip, 0x5a, sizeof(ip));
		if (ip_parse(rows[i], &ip) != -EINVAL)
			fail_msg("read as an address: \"%s\"", rows[i]);
		for (size_t k = 0; k < sizeof(ip.b); k++)
			assert_int_equal(ip.b[k], 0x5a); /* written only on success */
	}
}

static void kinds_of_addresses(void **state)
{
	static const struct {
		const char *text;
		bool unspecified, multicast;
	} rows[] = {
		{"0.0.0.0", true, false},          {"::", true, false},
		{"0.0.0.1", false, false},         {"::1", false, false},
		{"1.0.0.0", false, false},         {"1::", false, false},
		{"::fffe:0:0", false, false},      {"223.255.255.255", false, false},
		{"224.0.0.0", false, true},        {"239.255.255.255", false, true},
		{"240.0.0.0", false, false},       {"ff00::", false, true},
		{"ff02::1", false, true},          {"feff::", false, false},
		{"::e000:1", false, false},        {"::ffff:224.0.0.1", false, true},
		{"255.255.255.255", false, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ip ip = ip_of(rows[i].text);

		assert_int_equal(ip_is_unspecified(&ip), rows[i].unspecified);
		assert_int_equal(ip_is_multicast(&ip), rows[i].multicast);
	}
}

static void from_four_bytes(void **state)
{
	struct ip ip = ip_from_v4((const uint8_t[4]){192, 0, 2, 7});
	struct ip other = ip_of("192.0.2.8");

	(void)state;
	expect_ip_text(&ip, "192.0.2.7");
	assert_false(ip_equal(&ip, &other));
}

static void mask_by_family(void **state)
{
	static const struct {
		const char *text;
		unsigned v4_bits, v6_bits;
		const char *masked;
	} rows[] = {
		{"192.0.2.255", 32, 64, "192.0.2.255"},
		{"192.0.2.255", 31, 64, "192.0.2.254"},
		{"192.0.2.255", 24, 64, "192.0.2.0"},
		{"192.0.2.255", 1, 64, "128.0.0.0"},
		{"192.0.2.255", 0, 0, "0.0.0.0"}, /* never leaves its family */
		{"2001:db8:1:2:3:4:5:6", 32, 128, "2001:db8:1:2:3:4:5:6"},
		{"2001:db8:1:2:3:4:5:7", 32, 127, "2001:db8:1:2:3:4:5:6"},
		{"2001:db8:1:2:3:4:5:6", 0, 64, "2001:db8:1:2::"},
		{"2001:db8:1:ffff::", 32, 52, "2001:db8:1:f000::"},
		{"2001:db8::", 32, 0, "::"},
		{"ffff::", 32, 9, "ff80::"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ip ip = ip_of(rows[i].text);
		struct ip masked = ip_masked(&ip, rows[i].v4_bits, rows[i].v6_bits);

		expect_ip_text(&masked, rows[i].masked);
	}
}

static void parse_and_format_endpoints(void **state)
{
	static const struct {
		const char *text, *formatted;
		bool allow_0;
	} rows[] = {
		{"192.0.2.1:80", "192.0.2.1:80", false},
		{"0.0.0.0:65535", "0.0.0.0:65535", false},
		{"[2001:db8::1]:1", "[2001:db8::1]:1", false},
		{"[::]:443", "[::]:443", false},
		{":443", "[::]:443", false},
		{"[::ffff:192.0.2.1]:80", "192.0.2.1:80", false},
		{"127.0.0.1:0", "127.0.0.1:0", true},
		{":0", "[::]:0", true},
		{"[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535",
	         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct endpoint e, again;
		char buf[ENDPOINT_TEXT_MAX];

		assert_int_equal(endpoint_parse(rows[i].text, rows[i].allow_0, &e), 0);
		assert_string_equal(endpoint_format(&e, buf), rows[i].formatted);
		assert_int_equal(endpoint_parse(buf, rows[i].allow_0, &again), 0);
		assert_true(endpoint_equal(&e, &again));
	}
}

static void refuse_what_is_no_endpoint(void **state)
{
	static const char *const rows[] = {
		"",
		":",
		"80",
		"192.0.2.1",
		"192.0.2.1:",
		"192.0.2.1:0",
		"192.0.2.1:65536",
		"192.0.2.1:4294967376",
		"192.0.2.1:99999999999999999999",
		"192.0.2.1:080",
		"192.0.2.1:+80",
		"192.0.2.1:-1",
		"192.0.2.1: 80",
		"192.0.2.1:80 ",
		"192.0.2.1 :80",
		" 192.0.2.1:80",
		"192.0.2.1:http",
		"[192.0.2.1]:80",
		"[]:80",
		"[:80",
		"]:80",
		"[::1]80",
		"[::1]",
		"[::1:80",
		"::1]:80",
		"[[::1]]:80",
		"2001:db8::1:80",
		"::1:80",
		"::80",
		"[fe80::1%lo]:80",
		"localhost:80",
		"*:80",
		"[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.2555]:80",
		"[0000000000000000000000000000000000000000000000000000000000000::1]:80",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct endpoint e = {.port = 7};

		if (endpoint_parse(rows[i], false, &e) != -EINVAL)
			fail_msg("read as an endpoint: \"%s\"", rows[i]);
		assert_int_equal(e.port, 7);
	}
}

static void compare_endpoints(void **state)
{
	struct endpoint a = {ip_of("192.0.2.1"), 80};
	struct endpoint port = {ip_of("192.0.2.1"), 81};
	struct endpoint ip = {ip_of("::192.0.2.1"), 80};

	(void)state;
	assert_true(endpoint_equal(&a, &a));
	assert_false(endpoint_equal(&a, &port));
	assert_false(endpoint_equal(&a, &ip));
}

static void to_and_from_the_kernel(void **state)
{
	struct endpoint v4 = {ip_of("192.0.2.1"), 0x1234};
	struct endpoint v6 = {ip_of("2001:db8::1"), 65535};
	struct endpoint back;
	struct sockaddr_storage sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	(void)state;
	assert_int_equal(endpoint_to_sockaddr(&v4, &sa), sizeof(struct sockaddr_in));
	memcpy(&in, &sa, sizeof(in));
	assert_int_equal(in.sin_family, AF_INET);
	assert_int_equal(ntohs(in.sin_port), 0x1234);
	assert_int_equal(ntohl(in.sin_addr.s_addr), 0xc0000201);
	assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&sa, &back), 0);
	assert_true(endpoint_equal(&v4, &back));

	assert_int_equal(endpoint_to_sockaddr(&v6, &sa), sizeof(struct sockaddr_in6));
	memcpy(&in6, &sa, sizeof(in6));
	assert_int_equal(in6.sin6_family, AF_INET6);
	assert_int_equal(in6.sin6_scope_id, 0);
	assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&sa, &back), 0);
	assert_true(endpoint_equal(&v6, &back));
}

/* As accept() on a socket for both families reports an IPv4 peer. */
static void unwrap_mapped_peers(void **state)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
	struct ip ip = ip_of("::ffff:192.0.2.1");
	struct endpoint want = {ip_of("192.0.2.1"), 80};
	struct endpoint e;

	(void)state;
	memcpy(&in6.sin6_addr, ip.b, sizeof(ip.b));
	assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&in6, &e), 0);
	assert_true(endpoint_equal(&e, &want));
}

static void refuse_other_families(void **state)
{
	struct sockaddr_storage sa = {.ss_family = AF_UNIX};
	struct endpoint e = {.port = 7};

	(void)state;
	assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&sa, &e), -EAFNOSUPPORT);
	assert_int_equal(e.port, 7);
}

static void decimals(void **state)
{
	static const char *const bad[] = {"",
	                                  "00",
	                                  "01",
	                                  "+1",
	                                  "-1",
	                                  " 1",
	                                  "1 ",
	                                  "1a",
	                                  "65536",
	                                  "4294967297",
	                                  "18446744073709551617"};
	unsigned n = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(decimal_parse(bad[i], 65535, &n), -EINVAL);
	assert_int_equal(n, 7);
	assert_int_equal(decimal_parse("0", 32, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(decimal_parse("32", 32, &n), 0);
	assert_int_equal(n, 32);
	assert_int_equal(decimal_parse("33", 32, &n), -EINVAL);
	assert_int_equal(decimal_parse("65535", 65535, &n), 0);
	assert_int_equal(n, 65535);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_and_format_addresses),
		cmocka_unit_test(refuse_what_is_no_address),
		cmocka_unit_test(kinds_of_addresses),
		cmocka_unit_test(from_four_bytes),
		cmocka_unit_test(mask_by_family),
		cmocka_unit_test(parse_and_format_endpoints),
		cmocka_unit_test(refuse_what_is_no_endpoint),
		cmocka_unit_test(compare_endpoints),
		cmocka_unit_test(to_and_from_the_kernel),
		cmocka_unit_test(unwrap_mapped_peers),
		cmocka_unit_test(refuse_other_families),
		cmocka_unit_test(decimals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
