/* Keeping the state file. It is written beside its place under a name of this process, made durable
 * and renamed, so whoever reads it, at any time and after any crash, sees the old state or the new
 * one. A file that cannot be read costs its bindings and one line of the log, never the start.
 *
 * Each slice asks the kernel to begin writing it to the disk (sync_file_range), so that the fsync
 * at the end, which nobody can cut in slices, finds little left to do. */
#include "control/state_file.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct state_file {
	struct state_file_options options;
	char path[PATH_MAX];
	char part[PATH_MAX];
	struct state_writer *writer; /* NULL: no save is under way */
	int fd;
	uint64_t began_ns;
	uint64_t changes;        /* of bindings and backends, when the last save began */
	uint64_t save_at_ms;     /* the next; 0: not known yet */
	uint64_t complain_at_ms; /* not before */
};

int state_file_new(const struct state_file_options *options, struct state_file **ret)
{
	struct state_file *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return -ENOMEM;
	f->options = *options;
	f->fd = -1;
	/* The option is shorter than a path by more than these names. */
	CHECK(snprintf(f->path, sizeof(f->path), "%s/" STATE_FILE_NAME, options->state_dir) <
	      (int)sizeof(f->path));
	CHECK(snprintf(f->part, sizeof(f->part), "%s.%d", f->path, (int)getpid()) <
	      (int)sizeof(f->part));
	*ret = f;
	return 0;
}

static bool wanted(const struct state_file *f)
{
	return f->options.state_dir[0] != '\0';
}

void state_file_cancel(struct state_file *f)
{
	if (f->writer == NULL)
		return;
	state_writer_free(f->writer);
	f->writer = NULL;
	close(f->fd);
	f->fd = -1;
	(void)unlink(f->part);
}

void state_file_free(struct state_file *f)
{
	if (f == NULL)
		return;
	state_file_cancel(f);
	free(f);
}

void state_file_load(struct state_file *f)
{
	const struct state_import to = {
		.live = f->options.live,
		.affinity = f->options.affinity,
		.ttl_ms = f->options.ttl_ms,
		.faults = f->options.faults,
	};
	char error[STATE_ERROR_MAX] = "";
	uint64_t began_ns = clock_now_ns();
	struct state_summary s;
	struct log_line l;
	int fd, err;

	if (!wanted(f))
		return;
	fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT)
		return;
	if (fd < 0) {
		err = -errno;
		snprintf(error, sizeof(error), "%s", strerror(-err));
	} else {
		err = state_import(fd, &to, &s, error);
		close(fd);
	}
	log_begin(&l, err == 0 ? LOG_INFO : LOG_WARN, err == 0 ? "state_loaded" : "state_ignored");
	log_str(&l, "path", f->path);
	if (err == 0) {
		log_uint(&l, "bindings", s.bindings);
		log_uint(&l, "expired", s.expired);
		log_uint(&l, "unknown", s.unknown);
		log_uint(&l, "faults", s.faults);
		log_uint(&l, "age_secs", s.age_ms / 1000);
		log_ms(&l, "took_ms", clock_now_ns() - began_ns);
	} else {
		log_str(&l, "error", error);
		log_str(&l, "effect", "clients are balanced and backends checked anew");
	}
	log_end(&l);
}

static void failed(struct state_file *f, int err, uint64_t now_ms)
{
	struct log_line l;

	state_file_cancel(f);
	f->save_at_ms = now_ms + STATE_FILE_REPEAT_MS;
	if (now_ms < f->complain_at_ms)
		return;
	f->complain_at_ms = now_ms + STATE_FILE_REPEAT_MS;
	log_begin(&l, LOG_ERROR, "state_not_saved");
	log_str(&l, "path", f->path);
	log_errno(&l, err);
	log_str(&l, "effect", "a restart would lose what was learnt since the last save");
	log_end(&l);
}

static int begin(struct state_file *f)
{
	int err;

	f->began_ns = clock_now_ns();
	(void)unlink(f->part); /* what an earlier process of this number left behind */
	f->fd = open(f->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (f->fd < 0)
		return -errno;
	err = state_writer_new(f->fd,
	                       &(struct state_source){
				       .live = f->options.live,
				       .faults = f->options.faults,
				       .affinity = f->options.affinity,
				       /* Since for ever: no use lies so far back. */
				       .since_ms = clock_now_ms() - (uint64_t)INT64_MAX / 2,
			       },
	                       &f->writer);
	if (err == 0)
		return 0;
	close(f->fd);
	f->fd = -1;
	(void)unlink(f->part);
	return err;
}

static int make_name_durable(const struct state_file *f)
{
	int fd = open(f->options.state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = fd < 0 || fsync(fd) != 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return err;
}

static int end(struct state_file *f)
{
	struct log_line l;

	if (fsync(f->fd) != 0 || rename(f->part, f->path) != 0)
		return -errno;
	log_begin(&l, LOG_DEBUG, "state_saved");
	log_uint(&l, "bindings", state_writer_bindings(f->writer));
	log_ms(&l, "took_ms", clock_now_ns() - f->began_ns);
	log_end(&l);
	state_file_cancel(f); /* only forgets: the part has its final name */
	f->complain_at_ms = 0;
	return make_name_durable(f);
}

/* Any connection asks the table, so a table that nobody asked is the same as before. */
static uint64_t changes(const struct state_file *f)
{
	struct affinity_counts c = affinity_counts(f->options.affinity);

	return c.hits + c.misses + c.evictions + c.expirations + live_mark_version(f->options.live);
}

static void step(struct state_file *f, uint64_t now_ms)
{
	uint64_t until_ms = clock_now_ms() + STATE_FILE_SLICE_MS;
	int rc;

	do
		rc = state_writer_step(f->writer);
	while (rc > 0 && clock_now_ms() < until_ms);
	if (rc > 0) {
		(void)sync_file_range(f->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
		return;
	}
	if (rc == 0)
		rc = end(f);
	if (rc != 0)
		failed(f, rc, now_ms);
}

void state_file_tick(struct state_file *f, uint64_t now_ms)
{
	int err;

	if (!wanted(f) || f->options.save_every_ms == 0)
		return;
	if (f->writer != NULL) {
		step(f, now_ms);
		return;
	}
	if (f->save_at_ms == 0)
		f->save_at_ms = now_ms + f->options.save_every_ms;
	if (now_ms < f->save_at_ms)
		return;
	f->save_at_ms = now_ms + f->options.save_every_ms;
	if (changes(f) == f->changes)
		return;
	f->changes = changes(f);
	err = begin(f);
	if (err != 0)
		failed(f, err, now_ms);
}

void state_file_save(struct state_file *f)
{
	int err;

	if (!wanted(f))
		return;
	state_file_cancel(f);
	err = begin(f);
	if (err == 0)
		err = state_writer_finish(f->writer);
	if (err == 0)
		err = end(f);
	if (err != 0)
		failed(f, err, clock_now_ms());
}
