/* A file that is renamed, removed, filled up: which lines end where. Time is an argument. */
#include "observe/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/log_file_test.XXXXXX";
static char path[64], old[64];
static struct log_file file;

static int make_folder(void **state)
{
	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/log", folder);
	snprintf(old, sizeof(old), "%s/old", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

static int begin(void **state)
{
	(void)state;
	log_file_init(&file, path);
	return 0;
}

static int end(void **state)
{
	(void)state;
	log_file_close(&file);
	(void)remove(path);
	(void)remove(old);
	return 0;
}

static void expect(const char *where, const char *text)
{
	char buf[256];
	int fd = open(where, O_RDONLY);
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	assert_true(fd >= 0 && n >= 0);
	close(fd);
	buf[n] = '\0';
	assert_string_equal(buf, text);
}

static ssize_t put(const char *lines)
{
	return log_file_write(&file, lines, strlen(lines));
}

static void it_is_made_and_appended_to(void **state)
{
	struct stat st;
	mode_t before = umask(0);

	(void)state;
	assert_int_equal(log_file_open(&file), 0);
	umask(before);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(put("a\n"), 2);
	assert_int_equal(log_file_open(&file), 0);
	assert_int_equal(put("b\nc\n"), 4);
	expect(path, "a\nb\nc\n");
}

static void another_file_is_followed_at_once_and_none_after_a_while(void **state)
{
	(void)state;
	assert_int_equal(log_file_open(&file), 0);
	assert_int_equal(log_file_follow(&file, 10), 0);
	assert_int_equal(put("a\n"), 2);
	assert_int_equal(rename(path, old), 0);
	/* Whoever renamed it may be about to make a new one. */
	assert_int_equal(log_file_follow(&file, 20), 0);
	assert_int_equal(log_file_follow(&file, 20 + LOG_FILE_MISSING_MS - 1), 0);
	assert_int_equal(put("b\n"), 2);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(log_file_follow(&file, 20 + LOG_FILE_MISSING_MS - 1), 1);
	assert_int_equal(put("c\n"), 2);
	expect(old, "a\nb\n");
	expect(path, "c\n");
	/* And if not, it is made here. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(log_file_follow(&file, 5000), 0);
	assert_int_equal(log_file_follow(&file, 5000 + LOG_FILE_MISSING_MS), 1);
	assert_int_equal(put("d\n"), 2);
	expect(path, "d\n");
}

static void what_cannot_be_followed_is_tried_again(void **state)
{
	(void)state;
	assert_int_equal(log_file_open(&file), 0);
	assert_int_equal(rename(path, old), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(log_file_follow(&file, 10), -EISDIR);
	assert_int_equal(put("a\n"), 2);
	expect(old, "a\n");
	assert_int_equal(rmdir(path), 0);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(log_file_follow(&file, 11), -EISDIR);
	assert_int_equal(log_file_follow(&file, 10 + LOG_FILE_RETRY_MS), 1);
	/* The same file is back: all is well. */
	assert_int_equal(rename(path, old), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(log_file_follow(&file, 5000), -EISDIR);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rename(old, path), 0);
	assert_int_equal(log_file_follow(&file, 5000 + LOG_FILE_RETRY_MS), 0);
}

/* Room for a line and a half. */
static void a_line_that_was_begun(void **state)
{
	bool renamed = *(bool *)*state;
	struct rlimit all, little;

	assert_int_equal(log_file_open(&file), 0);
	getrlimit(RLIMIT_FSIZE, &all);
	little = (struct rlimit){.rlim_cur = 7, .rlim_max = all.rlim_max};
	setrlimit(RLIMIT_FSIZE, &little);
	assert_int_equal(put("four\nfive\n"), 5);
	assert_int_equal(put("five\n"), -EFBIG);
	assert_int_equal(put("five\n"), -EFBIG);
	setrlimit(RLIMIT_FSIZE, &all);
	expect(path, "four\nfi");
	if (renamed) {
		assert_int_equal(rename(path, old), 0);
		assert_int_equal(log_file_open(&file), 0);
	}
	assert_int_equal(put("five\nsix\n"), 9);
	expect(path, renamed ? "five\nsix\n" : "four\nfive\nsix\n");
}

static int begin_stays(void **state)
{
	static bool renamed = false;

	*state = &renamed;
	return begin(state);
}

static int begin_renamed(void **state)
{
	static bool renamed = true;

	*state = &renamed;
	return begin(state);
}

static void a_fifo_does_not_block(void **state)
{
	static char lines[200000];
	char buf[65536];
	size_t taken = 0;
	ssize_t n;
	int fd;

	(void)state;
	for (size_t i = 0; i < sizeof(lines); i++)
		lines[i] = i % 100 == 99 ? '\n' : 'x';
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(log_file_open(&file), -ENXIO);
	fd = open(path, O_RDONLY | O_NONBLOCK);
	assert_int_equal(log_file_open(&file), 0);
	n = log_file_write(&file, lines, sizeof(lines));
	/* As much as fits, in whole lines; then it is said that the reader is behind. */
	assert_in_range(n, 1, sizeof(lines) - 1);
	assert_int_equal(n % 100, 0);
	assert_int_equal(log_file_write(&file, lines, 100), -EAGAIN);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		taken += (size_t)n;
	assert_int_equal(taken % 100, 0);
	assert_int_equal(log_file_write(&file, lines, 100), 100);
	close(fd);
	assert_int_equal(log_file_write(&file, lines, 100), -EPIPE);
}

static void what_is_no_file(void **state)
{
	(void)state;
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(log_file_open(&file), -EISDIR);
	log_file_init(&file, "/nonexistent/log");
	assert_int_equal(log_file_open(&file), -ENOENT);
	log_file_init(&file, "/dev/null");
	assert_int_equal(log_file_open(&file), 0);
	assert_int_equal(put("a\n"), 2);
}

int main(void)
{
#define TEST(function, setup) cmocka_unit_test_setup_teardown(function, setup, end)
	const struct CMUnitTest tests[] = {
		TEST(it_is_made_and_appended_to, begin),
		TEST(another_file_is_followed_at_once_and_none_after_a_while, begin),
		TEST(what_cannot_be_followed_is_tried_again, begin),
		TEST(a_line_that_was_begun, begin_stays),
		TEST(a_line_that_was_begun, begin_renamed),
		TEST(a_fifo_does_not_block, begin),
		TEST(what_is_no_file, begin),
	};

	return cmocka_run_group_tests_name("observe/log_file", tests, make_folder, remove_folder);
}
