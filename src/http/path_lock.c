/* A lock is on a file, not on its name, and whoever gives a lock back removes the file: so one that
 * has locked a file looks whether it still is the one of that name, and begins anew if not. Only
 * who holds the lock removes the file.
 *
 * The file is nobody's but the user's, so that no other user can keep the lock from him. It is not
 * the folder that is locked: that would be anybody's who may read it. */
#include "http/path_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_MODE 0600
/* As many others may take it and give it back while one looks. */
#define TRIES 16

static int name_of(const char *path, char ret_name[PATH_MAX])
{
	return snprintf(ret_name, PATH_MAX, "%s" PATH_LOCK_SUFFIX, path) < PATH_MAX ? 0
	                                                                            : -ENAMETOOLONG;
}

/* Is fd what has that name now? */
static bool is_named(int fd, const char *name)
{
	struct stat own, there;

	return fstat(fd, &own) == 0 && lstat(name, &there) == 0 && own.st_dev == there.st_dev &&
	       own.st_ino == there.st_ino;
}

int path_lock_take(const char *path, int *ret_fd)
{
	char name[PATH_MAX];
	int err = name_of(path, name);

	for (int i = 0; err == 0 && i < TRIES; i++) {
		int fd = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, LOCK_MODE);

		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) != 0)
			err = errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
		else if (is_named(fd, name)) {
			*ret_fd = fd;
			return 0;
		}
		close(fd);
	}
	return err != 0 ? err : -EADDRINUSE;
}

void path_lock_release(const char *path, int fd)
{
	char name[PATH_MAX];

	if (name_of(path, name) == 0 && is_named(fd, name))
		(void)unlink(name);
	close(fd);
}
