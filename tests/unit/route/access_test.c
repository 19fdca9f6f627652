/* Access rules: which of those that are about a client decides. */
#include "route/access.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { RULES_MAX = 3000 };

static struct {
	struct access_rule_row rules[RULES_MAX];
	size_t count;
	struct access *access;
} fixture;

static int setup(void **state)
{
	(void)state;
	fixture.count = 0;
	fixture.access = NULL;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	access_free(fixture.access);
	return 0;
}

/* whom: a cidr, a country, or "*". app "": every app. */
static void add(const char *id, const char *app, const char *whom, bool allow)
{
	struct access_rule_row *row = &fixture.rules[fixture.count++];

	*row = (struct access_rule_row){
		.id = id, .app = app[0] != '\0' ? app : NULL, .allow = allow};
	if (strcmp(whom, "*") == 0) {
		row->match = ACCESS_ALL;
	} else if (strlen(whom) == 2) {
		row->match = ACCESS_COUNTRY;
		memcpy(row->country, whom, 3);
	} else {
		row->match = ACCESS_CIDR;
		assert_int_equal(prefix_parse(whom, &row->prefix), 0);
	}
}

/* The id of the rule that decides; "": none does. */
static const char *decides(const char *app, const char *client, const char *country)
{
	const struct access_rule_row *rule;
	struct ip ip;

	if (fixture.access == NULL) {
		fixture.access = access_new(fixture.rules, fixture.count);
		assert_non_null(fixture.access);
		/* A table outlives its rows. */
		memset(fixture.rules, 0xff, sizeof(fixture.rules));
	}
	assert_int_equal(ip_parse(client, &ip), 0);
	rule = access_find(fixture.access, app, &ip, country);
	return rule != NULL ? rule->id : "";
}

static void test_no_rules(void **state)
{
	(void)state;
	assert_string_equal(decides("web", "192.0.2.1", "BR"), "");
	assert_string_equal(decides("", "2001:db8::1", ""), "");
}

static void test_most_specific_first(void **state)
{
	(void)state;
	add("all", "", "*", false);
	add("br", "", "BR", true);
	add("net", "", "192.0.2.0/24", false);
	add("host", "", "192.0.2.7", true);
	add("v4", "", "10.0.0.0/8", true);
	add("v6", "", "::/0", true);
	assert_string_equal(decides("web", "192.0.2.7", "BR"), "host");
	assert_string_equal(decides("web", "192.0.2.8", "BR"), "net");
	assert_string_equal(decides("web", "192.0.3.1", "BR"), "br");
	assert_string_equal(decides("web", "192.0.3.1", "br"), "br");
	assert_string_equal(decides("web", "192.0.3.1", "AR"), "all");
	assert_string_equal(decides("web", "192.0.3.1", ""), "all");
	assert_string_equal(decides("web", "10.1.1.1", ""), "v4");
	assert_string_equal(decides("web", "::ffff:10.1.1.1", ""), "v4");
	assert_string_equal(decides("web", "2001:db8::1", "AR"), "v6");
}

static void test_apps(void **state)
{
	(void)state;
	add("every-net", "", "10.1.0.0/16", false);
	add("every-br", "", "BR", false);
	add("web-wide", "web", "10.0.0.0/8", true);
	add("web-net", "web", "10.2.0.0/16", true);
	add("every-net2", "", "10.2.0.0/16", false);
	add("web-br", "web", "BR", true);
	add("web-all", "web", "*", false);
	add("ssh-all", "ssh", "*", false);
	/* The most specific wins, whoever's it is; of equal ones, the app's. */
	assert_string_equal(decides("web", "10.1.1.1", ""), "every-net");
	assert_string_equal(decides("web", "10.2.1.1", ""), "web-net");
	assert_string_equal(decides("web", "10.3.1.1", "BR"), "web-wide");
	assert_string_equal(decides("web", "11.1.1.1", "BR"), "web-br");
	assert_string_equal(decides("web", "11.1.1.1", ""), "web-all");
	/* Other apps have nothing of it. */
	assert_string_equal(decides("ssh", "10.2.1.1", ""), "every-net2");
	assert_string_equal(decides("ssh", "11.1.1.1", "BR"), "every-br");
	assert_string_equal(decides("ssh", "11.1.1.1", "AR"), "ssh-all");
	assert_string_equal(decides("other", "10.3.1.1", "AR"), "");
	assert_string_equal(decides("", "10.3.1.1", "BR"), "every-br");
	assert_string_equal(decides("", "11.1.1.1", "AR"), "");
}

static void test_deny_wins_over_its_equal(void **state)
{
	(void)state;
	add("a", "web", "10.0.0.0/8", false);
	add("b", "web", "10.0.0.0/8", true);
	add("c", "web", "BR", true);
	add("d", "web", "BR", false);
	add("e", "web", "*", false);
	add("f", "web", "*", true);
	assert_string_equal(decides("web", "10.1.1.1", ""), "a");
	assert_string_equal(decides("web", "11.1.1.1", "BR"), "d");
	assert_string_equal(decides("web", "11.1.1.1", "AR"), "e");
}

static void test_many(void **state)
{
	static char ids[RULES_MAX][8];
	static char apps[30][8];

	(void)state;
	for (int i = 0; i < RULES_MAX; i++) {
		char cidr[PREFIX_TEXT_MAX];

		snprintf(ids[i], sizeof(ids[i]), "%d", i);
		snprintf(apps[i % 30], sizeof(apps[0]), "app%d", i % 30);
		snprintf(cidr, sizeof(cidr), "10.%d.%d.0/24", i / 250, i % 250);
		add(ids[i], apps[i % 30], cidr, false);
	}
	for (int i = 0; i < RULES_MAX; i++) {
		char ip[IP_TEXT_MAX];

		snprintf(ip, sizeof(ip), "10.%d.%d.9", i / 250, i % 250);
		assert_string_equal(decides(apps[i % 30], ip, ""), ids[i]);
		assert_string_equal(decides(apps[(i + 1) % 30], ip, ""), "");
	}
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_no_rules), TEST(test_most_specific_first),
		TEST(test_apps),     TEST(test_deny_wins_over_its_equal),
		TEST(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
