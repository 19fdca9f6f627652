/* Starts programs. What sets it apart from posix_spawn(): at no time is there a copy of a
 * descriptor that the program is not to have. While there is one, a socket that another thread
 * closes lives on: its peer is not told, and an epoll goes on telling of it, to whoever is in its
 * owner's place by then. */
#ifndef BASE_SPAWN_H
#define BASE_SPAWN_H

#include "base/check.h"

#include <stdbool.h>
#include <sys/types.h>

/* Where a program finds its link. */
#define SPAWN_LINK_FD 3

struct spawn {
	const char *path; /* not looked for anywhere */
	char *const *argv;
	char *const *env;
	/* At SPAWN_LINK_FD, and /dev/null at 0; -1: none. It has no other descriptors but 0 to 2,
	 * which must be open. Only one thread may start programs with links. */
	int link;
	/* It leads a process group, blocks no signal, is in "/", and 0 to 2 are /dev/null. Else all
	 * of this is as the caller has it. No signal is ignored; of one that is not apart, this is
	 * said of SIGPIPE and SIGXFSZ only, which this process ignores for itself. */
	bool apart;
};

/* 0 or -errno. The child is the caller's to wait for. */
MUST_CHECK int spawn_start(const struct spawn *what, pid_t *ret_pid);

#endif
