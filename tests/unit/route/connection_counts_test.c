/* Memory of counts: its own, shared with another process, of another version; and what a dead
 * process held. */
#include "route/connection_counts.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct connection_counts *share(int *ret_fd)
{
	struct connection_counts *c = NULL;

	*ret_fd = -1;
	assert_int_equal(connection_counts_share("test-counts", ret_fd, &c), 0);
	assert_true(fcntl(*ret_fd, F_GETFD) & FD_CLOEXEC);
	return c;
}

static void test_all_begin_with_nothing(void **state)
{
	struct connection_counts *c = connection_counts_new();

	(void)state;
	assert_non_null(c);
	assert_int_equal(c->total, 0);
	assert_int_equal(c->by_slot[0], 0);
	assert_int_equal(c->by_slot[LIVE_SLOTS_MAX - 1], 0);
	connection_counts_free(c);
	connection_counts_free(NULL);
}

static void test_take_up_to_the_limit(void **state)
{
	_Atomic uint32_t count = 0;

	(void)state;
	assert_false(connection_count_take(&count, 0));
	assert_true(connection_count_take(&count, 2));
	assert_true(connection_count_take(&count, 2));
	assert_false(connection_count_take(&count, 2));
	assert_false(connection_count_take(&count, 1)); /* a limit that was lowered */
	assert_int_equal(count, 2);
	connection_count_give_back(&count);
	assert_true(connection_count_take(&count, 2));
}

static void test_shared_with_another_process(void **state)
{
	struct connection_counts *ours, *theirs;
	int status = -1;
	int fd;
	pid_t pid;

	(void)state;
	ours = share(&fd);
	assert_true(connection_count_take(&ours->total, 9));
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(connection_counts_map(fd, &theirs) == 0 && theirs->total == 1 &&
		                      connection_count_take(&theirs->by_slot[7], 1)
		              ? 0
		              : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(ours->by_slot[7], 1);
	assert_false(connection_count_take(&ours->by_slot[7], 1));

	/* They stay for whoever has mapped them. */
	assert_int_equal(connection_counts_map(fd, &theirs), 0);
	connection_counts_free(ours);
	close(fd);
	assert_int_equal(theirs->total, 1);
	connection_counts_free(theirs);
}

static void test_what_is_none_is_refused(void **state)
{
	struct connection_counts *before = (struct connection_counts *)&before;
	struct connection_counts *c = before;
	int fd = memfd_create("wrong", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(connection_counts_map(-1, &c), -EBADF);
	assert_int_equal(connection_counts_map(fd, &c), -EPROTO); /* another size */
	assert_int_equal(ftruncate(fd, sizeof(*c)), 0);
	assert_int_equal(connection_counts_map(fd, &c), -EPROTO); /* no magic */
	assert_ptr_equal(c, before);
	close(fd);

	/* One that is larger than ours. */
	connection_counts_free(share(&fd));
	assert_int_equal(ftruncate(fd, sizeof(*c) + 1), 0);
	assert_int_equal(connection_counts_map(fd, &c), -EPROTO);
	assert_ptr_equal(c, before);
	close(fd);
}

static void test_what_the_dead_held_and_only_that(void **state)
{
	struct connection_counts *common, *dead;
	int common_fd, dead_fd;

	(void)state;
	common = share(&common_fd);
	dead = share(&dead_fd);
	common->total = 10;
	common->by_slot[0] = 4;
	common->by_slot[1] = 3;
	common->by_slot[LIVE_SLOTS_MAX - 1] = 3;
	dead->total = 6;
	dead->by_slot[0] = 4;
	dead->by_slot[LIVE_SLOTS_MAX - 1] = 2;
	assert_int_equal(connection_counts_subtract(common, dead), 6);
	assert_int_equal(common->total, 4);
	assert_int_equal(common->by_slot[0], 0);
	assert_int_equal(common->by_slot[1], 3);
	assert_int_equal(common->by_slot[LIVE_SLOTS_MAX - 1], 1);
	assert_int_equal(dead->total, 6); /* others may look at it yet */
	connection_counts_free(common);
	connection_counts_free(dead);
	close(common_fd);
	close(dead_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_begin_with_nothing),
		cmocka_unit_test(test_take_up_to_the_limit),
		cmocka_unit_test(test_shared_with_another_process),
		cmocka_unit_test(test_what_is_none_is_refused),
		cmocka_unit_test(test_what_the_dead_held_and_only_that),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
