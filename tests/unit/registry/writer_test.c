/* The writer against real files: what it changes, what it leaves alone, and what it says when the
 * file is locked, cannot be written, is broken or gone. */
#include "registry/writer.h"

#include "../control/scratch.h"

#include <errno.h>

#define NOW 1700000000

static struct registration_request request(const char *id)
{
	struct registration_request q = {.app = "web",
	                                 .region = "sa",
	                                 .ip = "10.50.1.1",
	                                 .port = 80,
	                                 .weight = 2,
	                                 .soft_limit = 100,
	                                 .hard_limit = 150};

	snprintf(q.id, sizeof(q.id), "%s", id);
	return q;
}

static struct writer *writer_at(const struct scratch *t, const char *pop)
{
	struct writer *w;

	assert_int_equal(writer_new(t->db, pop, &w), 0);
	return w;
}

static void begin(struct writer *w)
{
	if (writer_begin(w, WRITER_WRITE) != 0)
		fail_msg("%s", writer_error(w));
}

static bool registers(struct writer *w, const struct registration_request *q)
{
	bool changed = false;

	begin(w);
	if (writer_register(w, q, NOW, &changed) != 0 || writer_commit(w) != 0)
		fail_msg("%s", writer_error(w));
	return changed;
}

/* The one number that sql asks for, by a connection of its own. */
static int64_t number(const struct scratch *t, const char *sql)
{
	sqlite3 *db = writer_open(t->db);
	sqlite3_stmt *stmt;
	int64_t n;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	n = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return n;
}

/* Differs from the last one exactly when somebody else has written. */
static int data_version(sqlite3 *watcher)
{
	sqlite3_stmt *stmt;
	int version;

	assert_int_equal(sqlite3_prepare_v2(watcher, "PRAGMA data_version", -1, &stmt, NULL),
	                 SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	version = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	return version;
}

static int find(struct writer *w, const char *id, struct backend_record *ret)
{
	int err = writer_begin(w, WRITER_READ);

	if (err == 0)
		err = writer_find(w, id, ret);
	writer_rollback(w);
	return err;
}

static int count_row(void *arg, const char *id, const char *app, bool late)
{
	char *to = arg;

	(void)app;
	sprintf(to + strlen(to), "%s%s ", id, late ? "!" : "");
	return 0;
}

/* The registrations that are this writer's, as "a b! ". */
static const char *own(struct writer *w)
{
	static char text[1024];

	text[0] = '\0';
	assert_int_equal(writer_begin(w, WRITER_READ), 0);
	assert_int_equal(writer_registrations(w, count_row, text), 0);
	writer_rollback(w);
	return text;
}

/* ---- rows ---- */

static void upsert_is_idempotent(void **state)
{
	struct scratch *t = *state;
	struct writer *w = writer_at(t, "");
	struct registration_request q = request("a");
	sqlite3 *watcher;
	struct backend_record b;
	int version;

	sql(t, SEED_SCHEMA);
	assert_true(registers(w, &q));
	watcher = writer_open(t->db);
	version = data_version(watcher);
	assert_false(registers(w, &q));
	assert_false(registers(w, &q));
	/* Nothing was written, not even the same again. */
	assert_int_equal(data_version(watcher), version);
	q.weight = 7;
	assert_true(registers(w, &q));
	assert_int_not_equal(data_version(watcher), version);
	sqlite3_close(watcher);
	assert_int_equal(find(w, "a", &b), 0);
	assert_int_equal(b.weight, 7);
	assert_true(b.registered && b.own && b.healthy && !b.deleted && !b.late);
	assert_int_equal(b.registered_at, NOW);
	assert_int_equal(find(w, "nobody", &b), -ENOENT);
	writer_free(w);
}

/* A REPLACE would give the row another rowid, lose columns that we do not know, and fire triggers
 * of deletion; so would a DELETE and an INSERT. */
static void rows_are_never_replaced(void **state)
{
	struct scratch *t = *state;
	struct writer *w = writer_at(t, "");
	struct registration_request q = request("a");
	int64_t rowid;

	sql(t, SEED_SCHEMA "ALTER TABLE backends ADD COLUMN theirs TEXT;"
	                   "CREATE TABLE gone (id TEXT);"
	                   "CREATE TRIGGER t AFTER DELETE ON backends BEGIN"
	                   " INSERT INTO gone VALUES (old.id); END;"
	                   "INSERT INTO backends (id) VALUES ('first');");
	assert_true(registers(w, &q));
	rowid = number(t, "SELECT rowid FROM backends WHERE id = 'a'");
	sql(t, "UPDATE backends SET theirs = 'kept' WHERE id = 'a';"
	       "INSERT INTO backends (id) VALUES ('last')");
	q.port = 81;
	assert_true(registers(w, &q));
	begin(w);
	assert_int_equal(writer_delete(w, "a", NOW), 0);
	assert_int_equal(writer_commit(w), 0);
	assert_true(registers(w, &q));
	assert_int_equal(number(t, "SELECT rowid FROM backends WHERE id = 'a'"), rowid);
	assert_int_equal(number(t, "SELECT theirs = 'kept' AND port = 81 FROM backends"
	                           " WHERE id = 'a'"),
	                 1);
	assert_int_equal(number(t, "SELECT count(*) FROM gone"), 0);
	writer_free(w);
}

static void deletes_are_soft_until_the_purge(void **state)
{
	struct scratch *t = *state;
	struct writer *w = writer_at(t, "");
	struct registration_request a = request("a"), b = request("b");
	struct backend_record r;

	sql(t, SEED_SCHEMA "INSERT INTO backends (id, deleted) VALUES ('operators', 1);");
	registers(w, &a);
	registers(w, &b);
	begin(w);
	assert_int_equal(writer_delete(w, "a", NOW), 0);
	assert_int_equal(writer_commit(w), 0);
	assert_int_equal(find(w, "a", &r), 0);
	assert_true(r.deleted && !r.healthy && r.registered);
	assert_string_equal(own(w), "b ");
	begin(w);
	assert_int_equal(writer_purge(w, NOW + WRITER_PURGE_SECS - 1), 0);
	assert_int_equal(writer_commit(w), 0);
	assert_int_equal(number(t, "SELECT count(*) FROM backends"), 3);
	begin(w);
	assert_int_equal(writer_purge(w, NOW + WRITER_PURGE_SECS), 0);
	assert_int_equal(writer_commit(w), 0);
	assert_int_equal(find(w, "a", &r), -ENOENT);
	assert_int_equal(number(t, "SELECT count(*) FROM registrations"), 1);
	/* An operator's row is his. */
	assert_int_equal(find(w, "operators", &r), 0);
	writer_free(w);
}

/* One that begins anew has a new time of registration; one that is renewed keeps it. */
static void times_of_registration(void **state)
{
	struct scratch *t = *state;
	struct writer *w = writer_at(t, "");
	struct registration_request q = request("a");
	struct backend_record b;
	bool changed;

	sql(t, SEED_SCHEMA);
	registers(w, &q);
	q.weight = 9;
	begin(w);
	assert_int_equal(writer_register(w, &q, NOW + 5, &changed), 0);
	assert_int_equal(writer_commit(w), 0);
	assert_int_equal(find(w, "a", &b), 0);
	assert_int_equal(b.registered_at, NOW);
	begin(w);
	assert_int_equal(writer_delete(w, "a", NOW + 6), 0);
	assert_int_equal(writer_register(w, &q, NOW + 7, &changed), 0);
	assert_int_equal(writer_commit(w), 0);
	assert_int_equal(find(w, "a", &b), 0);
	assert_int_equal(b.registered_at, NOW + 7);
	assert_false(b.deleted);
	writer_free(w);
}

static void silence_is_written_and_taken_back(void **state)
{
	struct scratch *t = *state;
	struct writer *w = writer_at(t, "");
	struct registration_request q = request("a");
	struct backend_record b;

	sql(t, SEED_SCHEMA);
	registers(w, &q);
	begin(w);
	assert_int_equal(writer_set_late(w, "a", true), 0);
	assert_int_equal(writer_commit(w), 0);
	assert_int_equal(find(w, "a", &b), 0);
	assert_true(b.late && !b.healthy);
	assert_string_equal(own(w), "a! ");
	begin(w);
	assert_int_equal(writer_set_late(w, "a", false), 0);
	assert_int_equal(writer_commit(w), 0);
	assert_int_equal(find(w, "a", &b), 0);
	assert_true(!b.late && b.healthy);
	writer_free(w);
}

/* ---- schemas ---- */

static void the_seed_schema_gets_columns_when_they_are_needed(void **state)
{
	struct scratch *t = *state;
	struct writer *w = writer_at(t, "");
	struct registration_request q = request("a");
	struct backend_record b;
	static const char *const columns = "SELECT count(*) FROM pragma_table_info('backends')";

	sql(t, SEED_SCHEMA "INSERT INTO backends VALUES" ROW("o"));
	/* Reading needs none of ours, and makes none. */
	assert_int_equal(find(w, "o", &b), 0);
	assert_false(b.registered || b.own);
	assert_string_equal(b.state, "");
	assert_string_equal(own(w), "");
	assert_int_equal(
		number(t, "SELECT count(*) FROM sqlite_master WHERE name = 'registrations'"), 0);
	registers(w, &q);
	begin(w);
	assert_int_equal(writer_set_state(w, "a", STATE_READY), 0);
	assert_int_equal(writer_commit(w), 0);
	assert_int_equal(number(t, columns), 10);
	begin(w);
	assert_int_equal(writer_set_state(w, "a", STATE_DRAIN), 0);
	assert_int_equal(writer_commit(w), 0);
	assert_int_equal(number(t, columns), 11);
	memcpy(q.country, "BR", 3);
	assert_true(registers(w, &q));
	assert_int_equal(number(t, columns), 12);
	assert_int_equal(find(w, "a", &b), 0);
	assert_string_equal(b.state, "drain");
	assert_string_equal(b.country, "BR");
	assert_int_equal(number(t, "SELECT count(*) FROM pragma_table_info('registrations')"
	                           " WHERE name = 'pop'"),
	                 0);
	writer_free(w);
}

static void what_is_rolled_back_never_was(void **state)
{
	struct scratch *t = *state;
	struct writer *w = writer_at(t, "sa-1");
	struct registration_request q = request("a");
	bool changed;

	sql(t, SEED_SCHEMA);
	memcpy(q.country, "BR", 3);
	begin(w);
	assert_int_equal(writer_register(w, &q, NOW, &changed), 0);
	writer_rollback(w);
	assert_int_equal(number(t, "SELECT count(*) FROM backends"), 0);
	assert_int_equal(
		number(t, "SELECT count(*) FROM sqlite_master WHERE name = 'registrations'"), 0);
	/* And it is known that the columns are not there either. */
	assert_true(registers(w, &q));
	assert_int_equal(number(t, "SELECT count(*) FROM backends WHERE country = 'BR'"), 1);
	writer_free(w);
}

/* ---- POPs ---- */

static void a_registration_belongs_to_the_pop_that_made_it_last(void **state)
{
	struct scratch *t = *state;
	struct writer *nobody = writer_at(t, ""), *one = writer_at(t, "sa-1"),
		      *two = writer_at(t, "us-1");
	struct registration_request a = request("a"), b = request("b"), c = request("c");
	struct backend_record r;

	sql(t, SEED_SCHEMA);
	/* Without the column it is everybody's. */
	registers(nobody, &a);
	assert_string_equal(own(nobody), "a ");
	assert_string_equal(own(two), "a ");
	/* Whoever adds the column takes over what was there before. */
	registers(one, &b);
	assert_string_equal(own(one), "a b ");
	assert_string_equal(own(two), "");
	assert_string_equal(own(nobody), "");
	assert_true(registers(two, &c));
	assert_string_equal(own(one), "a b ");
	assert_string_equal(own(two), "c ");
	/* It moves to where it registers anew, and only that is a change. */
	assert_true(registers(two, &a));
	assert_false(registers(two, &a));
	assert_string_equal(own(one), "b ");
	assert_string_equal(own(two), "a c ");
	assert_int_equal(find(one, "a", &r), 0);
	assert_true(r.registered && !r.own);
	assert_string_equal(r.pop, "us-1");
	assert_true(registers(nobody, &a));
	assert_string_equal(own(nobody), "a ");
	assert_string_equal(own(two), "c ");
	writer_free(nobody);
	writer_free(one);
	writer_free(two);
}

static void a_purge_is_of_ones_own(void **state)
{
	struct scratch *t = *state;
	struct writer *one = writer_at(t, "sa-1"), *two = writer_at(t, "us-1");
	struct registration_request a = request("a");
	struct backend_record r;

	sql(t, SEED_SCHEMA);
	registers(one, &a);
	begin(one);
	assert_int_equal(writer_delete(one, "a", NOW), 0);
	assert_int_equal(writer_commit(one), 0);
	begin(two);
	assert_int_equal(writer_purge(two, NOW + WRITER_PURGE_SECS), 0);
	assert_int_equal(writer_commit(two), 0);
	assert_int_equal(find(one, "a", &r), 0);
	begin(one);
	assert_int_equal(writer_purge(one, NOW + WRITER_PURGE_SECS), 0);
	assert_int_equal(writer_commit(one), 0);
	assert_int_equal(find(one, "a", &r), -ENOENT);
	writer_free(one);
	writer_free(two);
}

/* ---- files that cannot be written ---- */

static void assert_refused(struct writer *w, enum writer_intent intent, int wanted,
                           const char *text)
{
	int err = writer_begin(w, intent);

	writer_rollback(w);
	assert_int_equal(err, wanted);
	if (strstr(writer_error(w), text) == NULL)
		fail_msg("'%s' does not say '%s'", writer_error(w), text);
}

static void a_locked_database_is_busy_and_free_again(void **state)
{
	struct scratch *t = *state;
	struct writer *w = writer_at(t, "");
	struct registration_request q = request("a");
	sqlite3 *locker;

	sql(t, SEED_SCHEMA);
	locker = writer_open(t->db);
	writer_do(locker, "BEGIN EXCLUSIVE");
	assert_refused(w, WRITER_WRITE, -EBUSY, "locked");
	assert_refused(w, WRITER_READ, -EBUSY, "locked");
	writer_do(locker, "ROLLBACK");
	assert_true(registers(w, &q));
	/* A reader does not keep a writer from beginning, only from committing: nothing is half
	 * done. */
	writer_do(locker, "BEGIN; SELECT * FROM backends");
	q.weight = 8;
	{
		bool changed;

		begin(w);
		assert_int_equal(writer_register(w, &q, NOW, &changed), 0);
		assert_int_equal(writer_commit(w), -EBUSY);
	}
	writer_do(locker, "ROLLBACK");
	assert_int_equal(number(t, "SELECT weight FROM backends"), 2);
	assert_true(registers(w, &q));
	sqlite3_close(locker);
	writer_free(w);
}

static void a_file_that_may_only_be_read(void **state)
{
	struct scratch *t = *state;
	struct writer *w = writer_at(t, "");
	struct backend_record b;

	sql(t, SEED_SCHEMA "INSERT INTO backends VALUES" ROW("o"));
	if (geteuid() == 0)
		shell(t, "chmod 755 . && chmod 444 routing.db && chown -R 1 .");
	else
		shell(t, "chmod 444 routing.db");
	/* Root may write everything: the rest is tried as somebody else. */
	{
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0) {
			int read, wrote;

			if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
				_exit(3);
			read = find(w, "o", &b);
			wrote = writer_begin(w, WRITER_WRITE);
			_exit(read == 0 && wrote == -EROFS && strstr(writer_error(w), "readonly")
			              ? 0
			              : 1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	writer_free(w);
}

static void files_that_are_no_database(void **state)
{
	struct scratch *t = *state;
	struct writer *w = writer_at(t, "");
	struct registration_request q = request("a");

	assert_refused(w, WRITER_WRITE, -EACCES, "No such file");
	/* It is the operator who makes a database. */
	assert_int_not_equal(access(t->db, F_OK), 0);
	shell(t, "touch routing.db");
	assert_refused(w, WRITER_WRITE, -EBADMSG, "empty");
	shell(t, "yes garbage | head -c 8192 > routing.db");
	assert_refused(w, WRITER_WRITE, -EBADMSG, "not a database");
	shell(t, "rm routing.db && mkdir routing.db");
	assert_int_not_equal(writer_begin(w, WRITER_WRITE), 0);
	shell(t, "rmdir routing.db && mkfifo routing.db");
	assert_refused(w, WRITER_WRITE, -EINVAL, "not a regular file");
	shell(t, "rm routing.db");
	sql(t, "CREATE TABLE other (x)");
	begin(w);
	{
		bool changed;

		assert_int_equal(writer_register(w, &q, NOW, &changed), -EINVAL);
	}
	writer_rollback(w);
	shell(t, "rm routing.db");
	sql(t, SEED_SCHEMA);
	assert_true(registers(w, &q));
	writer_free(w);
}

static void a_file_renamed_over_is_the_one_that_counts(void **state)
{
	struct scratch *t = *state;
	struct writer *w = writer_at(t, "");
	struct registration_request q = request("a");
	bool changed;

	sql(t, SEED_SCHEMA);
	shell(t, "cp routing.db new.db");
	registers(w, &q);
	writer_seen(w);
	shell(t, "cp new.db newer.db && mv new.db routing.db");
	assert_true(writer_changed(w));
	assert_true(registers(w, &q));
	/* Within a transaction: it is not said to have been written. */
	q.weight = 5;
	begin(w);
	assert_int_equal(writer_register(w, &q, NOW, &changed), 0);
	shell(t, "mv newer.db routing.db");
	assert_int_equal(writer_commit(w), -EBUSY);
	assert_int_equal(number(t, "SELECT count(*) FROM backends"), 0);
	assert_true(registers(w, &q));
	writer_free(w);
}

static void changes_of_others_are_noticed(void **state)
{
	struct scratch *t = *state;
	struct writer *w = writer_at(t, "");
	struct registration_request q = request("a");

	sql(t, SEED_SCHEMA);
	assert_true(writer_changed(w));
	assert_string_equal(own(w), "");
	writer_seen(w);
	assert_false(writer_changed(w));
	registers(w, &q);
	assert_false(writer_changed(w)); /* one's own are none */
	sql(t, "UPDATE backends SET weight = 3");
	assert_true(writer_changed(w));
	writer_seen(w);
	assert_false(writer_changed(w));
	writer_free(w);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(upsert_is_idempotent),
		TEST(rows_are_never_replaced),
		TEST(deletes_are_soft_until_the_purge),
		TEST(times_of_registration),
		TEST(silence_is_written_and_taken_back),
		TEST(the_seed_schema_gets_columns_when_they_are_needed),
		TEST(what_is_rolled_back_never_was),
		TEST(a_registration_belongs_to_the_pop_that_made_it_last),
		TEST(a_purge_is_of_ones_own),
		TEST(a_locked_database_is_busy_and_free_again),
		TEST(a_file_that_may_only_be_read),
		TEST(files_that_are_no_database),
		TEST(a_file_renamed_over_is_the_one_that_counts),
		TEST(changes_of_others_are_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
