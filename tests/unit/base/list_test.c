/* Intrusive lists: order, removal from anywhere, splicing, nodes that are in no list. */
#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct item {
	char name;
	struct list node;
};

/* The names in order forwards, checked against the order backwards. */
static const char *names(const struct list *head)
{
	static char text[32];
	size_t n = 0;
	size_t back;

	for (const struct list *node = head->next; node != head; node = node->next) {
		assert_true(n < sizeof(text) - 1);
		text[n++] = list_entry(node, struct item, node)->name;
	}
	text[n] = '\0';
	back = n;
	for (const struct list *node = head->prev; node != head; node = node->prev) {
		assert_true(back > 0);
		assert_int_equal(text[--back], list_entry(node, struct item, node)->name);
	}
	assert_int_equal(back, 0);
	return text;
}

static void fill(struct list *head, struct item *items, const char *text)
{
	list_init(head);
	for (size_t i = 0; text[i] != '\0'; i++) {
		items[i].name = text[i];
		list_push_back(head, &items[i].node);
	}
}

static void test_order(void **state)
{
	struct list head;
	struct item items[4];

	(void)state;
	list_init(&head);
	assert_true(list_empty(&head));
	assert_string_equal(names(&head), "");
	fill(&head, items, "abcd");
	assert_false(list_empty(&head));
	assert_string_equal(names(&head), "abcd");
}

static void test_remove(void **state)
{
	struct list head;
	struct item items[5];

	(void)state;
	fill(&head, items, "abcde");
	list_remove(&items[2].node);
	assert_string_equal(names(&head), "abde");
	list_remove(&items[0].node);
	assert_string_equal(names(&head), "bde");
	list_remove(&items[4].node);
	assert_string_equal(names(&head), "bd");
	assert_true(list_empty(&items[4].node));

	list_remove(&items[4].node);
	assert_string_equal(names(&head), "bd");
	list_push_back(&head, &items[2].node);
	assert_string_equal(names(&head), "bdc");
	list_remove(&items[1].node);
	list_remove(&items[3].node);
	list_remove(&items[2].node);
	assert_true(list_empty(&head));
}

static void test_splice(void **state)
{
	struct list to;
	struct list from;
	struct item first[3];
	struct item second[3];

	(void)state;
	fill(&to, first, "abc");
	fill(&from, second, "xyz");
	list_splice_back(&to, &from);
	assert_string_equal(names(&to), "abcxyz");
	assert_true(list_empty(&from));

	list_splice_back(&to, &from);
	assert_string_equal(names(&to), "abcxyz");
	list_splice_back(&from, &to);
	assert_string_equal(names(&from), "abcxyz");
	assert_true(list_empty(&to));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_remove),
		cmocka_unit_test(test_splice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
