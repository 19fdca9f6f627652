/* The process that an upgrade starts, as its parent deals with it: where its program is, its start,
 * how it is held still, its end. What the two say to each other is successor.c's. Control thread:
 * the kernel tells a process of the end of the thread that started it. */
#ifndef DAEMON_SUCCESSOR_PROCESS_H
#define DAEMON_SUCCESSOR_PROCESS_H

#include "base/check.h"

#include <stdbool.h>
#include <sys/types.h>

/* "exit status 1", "signal KILL", "it was ended". */
#define SUCCESSOR_PROCESS_END_MAX 64

/* At the very start of this process: where the program is. Never NULL. */
const char *successor_process_path(void);

/* Starts `path run` with its end of the link (control/handover.h). 0 or -errno. */
MUST_CHECK int successor_process_start(const char *path, int link, pid_t *ret_pid);

/* Stops it where it is. Returns when it has stopped or ended (how it ended is left for
 * successor_process_end()), or when it takes too long. */
void successor_process_hold(pid_t pid);
void successor_process_let_go(pid_t pid);

/* Says how it ended; it is ended if need be, at once unless it ends by itself. */
void successor_process_end(pid_t pid, bool ends, char ret_how[SUCCESSOR_PROCESS_END_MAX]);

#endif
