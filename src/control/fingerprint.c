/* How the control plane notices, with one system call, that somebody has touched a file. The change
 * time is part of it because a new owner or mode can make an unreadable file readable, and because
 * nobody can set it back. */
#include "control/fingerprint.h"

#include <errno.h>
#include <sys/stat.h>

int fingerprint_take(const char *path, struct fingerprint *ret)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*ret = (struct fingerprint){
		.valid = true,
		.dev = st.st_dev,
		.ino = st.st_ino,
		.size = st.st_size,
		.mtime = st.st_mtim,
		.ctime = st.st_ctim,
	};
	return 0;
}

static bool time_equal(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool fingerprint_equal(const struct fingerprint *a, const struct fingerprint *b)
{
	return a->valid && b->valid && a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       time_equal(&a->mtime, &b->mtime) && time_equal(&a->ctime, &b->ctime);
}
