/* Programs with scripts in their place: what they find at their start, and that nobody but the
 * process itself has its descriptors at any time. */
#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY 4000 /* descriptors: so that it takes long to copy them */
#define STARTS 200

static char sh[] = "/bin/sh";
static char no_env[] = "WORD=found";
static char *env[] = {no_env, NULL};

/* What a script writes to its link. */
static const char *told(const char *script)
{
	static char text[200];
	char option[] = "-c";
	char *argv[] = {sh, option, (char *)(uintptr_t)script, NULL};
	int ends[2], status;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(
		spawn_start(&(struct spawn){.path = sh, .argv = argv, .env = env, .link = ends[1]},
	                    &pid),
		0);
	close(ends[1]);
	while (len < sizeof(text) - 1 &&
	       (n = read(ends[0], text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	return text;
}

static void its_link_and_its_environment(void **state)
{
	(void)state;
	assert_string_equal(told("echo $WORD $0 >&3"), "found /bin/sh\n");
}

/* A program that sleeps: what the kernel says of it is how it has begun. */
static pid_t sleeping(bool apart, int link)
{
	char program[] = "/bin/sleep", seconds[] = "1000";
	char *argv[] = {program, seconds, NULL};
	pid_t pid;

	assert_int_equal(spawn_start(&(struct spawn){.path = program,
	                                             .argv = argv,
	                                             .env = env,
	                                             .link = link,
	                                             .apart = apart},
	                             &pid),
	                 0);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void expect_link(pid_t pid, const char *name, const char *target)
{
	char path[60], text[60] = "";

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	(void)!readlink(path, text, sizeof(text) - 1);
	assert_string_equal(text, target);
}

static void its_descriptors(void **state)
{
	struct stat before, after;
	int ends[2], high;
	pid_t pid;

	(void)state;
	assert_int_equal(fstat(STDIN_FILENO, &before), 0);
	assert_int_equal(pipe(ends), 0); /* without close-on-exec */
	high = fcntl(ends[0], F_DUPFD, 900);
	assert_int_equal(high, 900);
	pid = sleeping(true, ends[0]);
	expect_link(pid, "cwd", "/");
	expect_link(pid, "fd/0", "/dev/null");
	expect_link(pid, "fd/1", "/dev/null");
	expect_link(pid, "fd/2", "/dev/null");
	expect_link(pid, "fd/900", "");
	end(pid);
	close(ends[0]);
	close(ends[1]);
	close(high);
	/* Of this process, standard input is what it was. */
	assert_int_equal(fstat(STDIN_FILENO, &after), 0);
	assert_true(before.st_dev == after.st_dev && before.st_ino == after.st_ino);
	assert_int_equal(fcntl(STDIN_FILENO, F_GETFD), 0);
}

static unsigned long long status_of(pid_t pid, const char *field)
{
	unsigned long long value = 0;
	char path[40], line[200];
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	assert_non_null(file);
	while (!found && fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, field, strlen(field)) == 0)
			found = sscanf(line + strlen(field), ": %llx", &value) == 1;
	fclose(file);
	assert_true(found);
	return value;
}

static void expect_signals(bool apart, unsigned long long blocked, unsigned long long ignored)
{
	pid_t pid = sleeping(apart, -1);

	assert_int_equal(status_of(pid, "SigBlk"), blocked);
	assert_int_equal(status_of(pid, "SigIgn"), ignored);
	assert_int_equal(getpgid(pid), apart ? pid : getpgrp());
	end(pid);
}

static void its_signals(void **state)
{
	sigset_t some, before;

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	sigemptyset(&some);
	sigaddset(&some, SIGTERM);
	sigprocmask(SIG_SETMASK, &some, &before);
	expect_signals(true, 0, 0);
	expect_signals(false, 1 << (SIGTERM - 1), 1 << (SIGUSR2 - 1));
	sigprocmask(SIG_SETMASK, NULL, &some);
	assert_true(sigismember(&some, SIGTERM) && !sigismember(&some, SIGUSR1));
	sigprocmask(SIG_SETMASK, &before, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGUSR2, SIG_DFL);
}

static void no_program(void **state)
{
	char *argv[] = {sh, NULL};
	const struct spawn what = {.path = "/nowhere", .argv = argv, .env = env, .link = -1};
	pid_t pid = 42;

	(void)state;
	assert_int_equal(spawn_start(&what, &pid), -ENOENT);
	assert_int_equal(pid, 42);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left of the child */
	assert_int_equal(errno, ECHILD);
}

/* ---- copies ---- */

static atomic_bool over;

static void *start_programs(void *arg)
{
	char option[] = "-c", nothing[] = ":";
	char *argv[] = {sh, option, nothing, NULL};
	struct spawn what = {.path = sh, .argv = argv, .env = env, .link = -1, .apart = true};
	const int *link = arg;

	for (int i = 0; i < STARTS; i++) {
		pid_t pid;

		what.link = i % 2 == 0 ? -1 : *link;
		if (spawn_start(&what, &pid) == 0)
			waitpid(pid, NULL, 0);
	}
	over = true;
	return NULL;
}

/* As a worker closes sockets while another thread starts a program. */
static void what_is_closed_is_closed(void **state)
{
	struct rlimit limit;
	static int fds[MANY];
	unsigned alive = 0;
	pthread_t thread;
	int link;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (int i = 0; i < MANY; i++)
		fds[i] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	link = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	assert_int_equal(pthread_create(&thread, NULL, start_programs, &link), 0);
	while (!over) {
		int ends[2];
		char byte;

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		                            ends),
		                 0);
		close(ends[1]);
		/* The end, unless somebody else has a copy. */
		alive += recv(ends[0], &byte, 1, 0) != 0;
		close(ends[0]);
	}
	pthread_join(thread, NULL);
	close(link);
	for (int i = 0; i < MANY; i++)
		close(fds[i]);
	assert_int_equal(alive, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_link_and_its_environment),
		cmocka_unit_test(its_descriptors),
		cmocka_unit_test(its_signals),
		cmocka_unit_test(no_program),
		cmocka_unit_test(what_is_closed_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
