/* A file (or FIFO, or standard output) that lines of a log are appended to, and that somebody may
 * rename, remove or fill up meanwhile. One thread at a time. */
#ifndef OBSERVE_LOG_FILE_H
#define OBSERVE_LOG_FILE_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* How long a write waits for a reader that is behind. */
#define LOG_FILE_WAIT_MS 100
/* A file that is not at its path any more is made anew after so long: whoever renamed it may be
 * about to do so himself. */
#define LOG_FILE_MISSING_MS 1000
/* A new file that could not be opened is tried again so often. */
#define LOG_FILE_RETRY_MS 1000

struct log_file {
	const char *path; /* NULL: standard output; outlives this */
	int fd;           /* -1: none is open */
	bool regular;
	dev_t device;
	ino_t inode;
	size_t ahead; /* bytes of the next line that are in the file already */
	int follow_error;
	uint64_t follow_ms;  /* not before: after follow_error */
	uint64_t missing_ms; /* since when there is nothing at its path; 0: there is */
};

void log_file_init(struct log_file *f, const char *path);
/* Opens it (anew), made with mode 0640 if it is not there. 0, or -errno and what was open stays
 * open: -ENXIO for a FIFO that nobody reads, -EINVAL for what is neither file, FIFO nor character
 * device. */
MUST_CHECK int log_file_open(struct log_file *f);
/* Goes over to another file that is at the path now. 0, 1 when it has done so, or -errno: it could
 * not, and the old one is written on. */
MUST_CHECK int log_file_follow(struct log_file *f, uint64_t now_ms);
/* Appends len bytes that begin and end with a line; how many whole lines' bytes were taken, or,
 * where it is none, -errno (-EAGAIN: the reader is behind; otherwise the rest of a line that was
 * begun is written with the next call). */
MUST_CHECK ssize_t log_file_write(struct log_file *f, const char *lines, size_t len);
void log_file_close(struct log_file *f);

#endif
