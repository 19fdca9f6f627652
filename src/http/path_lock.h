/* The right to a path, which one process at a time has: an empty file "PATH.lock" beside it,
 * locked for as long as the right is held. The kernel gives it back for a process that dies. Any
 * thread. */
#ifndef HTTP_PATH_LOCK_H
#define HTTP_PATH_LOCK_H

#include "base/check.h"

#define PATH_LOCK_SUFFIX ".lock"

/* Never waits. 0; -EADDRINUSE: somebody has it; or another -errno: the file cannot be made. */
MUST_CHECK int path_lock_take(const char *path, int *ret_fd);
/* Removes the file and closes fd. */
void path_lock_release(const char *path, int fd);

#endif
