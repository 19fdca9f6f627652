/* Reads the routing database without ever writing to it, and notices when it has changed.
 *
 * SQLite's own `PRAGMA data_version` tells of commits by other processes, in WAL mode as well as
 * with a rollback journal; stat() tells of what goes behind SQLite's back: a file renamed over the
 * path, removed and made again, truncated, copied over. When the file itself has changed, a new
 * connection reads it, because an old one could hold cached pages and a schema of what was there
 * before.
 *
 * It does not trust the file: mmap is off, so that a truncation is an error and not a SIGBUS; views
 * are untrusted; cells are checked. What the rows say is control/row_reader.c's business. It never
 * logs, and never holds a read transaction longer than one store_read(), because that could block a
 * writer. */
#include "control/store.h"

#include "control/db_path.h"
#include "control/fingerprint.h"

#include <errno.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct store {
	char *path;      /* as given, for people */
	char *open_path; /* for SQLite (db_path.h) */
	int patience_ms;
	sqlite3 *db;              /* NULL: not open */
	sqlite3_stmt *version_of; /* PRAGMA data_version */
	bool immutable;           /* db sees no changes and takes no locks */
	dev_t db_dev;             /* what db has open */
	ino_t db_ino;
	int64_t version;         /* at the last read */
	struct fingerprint seen; /* at the last read */
};

/* ---- the file ---- */

/* 0, or -errno with one line in error. */
static int look(const struct store *s, struct fingerprint *ret, char error[STORE_ERROR_MAX])
{
	int rc = fingerprint_take(s->path, ret);

	if (rc == 0)
		return 0;
	return db_error(error, rc, "%s: %s", s->path,
	                rc == -EINVAL ? "not a regular file" : strerror(-rc));
}

/* Does a file with this ending stand beside the database? A doubt counts as yes. */
static bool companion_exists(const struct store *s, const char *ending)
{
	char real[PATH_MAX];
	char path[PATH_MAX + 16];
	struct stat st;

	if (realpath(s->open_path, real) == NULL)
		return true;
	snprintf(path, sizeof(path), "%s%s", real, ending);
	return stat(path, &st) == 0 || errno != ENOENT;
}

/* ---- the connection ---- */

static void disconnect(struct store *s)
{
	sqlite3_finalize(s->version_of);
	sqlite3_close(s->db);
	s->version_of = NULL;
	s->db = NULL;
	s->immutable = false;
}

/* Opens name and takes the first look at the file, which SQLite itself puts off. An SQLite code. */
static int open_at(struct store *s, const char *name, int flags, sqlite3 **ret_db,
                   sqlite3_stmt **ret_version_of, char error[STORE_ERROR_MAX])
{
	sqlite3 *db = NULL;
	sqlite3_stmt *version_of = NULL;
	int rc = sqlite3_open_v2(name, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | flags,
	                         NULL);

	if (rc == SQLITE_OK) {
		sqlite3_extended_result_codes(db, 1);
		sqlite3_busy_timeout(db, s->patience_ms);
		rc = sqlite3_exec(db,
		                  "PRAGMA mmap_size=0; PRAGMA query_only=1;"
		                  "PRAGMA trusted_schema=0; PRAGMA cell_size_check=1;",
		                  NULL, NULL, NULL);
	}
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(db, "PRAGMA data_version", -1, &version_of, NULL);
	if (rc == SQLITE_OK && sqlite3_step(version_of) == SQLITE_ROW) {
		sqlite3_reset(version_of);
		*ret_db = db;
		*ret_version_of = version_of;
		return SQLITE_OK;
	}
	if (rc == SQLITE_OK)
		rc = sqlite3_reset(version_of);
	if (rc == SQLITE_OK)
		rc = SQLITE_ERROR;
	(void)db_error_sqlite(error, db, s->path, rc);
	sqlite3_finalize(version_of);
	sqlite3_close(db);
	return rc;
}

/* "file:/path?immutable=1", or NULL. */
static char *immutable_uri(const char *path)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-._~/";
	static const char ending[] = "?immutable=1";
	char *uri = malloc(5 + 3 * strlen(path) + sizeof(ending));
	size_t n = 5;

	if (uri == NULL)
		return NULL;
	memcpy(uri, "file:", 5);
	for (; *path != '\0'; path++) {
		if (strchr(plain, *path) != NULL)
			uri[n++] = *path;
		else
			n += (size_t)sprintf(uri + n, "%%%02X", (unsigned)(unsigned char)*path);
	}
	memcpy(uri + n, ending, sizeof(ending));
	return uri;
}

/* A database in WAL mode whose writer has gone cannot be opened by a reader that may not write to
 * its folder. When nothing waits in a WAL or a journal, the file alone is the whole truth and may
 * be read as if it could not change. store_read() makes sure afterwards that it did not. */
static int open_immutable(struct store *s, sqlite3 **ret_db, sqlite3_stmt **ret_version_of,
                          char error[STORE_ERROR_MAX])
{
	char *uri = immutable_uri(s->open_path);
	int rc = SQLITE_NOMEM;

	if (uri != NULL)
		rc = open_at(s, uri, SQLITE_OPEN_URI, ret_db, ret_version_of, error);
	free(uri);
	return rc;
}

static bool could_not_open(int sqlite_rc)
{
	int primary = sqlite_rc & 0xff;

	return primary == SQLITE_CANTOPEN || primary == SQLITE_READONLY || primary == SQLITE_PERM;
}

/* Replaces the connection by a new one. Where the new one cannot even be opened and the old one has
 * the same file, the old one is kept: it is the only way left to read it. */
static int connect_fresh(struct store *s, const struct fingerprint *file,
                         char error[STORE_ERROR_MAX])
{
	sqlite3 *db = NULL;
	sqlite3_stmt *version_of = NULL;
	bool same_file = s->db != NULL && s->db_dev == file->dev && s->db_ino == file->ino;
	bool immutable = false;
	int rc;

	/* SQLite would take an empty file for a new database, and delete a WAL beside it. */
	if (file->size == 0) {
		disconnect(s);
		return db_error(error, -EBADMSG, "%s: the file is empty", s->path);
	}
	rc = open_at(s, s->open_path, 0, &db, &version_of, error);
	if (could_not_open(rc) && same_file && !s->immutable)
		return 0;
	if (could_not_open(rc) && !companion_exists(s, "-wal") &&
	    !companion_exists(s, "-journal")) {
		char ignored[STORE_ERROR_MAX];

		immutable = open_immutable(s, &db, &version_of, ignored) == SQLITE_OK;
		if (immutable)
			rc = SQLITE_OK;
	}
	if (same_file && (db_errno(rc) == -EBUSY || db_errno(rc) == -ENOMEM))
		return db_errno(rc);
	disconnect(s);
	if (rc != SQLITE_OK)
		return db_errno(rc);
	s->db = db;
	s->version_of = version_of;
	s->immutable = immutable;
	s->db_dev = file->dev;
	s->db_ino = file->ino;
	return 0;
}

static int read_version(struct store *s, int64_t *ret_version, char error[STORE_ERROR_MAX])
{
	bool found = sqlite3_step(s->version_of) == SQLITE_ROW;
	int64_t version = found ? sqlite3_column_int64(s->version_of, 0) : 0;
	int rc = sqlite3_reset(s->version_of);

	if (rc == SQLITE_OK && !found)
		rc = SQLITE_ERROR;
	if (rc != SQLITE_OK)
		return db_error_sqlite(error, s->db, s->path, rc);
	*ret_version = version;
	return 0;
}

/* ---- reading ---- */

/* Everything in one transaction, which is over before this returns. */
static int read_rows(struct store *s, const struct store_read_options *options,
                     struct route_rows *rows, size_t *quarantined, char error[STORE_ERROR_MAX])
{
	const struct row_reader reader = {
		.path = s->path,
		.app = options->app,
		.bad_row = options->bad_row,
		.arg = options->arg,
	};
	int rc = sqlite3_exec(s->db, "BEGIN", NULL, NULL, NULL);

	if (rc != SQLITE_OK)
		return db_error_sqlite(error, s->db, s->path, rc);
	/* The first read of a transaction fixes what it sees: the version belongs to these rows. */
	rc = read_version(s, &s->version, error);
	if (rc == 0)
		rc = row_reader_run(&reader, s->db, rows, quarantined, error);
	(void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}

/* Was it right to read the file as if it could not change? */
static bool still_immutable(const struct store *s, const struct fingerprint *before)
{
	struct fingerprint now;

	return fingerprint_take(s->path, &now) == 0 && fingerprint_equal(before, &now) &&
	       !companion_exists(s, "-wal") && !companion_exists(s, "-journal");
}

int store_read(struct store *s, const struct store_read_options *options,
               struct route_rows *ret_rows, size_t *ret_quarantined, char error[STORE_ERROR_MAX])
{
	struct fingerprint seen = s->seen;
	struct fingerprint now;
	struct route_rows rows;
	size_t quarantined = 0;
	int rc;

	s->seen.valid = false;
	rc = look(s, &now, error);
	if (rc != 0)
		return rc;
	if (options->fresh || s->db == NULL || s->immutable || !fingerprint_equal(&now, &seen))
		rc = connect_fresh(s, &now, error);
	route_rows_init(&rows);
	if (rc == 0)
		rc = read_rows(s, options, &rows, &quarantined, error);
	if (rc == 0 && s->immutable && !still_immutable(s, &now))
		rc = db_error(error, -EBUSY, "%s: changed while it was read", s->path);
	/* From now on only a change is a reason to read again, unless it was just bad luck. */
	if (rc != -EBUSY && rc != -ENOMEM)
		s->seen = now;
	if (rc != 0) {
		route_rows_done(&rows);
		return rc;
	}
	*ret_rows = rows;
	*ret_quarantined = quarantined;
	return 0;
}

int store_copy(struct store *s, sqlite3 *to, char error[STORE_ERROR_MAX])
{
	struct fingerprint now;
	sqlite3_backup *copy;
	int rc = look(s, &now, error);

	if (rc == 0)
		rc = connect_fresh(s, &now, error);
	if (rc != 0)
		return rc;
	copy = sqlite3_backup_init(to, "main", s->db, "main");
	if (copy == NULL)
		return db_error_sqlite(error, to, s->path, sqlite3_extended_errcode(to));
	rc = sqlite3_backup_step(copy, -1);
	/* Its result is that of the steps, except that it forgets that somebody was busy. */
	(void)sqlite3_backup_finish(copy);
	if (rc != SQLITE_DONE)
		return db_error_sqlite(error, s->db, s->path, rc != SQLITE_OK ? rc : SQLITE_ERROR);
	if (s->immutable && !still_immutable(s, &now))
		return db_error(error, -EBUSY, "%s: changed while it was read", s->path);
	return 0;
}

int store_poll(struct store *s, bool *ret_changed, char error[STORE_ERROR_MAX])
{
	struct fingerprint now;
	int64_t version = 0;
	int rc = look(s, &now, error);

	if (rc != 0) {
		/* Whatever comes back is to be read, even if it looks the same. */
		s->seen.valid = false;
		return rc;
	}
	if (!fingerprint_equal(&now, &s->seen)) {
		*ret_changed = true;
		return 0;
	}
	if (s->db == NULL || s->immutable) {
		*ret_changed = s->immutable && companion_exists(s, "-wal");
		return 0;
	}
	rc = read_version(s, &version, error);
	if (rc == 0)
		*ret_changed = version != s->version;
	return rc;
}

void store_set_patience(struct store *s, int busy_timeout_ms)
{
	s->patience_ms = busy_timeout_ms;
	if (s->db != NULL)
		sqlite3_busy_timeout(s->db, busy_timeout_ms);
}

int store_new(const char *path, struct store **ret_store)
{
	struct store *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	s->patience_ms = STORE_BUSY_TIMEOUT_MS;
	s->path = strdup(path);
	s->open_path = db_path_new(path);
	if (s->path == NULL || s->open_path == NULL) {
		store_free(s);
		return -ENOMEM;
	}
	*ret_store = s;
	return 0;
}

void store_free(struct store *s)
{
	if (s == NULL)
		return;
	disconnect(s);
	free(s->path);
	free(s->open_path);
	free(s);
}
