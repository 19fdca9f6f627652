/* What SQLite says, in the words that the rest of the program uses. The advice is for the one case
 * in which a reader can do nothing and its text does not tell why. */
#include "control/db_error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int db_error(char error[STORE_ERROR_MAX], int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, STORE_ERROR_MAX, format, args);
	va_end(args);
	return err;
}

int db_errno(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
		return 0;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_PERM:
	case SQLITE_AUTH:
	case SQLITE_CANTOPEN:
		return -EACCES;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_NOTADB:
	case SQLITE_CORRUPT:
		return -EBADMSG;
	case SQLITE_IOERR:
		return -EIO;
	case SQLITE_FULL:
		return -ENOSPC;
	default:
		return -EINVAL;
	}
}

int db_error_sqlite(char error[STORE_ERROR_MAX], sqlite3 *db, const char *path, int rc)
{
	const char *advice = "";

	if (rc == SQLITE_READONLY_ROLLBACK)
		advice = "; a writer died inside a transaction: open it once with sqlite3";
	return db_error(error, db_errno(rc), "%s: %s (SQLite %d)%s", path,
	                db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(rc), rc, advice);
}
