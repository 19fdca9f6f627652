/* Errors of SQLite as values: a -errno and one line of text for people. Any thread. */
#ifndef CONTROL_DB_ERROR_H
#define CONTROL_DB_ERROR_H

#include <sqlite3.h>

#define STORE_ERROR_MAX 320

/* Writes the text and returns err. */
int db_error(char error[STORE_ERROR_MAX], int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same for an SQLite result code; db may be NULL, path is what the text begins with. Returns
 * db_errno(rc). */
int db_error_sqlite(char error[STORE_ERROR_MAX], sqlite3 *db, const char *path, int rc);
/* -EBUSY: a writer has it locked; -ENOMEM; -EACCES: cannot be opened; -EROFS: could only be read by
 * writing; -EBADMSG: no database, or a broken one; -EIO; -ENOSPC; -EINVAL: anything else. */
int db_errno(int rc);

#endif
