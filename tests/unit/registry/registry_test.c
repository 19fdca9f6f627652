/* The registry under a clock of its own. */
#include "registry/registry.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TTL 1000
#define FORGET 5000

static void add(struct registry *r, const char *id, uint64_t now)
{
	assert_int_equal(registry_add(r, id, "app", now), 0);
}

/* Who is due, as "a b ". */
static const char *due(struct registry *r, uint64_t now)
{
	static char text[1024];
	struct registration *found[4];
	size_t n = registry_due(r, now, found, 4);
	char *to = text;

	*to = '\0';
	for (size_t i = 0; i < n; i++)
		to += sprintf(to, "%s%s ", found[i]->id, found[i]->late ? "!" : "");
	return text;
}

static void silence_makes_late(void **state)
{
	struct registry *r = registry_new(TTL, FORGET);

	(void)state;
	add(r, "a", 0);
	add(r, "b", 10);
	assert_string_equal(due(r, TTL - 1), "");
	assert_string_equal(due(r, TTL), "a ");
	/* Nothing changes until it has been written down. */
	assert_string_equal(due(r, TTL + 10), "a b ");
	registry_set_late(r, registry_find(r, "a"), true);
	assert_string_equal(due(r, TTL + 10), "b ");
	assert_string_equal(due(r, FORGET - 1), "b ");
	assert_string_equal(due(r, FORGET), "b a! ");
	registry_remove(r, registry_find(r, "a"));
	assert_null(registry_find(r, "a"));
	assert_int_equal(registry_count(r), 1);
	registry_free(r);
}

static void heartbeats_keep_alive(void **state)
{
	struct registry *r = registry_new(TTL, FORGET);

	(void)state;
	add(r, "a", 0);
	add(r, "b", 0);
	registry_beat(r, registry_find(r, "a"), 900);
	assert_string_equal(due(r, 1000), "b ");
	assert_string_equal(due(r, 1899), "b ");
	assert_string_equal(due(r, 1900), "b a ");
	registry_set_late(r, registry_find(r, "b"), true);
	/* A late one that is heard of stays late until that is written. */
	registry_beat(r, registry_find(r, "b"), 3000);
	assert_true(registry_find(r, "b")->late);
	assert_string_equal(due(r, 3000 + FORGET - 1), "a ");
	registry_set_late(r, registry_find(r, "b"), false);
	assert_string_equal(due(r, 3000 + TTL), "a b ");
	/* So does one that registers anew. */
	registry_set_late(r, registry_find(r, "a"), true);
	add(r, "a", 6000);
	assert_false(registry_find(r, "a")->late);
	assert_int_equal(registry_count(r), 2);
	registry_free(r);
}

static void forgetting_is_an_option(void **state)
{
	struct registry *r = registry_new(TTL, 0);

	(void)state;
	add(r, "a", 0);
	registry_set_late(r, registry_find(r, "a"), true);
	assert_string_equal(due(r, UINT64_MAX / 2), "");
	registry_free(r);
}

static void order_holds_whatever_comes_late(void **state)
{
	struct registry *r = registry_new(TTL, FORGET);

	(void)state;
	add(r, "old", 0);
	registry_sync_begin(r);
	assert_int_equal(registry_sync(r, "old", "app", false, 500), 0);
	assert_int_equal(registry_sync(r, "new", "app", true, 500), 0);
	registry_sync_end(r);
	registry_set_late(r, registry_find(r, "old"), true);
	/* "new" has been late for less long, though it came first. */
	assert_string_equal(due(r, FORGET), "old! ");
	assert_string_equal(due(r, FORGET + 500), "old! new! ");
	registry_free(r);
}

static void database_is_followed(void **state)
{
	struct registry *r = registry_new(TTL, FORGET);

	(void)state;
	add(r, "stays", 100);
	add(r, "goes", 100);
	registry_sync_begin(r);
	assert_int_equal(registry_sync(r, "stays", "other", false, 700), 0);
	assert_int_equal(registry_sync(r, "unheard", "app", false, 700), 0);
	registry_sync_end(r);
	assert_null(registry_find(r, "goes"));
	assert_true(registry_find(r, "stays")->heard);
	assert_int_equal(registry_find(r, "stays")->last_ms, 100);
	assert_string_equal(registry_find(r, "stays")->app, "other");
	/* One of which only the database knows has one time to live. */
	assert_false(registry_find(r, "unheard")->heard);
	assert_string_equal(due(r, 1699), "stays ");
	assert_string_equal(due(r, 1700), "stays unheard ");
	registry_free(r);
}

static void many(void **state)
{
	struct registry *r = registry_new(TTL, FORGET);
	struct registration *found[64];
	char id[32];
	size_t n, late = 0;

	(void)state;
	for (unsigned i = 0; i < REGISTRATIONS_MAX; i++) {
		snprintf(id, sizeof(id), "b-%u", i);
		add(r, id, i / 1000);
	}
	assert_int_equal(registry_add(r, "more", "app", 0), -ENOSPC);
	assert_int_equal(registry_add(r, "b-7", "app", 200), 0);
	while ((n = registry_due(r, 5000, found, 64)) > 0 && !found[0]->late) {
		for (size_t i = 0; i < n && !found[i]->late; i++) {
			registry_set_late(r, found[i], true);
			late++;
		}
	}
	assert_int_equal(late, REGISTRATIONS_MAX);
	registry_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(silence_makes_late),
		cmocka_unit_test(heartbeats_keep_alive),
		cmocka_unit_test(forgetting_is_an_option),
		cmocka_unit_test(order_holds_whatever_comes_late),
		cmocka_unit_test(database_is_followed),
		cmocka_unit_test(many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
