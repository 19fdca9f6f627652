/* Makes a routing database with the schema and the three example rows of the seed documents. The
 * file is finished under another name and then linked to its own, which fails if there is one: an
 * existing database is never touched, and an unfinished one is never seen. */
#include "cli/db.h"

#include "cli/arguments.h"
#include "control/db_error.h"
#include "control/schema.h"

#include <errno.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char example_rows[] =
	"INSERT INTO backends VALUES\n"
	"    ('sa-node-1', 'myapp', 'sa', '10.50.1.1', 8080, 1, 2, 50, 100, 0),\n"
	"    ('us-node-1', 'myapp', 'us', '10.50.2.1', 8080, 1, 2, 50, 100, 0),\n"
	"    ('eu-node-1', 'myapp', 'eu', '10.50.3.1', 8080, 1, 2, 50, 100, 0);\n";

static const char usage[] =
	"edgeproxy db init FILE\n"
	"Makes a routing database with the tables that edgeproxy reads and three example rows.";

/* Writes part; errors speak of path. */
static int write_database(const char *part, const char *path, char error[STORE_ERROR_MAX])
{
	const char *const steps[] = {"BEGIN", schema_sql, example_rows, "COMMIT"};
	sqlite3 *db = NULL;
	int rc = sqlite3_open_v2(part, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);

	for (size_t i = 0; rc == SQLITE_OK && i < sizeof(steps) / sizeof(steps[0]); i++)
		rc = sqlite3_exec(db, steps[i], NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		rc = db_error_sqlite(error, db, path, rc);
	sqlite3_close(db);
	return rc;
}

static int init(const char *path)
{
	char error[STORE_ERROR_MAX];
	char part[PATH_MAX];
	int rc;

	/* "./" because SQLite takes some names for something else than a file. */
	if (snprintf(part, sizeof(part), "%s%s.%d.part", path[0] == '/' ? "" : "./", path,
	             (int)getpid()) >= (int)sizeof(part)) {
		fprintf(stderr, "edgeproxy: %s: %s\n", path, strerror(ENAMETOOLONG));
		return 1;
	}
	/* Said first, so that nothing is written for nothing; link() is what makes sure. */
	if (access(path, F_OK) == 0) {
		fprintf(stderr, "edgeproxy: %s: exists already; nothing was changed\n", path);
		return 1;
	}
	rc = write_database(part, path, error);
	if (rc != 0) {
		fprintf(stderr, "edgeproxy: %s\n", error);
	} else if (link(part, path) != 0) {
		rc = -errno;
		fprintf(stderr, "edgeproxy: %s: %s\n", path,
		        rc == -EEXIST ? "exists already; nothing was changed" : strerror(-rc));
	}
	(void)unlink(part);
	if (rc != 0)
		return 1;
	printf("%s: made, with three example backends. What next:\n"
	       "  sqlite3 %s \"SELECT * FROM backends\"\n"
	       "  EDGEPROXY_DB_PATH=%s edgeproxy check\n",
	       path, path, path);
	return 0;
}

int db_main(int argc, char **argv)
{
	static const struct command_option none = {0};
	struct arguments a;
	int r = arguments_read(argc, argv, usage, &none, 2, 2, &a);

	if (r != ARGUMENTS_GO_ON)
		return r;
	if (strcmp(a.rest[0], "init") != 0)
		return arguments_wrong("db", usage, "no such word", a.rest[0]);
	if (a.rest[1][0] == '\0')
		return arguments_wrong("db", usage, "the name of the file is empty", NULL);
	return init(a.rest[1]);
}
