/* Walks: everything that stays is seen once, whatever comes, goes, or walks beside. */
#include "proxy/walk.h"

#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define ITEMS 64

struct item {
	struct list node;
	unsigned seen[WALK_KINDS];
	bool stayed; /* there all the time */
};

struct world {
	struct list head;
	struct walks walks;
	struct item items[ITEMS];
};

static void make(struct world *w)
{
	list_init(&w->head);
	walks_init(&w->walks);
	for (int i = 0; i < ITEMS; i++) {
		w->items[i] = (struct item){.stayed = true};
		list_push_back(&w->head, &w->items[i].node);
	}
}

/* False: the walk is over. */
static bool step(struct world *w, enum walk_kind kind)
{
	struct list *node = walk_next(&w->walks, kind, &w->head);

	if (node == NULL)
		return false;
	list_entry(node, struct item, node)->seen[kind]++;
	return true;
}

static void sees_each_once(void **state)
{
	struct world w;

	(void)state;
	make(&w);
	assert_false(walk_active(&w.walks, WALK_SWEEP));
	walk_start(&w.walks, WALK_SWEEP, &w.head);
	while (step(&w, WALK_SWEEP))
		assert_true(walk_active(&w.walks, WALK_SWEEP));
	assert_false(walk_active(&w.walks, WALK_SWEEP));
	for (int i = 0; i < ITEMS; i++)
		assert_int_equal(w.items[i].seen[WALK_SWEEP], 1);
}

static void an_empty_list_is_over_at_once(void **state)
{
	struct world w;

	(void)state;
	list_init(&w.head);
	walks_init(&w.walks);
	walk_start(&w.walks, WALK_SWEEP, &w.head);
	walk_start(&w.walks, WALK_CENSUS, &w.head);
	assert_null(walk_next(&w.walks, WALK_SWEEP, &w.head));
	assert_null(walk_next(&w.walks, WALK_CENSUS, &w.head));
	assert_true(list_empty(&w.head));
}

static void two_do_not_see_each_other(void **state)
{
	struct world w;

	(void)state;
	make(&w);
	walk_start(&w.walks, WALK_SWEEP, &w.head);
	walk_start(&w.walks, WALK_CENSUS, &w.head);
	/* One passes the other again and again. */
	for (int i = 0; i < ITEMS; i++) {
		assert_true(step(&w, i % 2 == 0 ? WALK_SWEEP : WALK_CENSUS));
		assert_true(step(&w, i % 2 == 0 ? WALK_CENSUS : WALK_SWEEP));
	}
	assert_false(step(&w, WALK_SWEEP));
	assert_false(step(&w, WALK_CENSUS));
	for (int i = 0; i < ITEMS; i++)
		for (int k = 0; k < WALK_KINDS; k++)
			assert_int_equal(w.items[i].seen[k], 1);
}

static void starting_again_is_from_the_beginning(void **state)
{
	struct world w;

	(void)state;
	make(&w);
	walk_start(&w.walks, WALK_CENSUS, &w.head);
	for (int i = 0; i < ITEMS / 2; i++)
		assert_true(step(&w, WALK_CENSUS));
	walk_start(&w.walks, WALK_CENSUS, &w.head);
	while (step(&w, WALK_CENSUS))
		;
	for (int i = 0; i < ITEMS; i++)
		assert_int_equal(w.items[i].seen[WALK_CENSUS], i < ITEMS / 2 ? 2 : 1);
	walk_start(&w.walks, WALK_CENSUS, &w.head);
	walk_stop(&w.walks, WALK_CENSUS);
	assert_false(walk_active(&w.walks, WALK_CENSUS));
}

/* Items leave and come back at the end at random; those that stayed are seen exactly once. */
static void others_come_and_go(void **state)
{
	struct rng rng = {.state = 7};
	struct world w;

	(void)state;
	for (int round = 0; round < 200; round++) {
		bool over[WALK_KINDS] = {false};

		make(&w);
		for (int k = 0; k < WALK_KINDS; k++)
			walk_start(&w.walks, (enum walk_kind)k, &w.head);
		while (!over[WALK_SWEEP] || !over[WALK_CENSUS]) {
			struct item *item = &w.items[rng_below(&rng, ITEMS)];
			enum walk_kind kind = (enum walk_kind)rng_below(&rng, WALK_KINDS);

			if (rng_below(&rng, 4) == 0) {
				list_remove(&item->node);
				item->stayed = false;
				if (rng_below(&rng, 8) == 0)
					list_push_back(&w.head, &item->node);
			}
			if (!over[kind])
				over[kind] = !step(&w, kind);
		}
		for (int i = 0; i < ITEMS; i++)
			for (int k = 0; w.items[i].stayed && k < WALK_KINDS; k++)
				assert_int_equal(w.items[i].seen[k], 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sees_each_once),
		cmocka_unit_test(an_empty_list_is_over_at_once),
		cmocka_unit_test(two_do_not_see_each_other),
		cmocka_unit_test(starting_again_is_from_the_beginning),
		cmocka_unit_test(others_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
