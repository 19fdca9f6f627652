/* Appends to a file that is not ours alone. Processes of an upgrade append to the same one, so it
 * is O_APPEND, and what is no regular file gets whole lines in pieces that the kernel does not mix
 * with those of others. Nothing here blocks on the other side: a FIFO that nobody opens or reads,
 * or a standard output, is an error or a short wait.
 *
 * Rotation: before each write the path is looked at. When another file is there, that is written
 * from now on, signal or not, and each process of an upgrade sees it for itself. */
#include "observe/log_file.h"

#include "base/log_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_FILE_MODE 0640

void log_file_init(struct log_file *f, const char *path)
{
	*f = (struct log_file){.path = path, .fd = -1};
}

void log_file_close(struct log_file *f)
{
	if (f->fd >= 0 && f->path != NULL)
		close(f->fd);
	f->fd = -1;
}

int log_file_open(struct log_file *f)
{
	struct stat st;
	int fd = f->path == NULL
	                 ? STDOUT_FILENO
	                 : open(f->path,
	                        O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
	                        LOG_FILE_MODE);

	if (fd < 0) {
		int err = errno;

		/* A socket has no readers to wait for. */
		return err == ENXIO && stat(f->path, &st) == 0 && !S_ISFIFO(st.st_mode) ? -EINVAL
		                                                                        : -err;
	}
	if (fstat(fd, &st) != 0)
		st = (struct stat){0};
	if (f->path != NULL && !S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) &&
	    !S_ISCHR(st.st_mode)) {
		close(fd);
		return -EINVAL;
	}
	log_file_close(f);
	f->fd = fd;
	f->regular = S_ISREG(st.st_mode);
	f->device = st.st_dev;
	f->inode = st.st_ino;
	f->ahead = 0; /* the line that was begun is for the new file, as a whole */
	f->missing_ms = 0;
	f->follow_error = 0;
	return 0;
}

/* There is nothing at the path. */
static bool missing_for_long(struct log_file *f, uint64_t now_ms)
{
	if (f->missing_ms == 0)
		f->missing_ms = now_ms;
	return now_ms - f->missing_ms >= LOG_FILE_MISSING_MS;
}

int log_file_follow(struct log_file *f, uint64_t now_ms)
{
	struct stat st;
	bool found;
	int err;

	if (f->path == NULL || f->fd < 0)
		return 0;
	if (f->follow_error != 0 && now_ms < f->follow_ms)
		return f->follow_error;
	found = stat(f->path, &st) == 0;
	/* With any other error, what is open can be written all the same. */
	if (!found && (errno != ENOENT || !missing_for_long(f, now_ms)))
		return 0;
	if (found) {
		f->missing_ms = 0;
		if (st.st_dev == f->device && st.st_ino == f->inode) {
			f->follow_error = 0;
			return 0;
		}
	}
	err = log_file_open(f);
	f->follow_error = err;
	f->follow_ms = now_ms + LOG_FILE_RETRY_MS;
	return err == 0 ? 1 : err;
}

static bool wait_for_reader(int fd)
{
	struct pollfd writable = {.fd = fd, .events = POLLOUT};

	return poll(&writable, 1, LOG_FILE_WAIT_MS) > 0;
}

/* Like write(2), but -1 with EAGAIN when the reader is behind, also where the descriptor blocks:
 * standard output is shared with whoever started us, so that is not ours to change. */
static ssize_t write_some(const struct log_file *f, const char *lines, size_t len)
{
	if (f->regular)
		return write(f->fd, lines, len);
	if (!wait_for_reader(f->fd)) {
		errno = EAGAIN;
		return -1;
	}
	return write(f->fd, lines, log_writer_piece(lines, len));
}

ssize_t log_file_write(struct log_file *f, const char *lines, size_t len)
{
	size_t done = f->ahead;
	const char *end;
	int err = 0;

	while (err == 0 && done < len) {
		ssize_t n = write_some(f, lines + done, len - done);

		if (n > 0)
			done += (size_t)n;
		else if (n == 0)
			err = EIO;
		else if (errno != EINTR)
			err = errno;
	}
	end = done > 0 ? memrchr(lines, '\n', done) : NULL;

	size_t whole = end != NULL ? (size_t)(end - lines) + 1 : 0;

	f->ahead = done - whole;
	return whole > 0 || err == 0 ? (ssize_t)whole : -err;
}
