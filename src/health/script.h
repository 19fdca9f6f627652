/* A script that checks a backend, as a process: HAProxy's external-check. The health thread only.
 */
#ifndef HEALTH_SCRIPT_H
#define HEALTH_SCRIPT_H

#include "base/check.h"
#include "net/addr.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What the script is told. Borrowed for the time of the call. */
struct script_about {
	const char *backend;
	const char *app;
	struct endpoint addr;
	uint32_t connections;
	uint32_t hard_limit;
};

struct script {
	pid_t pid;
	int fd;      /* pidfd: readable when the process has ended */
	bool killed; /* by script_kill() */
};

/* Starts DIR/NAME in a process group of its own. dir is an absolute path, name one name in it.
 * 0 or -errno. */
MUST_CHECK int script_start(const char *dir, const char *name, const struct script_about *about,
                            struct script *ret_script);
/* Kills the whole group. It still has to be reaped. */
void script_kill(struct script *s);
/* Takes the end of the process, kills what it has left behind in its group, and closes fd. False:
 * it has not ended yet. */
bool script_reap(struct script *s, int *ret_wait_status);

#endif
