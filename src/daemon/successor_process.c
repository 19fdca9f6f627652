/* A child like any other: started with what it needs and nothing of this process's own, watched by
 * its pid until it has been waited for. Whatever it is waited for has a limit, since clients may be
 * waiting too.
 *
 * It trusts nothing of the program, which may be any file by now; it never decides whether the new
 * process is to be held, let go or ended. Should this process die while it holds the new one still,
 * the kernel lets that go on (predecessor.c). */
#include "daemon/successor_process.h"

#include "base/spawn.h"
#include "control/handover.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A process that has hung up has so long to say with which status it ends, and one that is to stop
 * has so long until it has. */
#define EXIT_PATIENCE_MS 200

const char *successor_process_path(void)
{
	static char path[PATH_MAX];
	const char *called = (const char *)(uintptr_t)getauxval(AT_EXECFN);
	char cwd[PATH_MAX];

	/* The name by which it was called, not the file that this was: a link to the present
	 * version is followed anew. */
	if (called == NULL || *called == '\0')
		called = "/proc/self/exe";
	if (*called == '/' || getcwd(cwd, sizeof(cwd)) == NULL ||
	    snprintf(path, sizeof(path), "%s/%s", cwd, called) >= (int)sizeof(path))
		snprintf(path, sizeof(path), "%s", called);
	return path;
}

/* ---- the start ---- */

/* The environment of this process and the number of the link. Freed by the caller, but not the
 * strings. */
static char **environment(char *link)
{
	size_t count = 0;
	char **copy;

	while (environ[count] != NULL)
		count++;
	copy = calloc(count + 2, sizeof(*copy));
	if (copy == NULL)
		return NULL;
	for (size_t i = 0, kept = 0; i <= count; i++) {
		/* It says for which process the manager's watchdog is, and that was this one. */
		if (environ[i] == NULL)
			copy[kept++] = link;
		else if (strncmp(environ[i], "WATCHDOG_PID=", 13) != 0)
			copy[kept++] = environ[i];
	}
	return copy;
}

int successor_process_start(const char *path, int link, pid_t *ret_pid)
{
	char command[] = "run", variable[64], *argv[] = {(char *)(uintptr_t)path, command, NULL};
	char **env;
	int err;

	snprintf(variable, sizeof(variable), HANDOVER_VARIABLE "=%d", SPAWN_LINK_FD);
	env = environment(variable);
	if (env == NULL)
		return -ENOMEM;
	/* The signals that this process obeys stay blocked in the new one, which blocks them as
	 * well: whoever signals all processes that there are must not end one that has just begun.
	 */
	err = spawn_start(&(struct spawn){.path = path, .argv = argv, .env = env, .link = link},
	                  ret_pid);
	free(env);
	return err;
}

/* ---- the rest of its life ---- */

static void pause_1ms(void)
{
	static const struct timespec pause = {.tv_nsec = 1000000};

	nanosleep(&pause, NULL);
}

/* waitpid() with some patience: its pid; 0: nothing has become of it; -1: it is none of this one's.
 */
static pid_t wait_for_it(pid_t pid, int *ret_status)
{
	pid_t done = 0;

	for (int i = 0; i < EXIT_PATIENCE_MS && done == 0; i++) {
		done = waitpid(pid, ret_status, WNOHANG);
		if (done == 0)
			pause_1ms();
	}
	return done;
}

void successor_process_hold(pid_t pid)
{
	siginfo_t news = {0};

	(void)kill(pid, SIGSTOP);
	for (int i = 0; i < EXIT_PATIENCE_MS && news.si_pid == 0; i++) {
		if (waitid(P_PID, (id_t)pid, &news, WSTOPPED | WEXITED | WNOHANG | WNOWAIT) != 0)
			return;
		if (news.si_pid == 0)
			pause_1ms();
	}
}

void successor_process_let_go(pid_t pid)
{
	(void)kill(pid, SIGCONT);
}

void successor_process_end(pid_t pid, bool ends, char ret_how[SUCCESSOR_PROCESS_END_MAX])
{
	int status = 0;
	pid_t done = ends ? wait_for_it(pid, &status) : waitpid(pid, &status, WNOHANG);

	if (done == 0) {
		kill(pid, SIGKILL);
		(void)waitpid(pid, &status, 0);
		snprintf(ret_how, SUCCESSOR_PROCESS_END_MAX, "it was ended");
	} else if (done > 0 && WIFSIGNALED(status)) {
		snprintf(ret_how, SUCCESSOR_PROCESS_END_MAX, "signal %s",
		         sigabbrev_np(WTERMSIG(status)));
	} else {
		snprintf(ret_how, SUCCESSOR_PROCESS_END_MAX, "exit status %d",
		         done > 0 ? WEXITSTATUS(status) : -1);
	}
}
