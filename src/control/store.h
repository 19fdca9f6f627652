/* The routing database: a SQLite file that others write and this process only reads. The control
 * thread only.
 *
 * It may be replaced, removed, truncated, locked or garbage at any time: all that is an error with
 * a text, never a crash, and the next call starts afresh. */
#ifndef CONTROL_STORE_H
#define CONTROL_STORE_H

#include "base/check.h"
#include "control/db_error.h"
#include "control/row_reader.h"
#include "route/rows.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How long a call may wait for a writer that holds the file locked. */
#define STORE_BUSY_TIMEOUT_MS 20

struct store;

/* Opens nothing yet. 0 or -ENOMEM. */
MUST_CHECK int store_new(const char *path, struct store **ret_store);
void store_free(struct store *s); /* NULL-safe */

/* How long calls from now on wait for a writer, instead of STORE_BUSY_TIMEOUT_MS. */
void store_set_patience(struct store *s, int busy_timeout_ms);

/* Has anything changed since the last store_read(), successful or not? A few microseconds. 0;
 * -EBUSY (a writer has the file locked: unknown); another -errno, with one line in error, when the
 * file is missing or unreadable. */
MUST_CHECK int store_poll(struct store *s, bool *ret_changed, char error[STORE_ERROR_MAX]);

struct store_read_options {
	bool fresh;      /* through a new connection, as if the file had never been open */
	const char *app; /* only rows of this app; NULL or "": all */
	void (*bad_row)(void *arg, const struct bad_row *bad); /* NULL: nobody asks */
	void *arg;
};

/* Reads every table in one transaction. Of rows with the same key the first counts. *ret_rows is
 * the caller's to route_rows_done(); *ret_quarantined is the number of bad rows. 0; -EBUSY, -ENOMEM
 * or another -errno with one line in error; bad_row may have been called then as well. */
MUST_CHECK int store_read(struct store *s, const struct store_read_options *options,
                          struct route_rows *ret_rows, size_t *ret_quarantined,
                          char error[STORE_ERROR_MAX]);

/* Copies the whole database, as it is at one moment, over what is in `to`. 0; -EBUSY, -ENOMEM or
 * another -errno with one line in error. */
MUST_CHECK int store_copy(struct store *s, sqlite3 *to, char error[STORE_ERROR_MAX]);

#endif
