/* Bodies of registrations. */
#include "registry/registration_request.h"

#include "geo/special.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define GOOD "\"id\":\"b-1\",\"app\":\"web\",\"region\":\"sa\",\"ip\":\"10.0.0.1\",\"port\":80"

static struct registration_request got;
static struct field_error bad;

static int parse(const char *json, const struct registration_rules *rules)
{
	static const struct registration_rules none;

	memset(&bad, 0, sizeof(bad));
	return registration_request_parse(json, strlen(json), rules != NULL ? rules : &none, &got,
	                                  &bad);
}

static void defaults(void **state)
{
	(void)state;
	assert_int_equal(parse("{" GOOD "}", NULL), 0);
	assert_string_equal(got.id, "b-1");
	assert_string_equal(got.ip, "10.0.0.1");
	assert_string_equal(got.country, "");
	assert_int_equal(got.port, 80);
	assert_int_equal(got.weight, 2);
	assert_int_equal(got.soft_limit, 100);
	assert_int_equal(got.hard_limit, 150);
	assert_int_equal(parse("{" GOOD ",\"country\":null,\"weight\":null}", NULL), 0);
	assert_int_equal(parse("{" GOOD ",\"country\":\"br\",\"weight\":0}", NULL), 0);
	assert_string_equal(got.country, "BR");
	assert_int_equal(got.weight, 0);
}

static void names_the_field(void **state)
{
	static const struct {
		const char *json;
		const char *field;
	} cases[] = {
		{"", ""},
		{"[]", ""},
		{"{" GOOD "} {}", ""},
		{"{" GOOD ",\"id\":\"again\"}", ""},
		{"{}", "id"},
		{"{\"id\":1}", "id"},
		{"{" GOOD ",\"weight\":\"2\"}", "weight"},
		{"{" GOOD ",\"weight\":2.0}", "weight"},
		{"{" GOOD ",\"weight\":true}", "weight"},
		{"{" GOOD ",\"weight\":65536}", "weight"},
		{"{" GOOD ",\"soft_limit\":0}", "soft_limit"},
		{"{" GOOD ",\"country\":\"ZZ\"}", "country"},
		{"{" GOOD ",\"script\":\"x\"}", "script"},
		{"{" GOOD ",\"state\":\"maint\"}", "state"},
		{"{" GOOD ",\"wg_ip\":\"10.0.0.1\"}", "wg_ip"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(parse(cases[i].json, NULL), -EINVAL);
		assert_string_equal(bad.field, cases[i].field);
		assert_true(bad.why[0] != '\0');
	}
}

static int parse_ip(const char *ip, const struct registration_rules *rules)
{
	char json[256];

	snprintf(json, sizeof(json),
	         "{\"id\":\"b\",\"app\":\"a\",\"region\":\"sa\",\"port\":1,\"ip\":\"%s\"}", ip);
	return parse(json, rules);
}

static void addresses(void **state)
{
	static const char *const refused[] = {
		"127.0.0.1",       "127.9.9.9", "::1",        "::ffff:127.0.0.1",
		"0.0.0.0",         "::",        "0.1.2.3",    "169.254.169.254",
		"fe80::1",         "192.0.2.1", "198.18.0.1", "240.0.0.1",
		"255.255.255.255", "224.0.0.1", "ff02::1",    "2001:db8::1",
		"64:ff9b::1",
	};
	static const char *const taken[] = {
		"10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1",
		"fd00::1",  "8.8.8.8",    "2a01:4f8::1",
	};
	struct registration_rules rules = {0};
	struct prefix_map *allow = NULL;
	size_t at, len;

	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		assert_int_equal(parse_ip(refused[i], NULL), -EINVAL);
		assert_string_equal(bad.field, "ip");
	}
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		assert_int_equal(parse_ip(taken[i], NULL), 0);
	assert_int_equal(parse_ip("2A01:04F8:0::1", NULL), 0);
	assert_string_equal(got.ip, "2a01:4f8::1");

	assert_int_equal(prefix_map_parse("10.50.0.0/16,127.0.0.0/8", &allow, &at, &len), 0);
	rules.allow = allow;
	assert_int_equal(parse_ip("127.0.0.1", &rules), 0);
	assert_int_equal(parse_ip("10.50.1.1", &rules), 0);
	assert_int_equal(parse_ip("10.51.1.1", &rules), -EINVAL);
	assert_int_equal(parse_ip("8.8.8.8", &rules), -EINVAL);
	prefix_map_free(allow);
}

static void rules_of_the_request(void **state)
{
	const struct registration_rules put = {.path_id = "b-1"};
	const struct registration_rules other = {.path_id = "b-2"};
	const struct registration_rules app = {.app = "db"};

	(void)state;
	assert_int_equal(parse("{" GOOD "}", &put), 0);
	assert_int_equal(parse("{\"app\":\"web\",\"region\":\"sa\",\"ip\":\"10.0.0.1\",\"port\":1}",
	                       &put),
	                 0);
	assert_string_equal(got.id, "b-1");
	assert_int_equal(parse("{" GOOD "}", &other), -EINVAL);
	assert_string_equal(bad.field, "id");
	assert_int_equal(parse("{" GOOD "}", &app), -EINVAL);
	assert_string_equal(bad.field, "app");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults),
		cmocka_unit_test(names_the_field),
		cmocka_unit_test(addresses),
		cmocka_unit_test(rules_of_the_request),
	};

	special_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
