/* A folder of its own for each test, databases in it, and writers. Most writers are other
 * processes, so nothing that SQLite shares inside a process can hide a mistake. */
#ifndef UNIT_CONTROL_SCRATCH_H
#define UNIT_CONTROL_SCRATCH_H

#include <limits.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct scratch {
	char dir[64];
	char db[96];
};

static int scratch_setup(void **state)
{
	struct scratch *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	strcpy(s->dir, "/tmp/edgeproxy-test-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->db, sizeof(s->db), "%s/routing.db", s->dir);
	*state = s;
	return 0;
}

/* A command in the folder, in another process. Must succeed. */
__attribute__((format(printf, 2, 3))) static inline void shell(const struct scratch *s,
                                                               const char *format, ...)
{
	char command[2048];
	va_list args;
	int n = snprintf(command, sizeof(command), "cd %s && ", s->dir);

	va_start(args, format);
	vsnprintf(command + n, sizeof(command) - (size_t)n, format, args);
	va_end(args);
	assert_int_equal(system(command), 0);
}

static int scratch_teardown(void **state)
{
	struct scratch *s = *state;

	shell(s, "cd / && rm -rf %s", s->dir);
	free(s);
	return 0;
}

/* In this process, for as long as the test wants. */
static inline sqlite3 *writer_open(const char *path)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 10000);
	return db;
}

static inline void writer_do(sqlite3 *db, const char *sql)
{
	char *message = NULL;
	int rc = sqlite3_exec(db, sql, NULL, NULL, &message);

	if (rc != SQLITE_OK)
		fail_msg("%s: %s", sql, message);
}

/* In another process, which has gone afterwards. */
static inline void sql_at(const char *path, const char *sql)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		sqlite3 *db;
		int rc = sqlite3_open(path, &db);

		sqlite3_busy_timeout(db, 10000);
		if (rc == SQLITE_OK)
			rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
		if (rc != SQLITE_OK)
			fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(db));
		sqlite3_close(db);
		_exit(rc == SQLITE_OK ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static inline void sql(const struct scratch *s, const char *text)
{
	sql_at(s->db, text);
}

#define SEED_SCHEMA \
	"CREATE TABLE backends (id TEXT PRIMARY KEY, app TEXT, region TEXT, wg_ip TEXT," \
	" port INTEGER, healthy INTEGER, weight INTEGER, soft_limit INTEGER, hard_limit INTEGER," \
	" deleted INTEGER DEFAULT 0);"
/* Values of one good row. */
#define ROW(id) "('" id "','myapp','sa','10.50.1.1',8080,1,2,50,100,0)"

#endif
