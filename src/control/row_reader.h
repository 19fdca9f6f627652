/* From an open database to validated rows. The control thread only. */
#ifndef CONTROL_ROW_READER_H
#define CONTROL_ROW_READER_H

#include "base/check.h"
#include "control/columns.h"
#include "control/db_error.h"
#include "route/rows.h"

#include <sqlite3.h>
#include <stddef.h>

/* A row that is not used. */
struct bad_row {
	const char *table;
	const char *row; /* its key, or "rowid 7" */
	struct row_error error;
};

struct row_reader {
	const char *path; /* for the text of errors */
	const char *app;  /* only rows of this app; NULL or "": all */
	void (*bad_row)(void *arg, const struct bad_row *bad); /* NULL: nobody asks */
	void *arg;
};

/* Adds the rows of every table to *rows, in the order of their keys, and the number of bad ones to
 * *quarantined. Of rows with the same key the first counts. The caller has a transaction open, so
 * that the tables belong together. 0, or -errno with one line in error: *rows holds a part then. */
MUST_CHECK int row_reader_run(const struct row_reader *reader, sqlite3 *db, struct route_rows *rows,
                              size_t *quarantined, char error[STORE_ERROR_MAX]);

#endif
