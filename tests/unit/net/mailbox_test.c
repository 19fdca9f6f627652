#include "net/mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SENDERS = 4, EACH = 20000 };

struct letter {
	struct message message;
	int sender;
	int number;
};

static bool rings(const struct mailbox *m)
{
	struct pollfd p = {.fd = m->event_fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void empty_box_is_silent(void **state)
{
	struct mailbox m;

	(void)state;
	assert_int_equal(mailbox_init(&m), 0);
	assert_false(rings(&m));
	assert_null(mailbox_take(&m));
	mailbox_done(&m);
}

static void messages_come_in_the_order_sent(void **state)
{
	struct mailbox m;
	struct letter letters[3];

	(void)state;
	assert_int_equal(mailbox_init(&m), 0);
	for (int i = 0; i < 3; i++) {
		letters[i].message.kind = i;
		mailbox_send(&m, &letters[i].message);
	}
	assert_true(rings(&m));

	struct message *got = mailbox_take(&m);

	for (int i = 0; i < 3; i++, got = got->next) {
		assert_non_null(got);
		assert_int_equal(got->kind, i);
	}
	assert_null(got);
	assert_false(rings(&m));
	mailbox_done(&m);
}

static struct mailbox shared;
static struct letter sent[SENDERS][EACH];

static void *sender(void *arg)
{
	int who = (int)(intptr_t)arg;

	for (int i = 0; i < EACH; i++) {
		sent[who][i].sender = who;
		sent[who][i].number = i;
		mailbox_send(&shared, &sent[who][i].message);
	}
	return NULL;
}

static void nothing_is_lost_between_threads(void **state)
{
	pthread_t threads[SENDERS];
	int next[SENDERS] = {0}, total = 0;

	(void)state;
	assert_int_equal(mailbox_init(&shared), 0);
	for (int i = 0; i < SENDERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, sender, (void *)(intptr_t)i), 0);
	while (total < SENDERS * EACH) {
		struct pollfd p = {.fd = shared.event_fd, .events = POLLIN};

		/* Every message rings: waiting for the bell alone must be enough. */
		assert_int_equal(poll(&p, 1, 60000), 1);
		for (struct message *got = mailbox_take(&shared); got != NULL; got = got->next) {
			struct letter *l = (struct letter *)got;

			assert_int_equal(l->number, next[l->sender]);
			next[l->sender]++;
			total++;
		}
	}
	for (int i = 0; i < SENDERS; i++)
		pthread_join(threads[i], NULL);
	assert_null(mailbox_take(&shared));
	mailbox_done(&shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_box_is_silent),
		cmocka_unit_test(messages_come_in_the_order_sent),
		cmocka_unit_test(nothing_is_lost_between_threads),
	};

	return cmocka_run_group_tests_name("net/mailbox", tests, NULL, NULL);
}
