/* The store against real files: what it reads, what it refuses, and which changes it notices. */
#include "control/store.h"

#include "control/schema.h"
#include "scratch.h"

#include <errno.h>

#define BAD_MAX 64

/* One read and what came of it. */
struct outcome {
	int rc;
	struct route_rows rows;
	size_t quarantined;
	char error[STORE_ERROR_MAX];
	struct {
		char table[32];
		char row[200];
		char column[32];
		char value[ROW_VALUE_MAX];
	} bad[BAD_MAX];
	size_t bad_count;
};

static void collect(void *arg, const struct bad_row *bad)
{
	struct outcome *o = arg;

	assert_true(o->bad_count < BAD_MAX);
	snprintf(o->bad[o->bad_count].table, sizeof(o->bad[0].table), "%s", bad->table);
	snprintf(o->bad[o->bad_count].row, sizeof(o->bad[0].row), "%s", bad->row);
	snprintf(o->bad[o->bad_count].column, sizeof(o->bad[0].column), "%s", bad->error.column);
	snprintf(o->bad[o->bad_count].value, sizeof(o->bad[0].value), "%s", bad->error.value);
	o->bad_count++;
}

static struct outcome *read_app(struct store *s, const char *app, bool fresh)
{
	static struct outcome o;
	const struct store_read_options options = {
		.fresh = fresh, .app = app, .bad_row = collect, .arg = &o};

	if (o.rc == 0)
		route_rows_done(&o.rows);
	memset(&o, 0, sizeof(o));
	o.rc = store_read(s, &options, &o.rows, &o.quarantined, o.error);
	if (o.rc == 0)
		assert_int_equal(o.quarantined, o.bad_count);
	else
		assert_true(o.error[0] != '\0');
	return &o;
}

static struct outcome *read_all(struct store *s)
{
	return read_app(s, NULL, false);
}

static struct store *open_store(const char *path)
{
	struct store *s;

	assert_int_equal(store_new(path, &s), 0);
	return s;
}

static bool changed(struct store *s)
{
	char error[STORE_ERROR_MAX] = "";
	bool yes = false;
	int rc = store_poll(s, &yes, error);

	if (rc != 0)
		fail_msg("%s", error);
	return yes;
}

/* Has a change been noticed, and does it read as count backends? */
static void assert_now(struct store *s, size_t count)
{
	struct outcome *o;

	assert_true(changed(s));
	o = read_all(s);
	if (o->rc != 0)
		fail_msg("%s", o->error);
	assert_int_equal(o->rows.backend_count, count);
	assert_false(changed(s));
}

static void assert_fails(struct store *s, int rc, const char *text)
{
	struct outcome *o = read_all(s);

	assert_int_equal(o->rc, rc);
	if (strstr(o->error, text) == NULL)
		fail_msg("'%s' does not say '%s'", o->error, text);
}

/* ---- rows ---- */

static void the_seed_database(void **state)
{
	struct scratch *t = *state;
	struct store *s = open_store(t->db);
	struct outcome *o;

	sql(t, SEED_SCHEMA "INSERT INTO backends VALUES" ROW("us-1") "," ROW("sa-1") ";");
	o = read_all(s);
	assert_int_equal(o->rc, 0);
	assert_int_equal(o->quarantined, 0);
	assert_int_equal(o->rows.backend_count, 2);
	assert_string_equal(o->rows.backends[0].id, "sa-1");
	assert_string_equal(o->rows.backends[1].id, "us-1");
	assert_int_equal(o->rows.service_count, 0);
	assert_int_equal(o->rows.override_count, 0);
	assert_int_equal(o->rows.country_region_count, 0);
	store_free(s);
}

static void every_table_and_column(void **state)
{
	struct scratch *t = *state;
	struct store *s = open_store(t->db);
	struct outcome *o;

	sql(t, schema_sql);
	sql(t, "INSERT INTO backends VALUES" ROW("seed-style"));
	sql(t, schema_optional_sql);
	sql(t, "INSERT INTO backends VALUES"
	       "('v6','a','eu','2001:db8::1',1,0,0,1,1,1,'DE','drain','bbr');"
	       "INSERT INTO services VALUES ('127.0.0.1:1','a',0,2,'reno'),"
	       "('[::1]:1',NULL,NULL,NULL,NULL);"
	       "INSERT INTO geo_overrides VALUES ('192.0.2.0/24','BR',NULL),('::1',NULL,NULL);"
	       "INSERT INTO country_regions VALUES ('MX','sa');"
	       "INSERT INTO access_rules VALUES ('r1','a','192.0.2.0/24',NULL,'deny'),"
	       "('r2','*',NULL,'BR','allow'),('r3','*',NULL,'*','deny')");
	o = read_all(s);
	assert_int_equal(o->rc, 0);
	assert_int_equal(o->quarantined, 0);
	assert_int_equal(o->rows.backend_count, 2);
	assert_string_equal(o->rows.backends[1].country, "DE");
	assert_int_equal(o->rows.backends[1].state, STATE_DRAIN);
	assert_true(o->rows.backends[1].deleted);
	assert_string_equal(o->rows.backends[0].congestion, "");
	assert_string_equal(o->rows.backends[1].congestion, "bbr");
	assert_int_equal(o->rows.service_count, 2);
	assert_false(o->rows.services[0].accept_proxy);
	assert_string_equal(o->rows.services[0].congestion, "reno");
	assert_string_equal(o->rows.services[1].congestion, "");
	assert_int_equal(o->rows.override_count, 2);
	assert_int_equal(o->rows.country_region_count, 1);
	assert_int_equal(o->rows.access_rule_count, 3);
	assert_string_equal(o->rows.access_rules[0].app, "a");
	assert_null(o->rows.access_rules[1].app);
	assert_true(o->rows.access_rules[1].allow);
	assert_int_equal(o->rows.access_rules[2].match, ACCESS_ALL);
	store_free(s);
}

static void access_rules_of_one_app(void **state)
{
	struct scratch *t = *state;
	struct store *s = open_store(t->db);
	const struct store_read_options options = {.app = "a"};
	struct route_rows rows;
	size_t quarantined;
	char error[STORE_ERROR_MAX];

	sql(t, schema_sql);
	sql(t, "INSERT INTO access_rules VALUES ('r1','a',NULL,'*','deny'),"
	       "('r2','*',NULL,'BR','allow'),('r3','b',NULL,'*','deny'),"
	       "('r4','a',NULL,NULL,'deny'),('r4','a',NULL,'BR','deny')"
	       " ON CONFLICT DO NOTHING");
	assert_int_equal(store_read(s, &options, &rows, &quarantined, error), 0);
	assert_int_equal(quarantined, 1);
	assert_int_equal(rows.access_rule_count, 2);
	assert_string_equal(rows.access_rules[0].id, "r1");
	assert_string_equal(rows.access_rules[1].id, "r2");
	route_rows_done(&rows);
	store_free(s);
}

static void tables_of_other_shapes(void **state)
{
	struct scratch *t = *state;
	struct store *s = open_store(t->db);

	/* Another order, another case, more columns, no types, no rowid; numbers that stayed text.
	 */
	sql(t,
	    "CREATE TABLE Backends (note, deleted, HARD_LIMIT, soft_limit, weight, healthy, port,"
	    " wg_ip, region, app, id NOT NULL, PRIMARY KEY (id)) WITHOUT ROWID;"
	    "INSERT INTO backends VALUES ('n',0,100,50,'2',1,'8080','10.0.0.1','sa','a','b1')");
	assert_int_equal(read_all(s)->rows.backend_count, 1);
	/* A view. */
	sql(t, "ALTER TABLE backends RENAME TO machines;"
	       "CREATE VIEW backends AS SELECT * FROM machines");
	assert_now(s, 1);
	store_free(s);
}

static void bad_rows_are_left_out(void **state)
{
	struct scratch *t = *state;
	struct store *s = open_store(t->db);
	struct outcome *o;

	sql(t, SEED_SCHEMA "INSERT INTO backends VALUES" ROW(
		       "good") ";"
	                       "INSERT INTO backends "
	                       "VALUES('port','a','sa','10.0.0.1',70000,1,1,1,1,0);"
	                       "INSERT INTO "
	                       "backends(rowid,id,app,region,wg_ip,port,healthy,weight,soft_limit,"
	                       "hard_limit)"
	                       " VALUES(77,NULL,'a','sa','10.0.0.1',1,1,1,1,1);"
	                       "INSERT INTO backends(id,app) VALUES('half','a');"
	                       "INSERT INTO backends(id,deleted) VALUES('gone',1);"
	                       "CREATE TABLE services(listen TEXT, app TEXT);"
	                       "INSERT INTO services "
	                       "VALUES('127.0.0.1:80',NULL),('[::ffff:127.0.0.1]:80',NULL);"
	                       "CREATE TABLE geo_overrides(cidr TEXT, country TEXT, region TEXT);"
	                       "INSERT INTO geo_overrides "
	                       "VALUES('10.0.0.0/8','BR',NULL),('10.0.0.0/8','US',NULL)");
	o = read_all(s);
	assert_int_equal(o->rc, 0);
	assert_int_equal(o->rows.backend_count, 1);
	assert_string_equal(o->rows.backends[0].id, "good");
	assert_int_equal(o->rows.service_count, 1);
	assert_int_equal(o->rows.override_count, 1);
	assert_string_equal(o->rows.overrides[0].country, "BR");
	assert_int_equal(o->bad_count, 5);
	assert_string_equal(o->bad[0].row, "rowid 77");
	assert_string_equal(o->bad[0].column, "id");
	assert_string_equal(o->bad[0].value, "NULL");
	assert_string_equal(o->bad[1].row, "half");
	assert_string_equal(o->bad[1].column, "region");
	assert_string_equal(o->bad[2].table, "backends");
	assert_string_equal(o->bad[2].row, "port");
	assert_string_equal(o->bad[2].column, "port");
	assert_string_equal(o->bad[2].value, "70000");
	assert_string_equal(o->bad[3].table, "services");
	assert_string_equal(o->bad[4].table, "geo_overrides");
	store_free(s);
}

static void one_row_an_id(void **state)
{
	struct scratch *t = *state;
	struct store *s = open_store(t->db);
	struct outcome *o;

	/* No primary key, and a collation that would call A and a the same. */
	sql(t, "CREATE TABLE backends (id TEXT COLLATE NOCASE, app, region, wg_ip, port, healthy,"
	       " weight, soft_limit, hard_limit, deleted);"
	       "INSERT INTO backends VALUES('a','x','sa','10.0.0.1',1,1,1,1,1,0);"
	       "INSERT INTO backends VALUES('A','x','sa','10.0.0.2',2,1,1,1,1,0);"
	       "INSERT INTO backends VALUES('a','x','sa','10.0.0.3',3,1,1,1,1,0);"
	       "INSERT INTO backends VALUES('a','y','sa','10.0.0.4',4,1,1,1,1,0);"
	       "INSERT INTO backends VALUES('b','x','sa','10.0.0.5',70000,1,1,1,1,0);"
	       "INSERT INTO backends VALUES('b','x','sa','10.0.0.6',6,1,1,1,1,0);");
	o = read_all(s);
	assert_int_equal(o->rc, 0);
	assert_int_equal(o->rows.backend_count, 3);
	assert_string_equal(o->rows.backends[0].id, "A");
	assert_string_equal(o->rows.backends[1].id, "a");
	assert_int_equal(o->rows.backends[1].addr.port, 1);
	assert_int_equal(o->rows.backends[2].addr.port, 6);
	assert_int_equal(o->bad_count, 3);
	/* Whoever serves y alone sees the same conflict. */
	o = read_app(s, "y", false);
	assert_int_equal(o->rows.backend_count, 0);
	store_free(s);
}

static void one_app_alone(void **state)
{
	struct scratch *t = *state;
	struct store *s = open_store(t->db);
	struct outcome *o;

	sql(t, schema_sql);
	sql(t,
	    "INSERT INTO backends VALUES('a','red','sa','10.0.0.1',1,1,1,1,1,0),"
	    "('b','blue','sa','10.0.0.1',1,1,1,1,1,0),('c','redder','sa','10.0.0.1',1,1,1,1,1,0);"
	    "INSERT INTO services VALUES('127.0.0.1:1','red',1,0),('127.0.0.1:2','blue',1,0),"
	    "('127.0.0.1:3',NULL,1,0)");
	o = read_app(s, "red", false);
	assert_int_equal(o->rows.backend_count, 1);
	assert_string_equal(o->rows.backends[0].id, "a");
	assert_int_equal(o->rows.service_count, 2);
	assert_int_equal(o->bad_count, 0);
	o = read_app(s, "", false);
	assert_int_equal(o->rows.backend_count, 3);
	assert_int_equal(o->rows.service_count, 3);
	store_free(s);
}

static void what_cannot_be_missing(void **state)
{
	struct scratch *t = *state;
	struct store *s = open_store(t->db);

	sql(t, "CREATE TABLE others (a)");
	assert_fails(s, -EINVAL, "no table backends");
	sql(t, SEED_SCHEMA "ALTER TABLE backends RENAME COLUMN hard_limit TO hardlimit");
	assert_fails(s, -EINVAL, "no column hard_limit");
	sql(t, "ALTER TABLE backends RENAME COLUMN hardlimit TO hard_limit;"
	       "ALTER TABLE backends RENAME COLUMN id TO name");
	assert_fails(s, -EINVAL, "no column id");
	sql(t, "ALTER TABLE backends RENAME COLUMN name TO id; CREATE TABLE services (app TEXT)");
	assert_fails(s, -EINVAL, "table services has no column listen");
	sql(t, "DROP TABLE services");
	assert_now(s, 0);
	store_free(s);
}

static void too_many_rows(void **state)
{
	struct scratch *t = *state;
	struct store *s = open_store(t->db);
	struct outcome *o;

	sql(t,
	    SEED_SCHEMA "CREATE TABLE services (listen TEXT PRIMARY KEY);"
	                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<260)"
	                "INSERT INTO services SELECT '127.0.0.1:'||(1000+i) FROM n");
	o = read_all(s);
	assert_int_equal(o->rc, 0);
	assert_int_equal(o->rows.service_count, 256);
	assert_int_equal(o->bad_count, 4);
	assert_string_equal(o->bad[0].row, "127.0.0.1:1257");
	store_free(s);
}

/* ---- changes ---- */

static void commits_are_noticed(void **state)
{
	static const char *const modes[] = {"delete", "truncate", "persist", "wal"};
	struct scratch *t = *state;
	char mode[64];

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		struct store *s = open_store(t->db);
		sqlite3 *db = writer_open(t->db);

		snprintf(mode, sizeof(mode), "PRAGMA journal_mode=%s", modes[i]);
		writer_do(db, mode);
		writer_do(db, SEED_SCHEMA "INSERT INTO backends VALUES" ROW("a"));
		assert_now(s, 1);
		for (int n = 0; n < 10; n++) {
			assert_false(changed(s));
			writer_do(db, "INSERT INTO backends VALUES" ROW("b"));
			assert_now(s, 2);
			writer_do(db, "DELETE FROM backends WHERE id = 'b'");
			assert_now(s, 1);
			/* And from another process. */
			sql(t, "INSERT INTO backends VALUES" ROW("c"));
			assert_now(s, 2);
			sql(t, "DELETE FROM backends WHERE id = 'c'");
			assert_now(s, 1);
		}
		/* What is rolled back has not happened. */
		writer_do(db, "BEGIN; DELETE FROM backends; ROLLBACK");
		assert_int_equal(read_all(s)->rows.backend_count, 1);
		sqlite3_close(db);
		store_free(s);
		shell(t, "rm -f routing.db*");
	}
}

static void a_reader_holds_nothing(void **state)
{
	struct scratch *t = *state;
	struct store *s = open_store(t->db);
	sqlite3 *db = writer_open(t->db);
	int frames, done;

	sqlite3_busy_timeout(db, 0);
	writer_do(db,
	          "PRAGMA journal_mode=wal;" SEED_SCHEMA "INSERT INTO backends VALUES" ROW("a"));
	assert_now(s, 1);
	/* A read transaction that was still open would make this fail. */
	writer_do(db, "INSERT INTO backends VALUES" ROW("b"));
	assert_int_equal(sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, &frames,
	                                           &done),
	                 SQLITE_OK);
	assert_now(s, 2);
	writer_do(db, "BEGIN EXCLUSIVE; DELETE FROM backends; COMMIT");
	assert_now(s, 0);
	sqlite3_close(db);
	store_free(s);
}

static void another_file_in_its_place(void **state)
{
	struct scratch *t = *state;
	struct store *s = open_store(t->db);
	char error[STORE_ERROR_MAX];
	bool ignored;

	sql(t, SEED_SCHEMA "INSERT INTO backends VALUES" ROW("a"));
	assert_now(s, 1);
	for (int i = 0; i < 5; i++) {
		/* Made by the same statements: nothing inside tells the two apart. */
		shell(t, "cp routing.db other.db");
		shell(t, "mv other.db routing.db");
		assert_now(s, 1);
	}
	for (int i = 0; i < 5; i++) {
		shell(t, "rm routing.db");
		assert_int_equal(store_poll(s, &ignored, error), -ENOENT);
		assert_non_null(strstr(error, "No such file"));
		assert_fails(s, -ENOENT, "No such file");
		sql(t, SEED_SCHEMA "INSERT INTO backends VALUES" ROW("a") "," ROW("b"));
		assert_now(s, 2);
	}
	/* Away and back again, unchanged: read once more, to be sure. */
	shell(t, "mv routing.db away");
	assert_int_equal(store_poll(s, &ignored, error), -ENOENT);
	shell(t, "mv away routing.db");
	assert_now(s, 2);
	store_free(s);
}

static void copied_over_in_place(void **state)
{
	struct scratch *t = *state;
	struct store *s = open_store(t->db);
	char other[128];

	/* As many transactions, as many pages: SQLite's own counters are the same in both. */
	snprintf(other, sizeof(other), "%s/other.db", t->dir);
	sql(t, SEED_SCHEMA "INSERT INTO backends VALUES" ROW("a"));
	sql_at(other, SEED_SCHEMA "INSERT INTO backends VALUES" ROW("b"));
	assert_now(s, 1);
	assert_string_equal(read_all(s)->rows.backends[0].id, "a");
	shell(t, "cat other.db > routing.db");
	assert_now(s, 1);
	assert_string_equal(read_all(s)->rows.backends[0].id, "b");
	store_free(s);
}

static void damaged_in_place(void **state)
{
	struct scratch *t = *state;
	struct store *s = open_store(t->db);

	sql(t, SEED_SCHEMA
	    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000)"
	    "INSERT INTO backends SELECT 'b'||i,'a','sa','10.0.0.1',1,1,1,1,1,0 FROM n");
	shell(t, "cp routing.db good.db");
	assert_now(s, 2000);

	shell(t, "truncate -s 0 routing.db");
	assert_true(changed(s));
	assert_fails(s, -EBADMSG, "empty");
	assert_false(changed(s)); /* nothing to try again for */
	shell(t, "cat good.db > routing.db");
	assert_now(s, 2000);

	shell(t, "truncate -s 20000 routing.db");
	assert_true(changed(s));
	assert_fails(s, -EBADMSG, "malformed");
	shell(t, "cat good.db > routing.db");
	assert_now(s, 2000);

	shell(t, "head -c 100000 /dev/urandom > routing.db");
	assert_true(changed(s));
	assert_fails(s, -EBADMSG, "not a database");
	shell(t, "cat good.db > routing.db");
	assert_now(s, 2000);

	/* The header is good, the rest is not. */
	shell(t,
	      "dd if=/dev/urandom of=routing.db bs=4096 seek=1 count=20 conv=notrunc 2>/dev/null");
	assert_true(changed(s));
	assert_fails(s, -EBADMSG, "malformed");
	assert_int_equal(read_app(s, NULL, true)->rc, -EBADMSG);
	shell(t, "cat good.db > routing.db");
	assert_now(s, 2000);
	store_free(s);
}

static void a_wal_beside_an_empty_file_survives(void **state)
{
	struct scratch *t = *state;
	struct store *s = open_store(t->db);
	sqlite3 *db = writer_open(t->db);

	writer_do(db, "PRAGMA journal_mode=wal;" SEED_SCHEMA);
	assert_now(s, 0);
	shell(t, "truncate -s 0 routing.db");
	assert_fails(s, -EBADMSG, "empty");
	/* SQLite itself would have deleted it. */
	shell(t, "test -s routing.db-wal");
	sqlite3_close(db);
	store_free(s);
}

static void locked_by_a_writer(void **state)
{
	struct scratch *t = *state;
	struct store *s = open_store(t->db);
	sqlite3 *db = writer_open(t->db);

	writer_do(db, SEED_SCHEMA "INSERT INTO backends VALUES" ROW("a"));
	assert_now(s, 1);
	writer_do(db, "BEGIN EXCLUSIVE; INSERT INTO backends VALUES" ROW("b"));
	assert_fails(s, -EBUSY, "locked");
	assert_int_equal(read_app(s, NULL, true)->rc, -EBUSY);
	writer_do(db, "COMMIT");
	assert_now(s, 2);
	/* Bad luck is tried again even if nothing has changed. */
	writer_do(db, "BEGIN EXCLUSIVE");
	assert_fails(s, -EBUSY, "locked");
	writer_do(db, "ROLLBACK");
	assert_now(s, 2);
	sqlite3_close(db);
	store_free(s);
}

static void a_writer_that_died(void **state)
{
	struct scratch *t = *state;
	struct store *s = open_store(t->db);
	pid_t pid;

	sql(t, SEED_SCHEMA
	    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000)"
	    "INSERT INTO backends SELECT 'b'||i,'a','sa','10.0.0.1',1,1,1,1,1,0 FROM n");
	assert_now(s, 2000);
	pid = fork();
	if (pid == 0) {
		sqlite3 *db;

		/* So small a cache that the file is written before the commit that never comes. */
		if (sqlite3_open(t->db, &db) == SQLITE_OK)
			sqlite3_exec(db, "PRAGMA cache_size=1; BEGIN; DELETE FROM backends", NULL,
			             NULL, NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	shell(t, "test -s routing.db-journal");
	assert_true(changed(s));
	assert_fails(s, -EROFS, "open it once with sqlite3");
	sql(t, "SELECT count(*) FROM backends");
	assert_now(s, 2000);
	store_free(s);
}

static void things_that_are_no_files(void **state)
{
	struct scratch *t = *state;
	char path[128];
	struct store *s;

	snprintf(path, sizeof(path), "%s/fifo", t->dir);
	shell(t, "mkfifo fifo");
	s = open_store(path);
	assert_fails(s, -EINVAL, "not a regular file");
	store_free(s);
	s = open_store(t->dir);
	assert_fails(s, -EISDIR, "directory");
	store_free(s);
}

static void names_that_mean_something_to_sqlite(void **state)
{
	static const char *const names[] = {":memory:", "file:x?mode=memory", "a b%20?#c"};
	struct scratch *t = *state;
	char before[PATH_MAX];

	assert_non_null(getcwd(before, sizeof(before)));
	assert_int_equal(chdir(t->dir), 0);
	sql(t, SEED_SCHEMA "INSERT INTO backends VALUES" ROW("a"));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct store *s = open_store(names[i]);

		assert_fails(s, -ENOENT, names[i]);
		shell(t, "cp routing.db '%s'", names[i]);
		assert_now(s, 1);
		store_free(s);
	}
	assert_int_equal(chdir(before), 0);
}

/* ---- a database in WAL mode that the reader may not write to ---- */

/* Runs check as somebody who may read the folder and no more. */
static void as_a_stranger(struct scratch *t, int (*check)(struct scratch *t))
{
	pid_t pid;
	int status;

	shell(t, "chmod 555 . && chmod 444 routing.db*");
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
			_exit(99);
		_exit(check(t));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	shell(t, "chmod 755 . && chmod 644 routing.db*");
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int reads_one_row(struct scratch *t)
{
	struct store *s;
	struct route_rows rows;
	size_t quarantined;
	char error[STORE_ERROR_MAX];
	const struct store_read_options options = {.fresh = true};
	bool yes = false;

	if (store_new(t->db, &s) != 0)
		return 1;
	for (int i = 0; i < 3; i++) {
		if (store_read(s, &options, &rows, &quarantined, error) != 0) {
			fprintf(stderr, "%s\n", error);
			return 2;
		}
		if (rows.backend_count != 1)
			return 3;
		route_rows_done(&rows);
		if (store_poll(s, &yes, error) != 0 || yes)
			return 4;
	}
	store_free(s);
	return 0;
}

static void wal_without_its_writer(void **state)
{
	struct scratch *t = *state;

	sql(t, "PRAGMA journal_mode=wal;" SEED_SCHEMA "INSERT INTO backends VALUES" ROW("a"));
	shell(t, "! test -e routing.db-wal");
	as_a_stranger(t, reads_one_row);
}

static int refuses(struct scratch *t)
{
	struct store *s;
	struct route_rows rows;
	size_t quarantined;
	char error[STORE_ERROR_MAX];
	const struct store_read_options options = {.fresh = true};

	if (store_new(t->db, &s) != 0)
		return 1;
	if (store_read(s, &options, &rows, &quarantined, error) == 0)
		return rows.backend_count == 0 ? 0 : 2;
	store_free(s);
	return 0;
}

static void wal_that_waits_is_not_ignored(void **state)
{
	struct scratch *t = *state;
	sqlite3 *db = writer_open(t->db);

	/* The deletion is in the WAL alone; without its index it cannot be read by a stranger. */
	writer_do(db,
	          "PRAGMA journal_mode=wal;" SEED_SCHEMA "INSERT INTO backends VALUES" ROW("a"));
	writer_do(db, "PRAGMA wal_checkpoint(TRUNCATE); DELETE FROM backends");
	shell(t, "cp routing.db copy.db && cp routing.db-wal copy.db-wal");
	sqlite3_close(db);
	shell(t, "rm -f routing.db* && mv copy.db routing.db && mv copy.db-wal routing.db-wal");
	as_a_stranger(t, refuses);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_seed_database),
		TEST(every_table_and_column),
		TEST(access_rules_of_one_app),
		TEST(tables_of_other_shapes),
		TEST(bad_rows_are_left_out),
		TEST(one_row_an_id),
		TEST(one_app_alone),
		TEST(what_cannot_be_missing),
		TEST(too_many_rows),
		TEST(commits_are_noticed),
		TEST(a_reader_holds_nothing),
		TEST(another_file_in_its_place),
		TEST(copied_over_in_place),
		TEST(damaged_in_place),
		TEST(a_wal_beside_an_empty_file_survives),
		TEST(locked_by_a_writer),
		TEST(a_writer_that_died),
		TEST(things_that_are_no_files),
		TEST(names_that_mean_something_to_sqlite),
		TEST(wal_without_its_writer),
		TEST(wal_that_waits_is_not_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
