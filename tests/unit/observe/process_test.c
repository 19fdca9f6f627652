#include "observe/process.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void descriptors_are_counted(void **state)
{
	struct process_figures before, after;
	int fds[2];

	(void)state;
	process_read(&before);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	process_read(&after);
	assert_int_equal(after.open_fds, before.open_fds + 2);
	close(fds[0]);
	close(fds[1]);
	process_read(&after);
	assert_int_equal(after.open_fds, before.open_fds);
}

static void figures_are_plausible(void **state)
{
	struct process_figures p;
	struct rlimit limit;

	(void)state;
	process_read(&p);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(p.max_fds, limit.rlim_cur);
	assert_in_range(p.resident_bytes, 100000, p.virtual_bytes);
	assert_in_range(p.cpu_us, 1, UINT64_C(3600000000));
}

static void the_start_is_found_behind_any_name(void **state)
{
	uint64_t now_us = (uint64_t)time(NULL) * 1000000;
	uint64_t start_us;

	(void)state;
	assert_int_equal(prctl(PR_SET_NAME, ") R 1 2 3 ("), 0);
	start_us = process_start_us();
	/* A minute is far more than this program takes, and a clock tick less than a second. */
	assert_in_range(start_us, now_us - 60000000, now_us + 1000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(descriptors_are_counted),
		cmocka_unit_test(figures_are_plausible),
		cmocka_unit_test(the_start_is_found_behind_any_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
