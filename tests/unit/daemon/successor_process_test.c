/* A child of an upgrade with scripts in the program's place: what it finds at its start, that it
 * can be held still and let go on, and how its end is told. */
#include "daemon/successor_process.h"

#include "control/handover.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define LINE_MAX_BYTES 200

struct fixture {
	char folder[32];
	char program[48];
	int link; /* this process's end */
	pid_t pid;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	snprintf(f->folder, sizeof(f->folder), "/tmp/successor-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->program, sizeof(f->program), "%s/program", f->folder);
	f->link = -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->link >= 0)
		close(f->link);
	unlink(f->program);
	rmdir(f->folder);
	free(f);
	return 0;
}

static void start(struct fixture *f, const char *script)
{
	FILE *file = fopen(f->program, "we");
	int ends[2];

	assert_non_null(file);
	assert_true(fprintf(file, "#!/bin/sh\n%s\n", script) > 0);
	assert_int_equal(fchmod(fileno(file), 0700), 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(successor_process_start(f->program, ends[1], &f->pid), 0);
	close(ends[1]);
	f->link = ends[0];
}

/* What it says next, a line or the end. */
static const char *heard(struct fixture *f)
{
	static char line[LINE_MAX_BYTES];
	size_t len = 0;

	while (len < sizeof(line) - 1 && read(f->link, &line[len], 1) == 1 && line[len] != '\n')
		len++;
	line[len] = '\0';
	return line;
}

static const char *ended(const struct fixture *f, bool ends)
{
	static char how[SUCCESSOR_PROCESS_END_MAX];

	successor_process_end(f->pid, ends, how);
	assert_int_equal(kill(f->pid, 0), -1); /* nobody is left */
	return how;
}

static char letter_of(pid_t pid)
{
	char path[40], letter = '?';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%*d (%*[^)]) %c", &letter), 1);
	fclose(file);
	return letter;
}

static void what_it_finds(void **state)
{
	struct fixture *f = *state;

	setenv("WATCHDOG_PID", "1", 1);
	setenv("SUCCESSOR_TEST", "kept", 1);
	start(f, "echo $# $1 $" HANDOVER_VARIABLE " ${WATCHDOG_PID-none} $SUCCESSOR_TEST >&3");
	unsetenv("WATCHDOG_PID");
	unsetenv("SUCCESSOR_TEST");
	assert_string_equal(heard(f), "1 run 3 none kept");
	assert_string_equal(heard(f), ""); /* the link was its own alone */
	assert_string_equal(ended(f, true), "exit status 0");
}

static void no_program(void **state)
{
	struct fixture *f = *state;
	pid_t pid = 42;

	assert_int_equal(successor_process_start(f->program, STDERR_FILENO, &pid), -ENOENT);
	assert_int_equal(pid, 42);
}

static void how_it_ended(void **state)
{
	struct fixture *f = *state;

	start(f, "exit 3");
	assert_string_equal(heard(f), "");
	assert_string_equal(ended(f, true), "exit status 3");
	close(f->link);
	start(f, "kill -KILL $$");
	assert_string_equal(heard(f), "");
	assert_string_equal(ended(f, true), "signal KILL");
	close(f->link);
	/* One that goes on: at once, and after it has had the time to end by itself. */
	start(f, "echo here >&3; read -r never <&3");
	assert_string_equal(heard(f), "here");
	assert_string_equal(ended(f, false), "it was ended");
	close(f->link);
	start(f, "read -r never <&3");
	assert_string_equal(ended(f, true), "it was ended");
}

static void held_and_let_go(void **state)
{
	struct fixture *f = *state;

	start(f, "echo here >&3; read -r word <&3; echo $word back >&3");
	assert_string_equal(heard(f), "here");
	successor_process_hold(f->pid);
	assert_int_equal(letter_of(f->pid), 'T');
	assert_int_equal(write(f->link, "word\n", 5), 5);
	assert_int_equal(letter_of(f->pid), 'T');
	successor_process_let_go(f->pid);
	assert_string_equal(heard(f), "word back");
	assert_string_equal(heard(f), "");
	assert_string_equal(ended(f, true), "exit status 0");
}

static void held_and_ended(void **state)
{
	struct fixture *f = *state;

	start(f, "echo here >&3; read -r never <&3");
	assert_string_equal(heard(f), "here");
	successor_process_hold(f->pid);
	assert_string_equal(ended(f, false), "it was ended");
}

/* How it ended is still there to be told. */
static void held_when_it_has_ended(void **state)
{
	struct fixture *f = *state;

	start(f, "exit 5");
	assert_string_equal(heard(f), "");
	successor_process_hold(f->pid);
	assert_string_equal(ended(f, true), "exit status 5");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_it_finds, setup, teardown),
		cmocka_unit_test_setup_teardown(no_program, setup, teardown),
		cmocka_unit_test_setup_teardown(how_it_ended, setup, teardown),
		cmocka_unit_test_setup_teardown(held_and_let_go, setup, teardown),
		cmocka_unit_test_setup_teardown(held_and_ended, setup, teardown),
		cmocka_unit_test_setup_teardown(held_when_it_has_ended, setup, teardown),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
