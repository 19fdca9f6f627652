/* What stat() says of a file, to see whether it is still the same one with the same content. A
 * change within the granularity of the file system's clock that keeps the size may go unseen. */
#ifndef CONTROL_FINGERPRINT_H
#define CONTROL_FINGERPRINT_H

#include "base/check.h"

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

struct fingerprint {
	bool valid; /* false: equal to nothing */
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime;
	struct timespec ctime;
};

/* 0; -errno of stat(); -EISDIR (a folder) or -EINVAL (a device, a FIFO: opening one might block).
 */
MUST_CHECK int fingerprint_take(const char *path, struct fingerprint *ret);
bool fingerprint_equal(const struct fingerprint *a, const struct fingerprint *b);

#endif
