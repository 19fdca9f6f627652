/* Reloading with real databases, real listeners and a clock of the test's own: which changes are
 * published, which are not, and what is said of it. The log is read where an operator reads it. */
#include "control/reload.h"

#include "control/last_good.h"
#include "control/listeners.h"
#include "control/quarantine_log.h"
#include "scratch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/mman.h>

/* Ticks until a test gives up waiting for something that should happen at the next one. */
#define TICKS_MAX 500

struct fixture {
	struct scratch *scratch;
	struct config config;
	struct live *live;
	struct reload *reload;
	uint64_t now_ms;
	int published;       /* how often */
	struct table *table; /* a worker's: swapped at once */
	int log_fd;
	int stderr_fd; /* the real one */
	char log[1 << 18];
};

static void publish(void *arg, struct table *t)
{
	struct fixture *f = arg;
	struct table *old = f->table;

	f->table = table_ref(t);
	table_unref(old);
	f->published++;
}

static int setup(void **state)
{
	static char region[] = "sa", none[] = "";
	struct fixture *f = calloc(1, sizeof(*f));
	void *scratch;

	assert_non_null(f);
	assert_int_equal(scratch_setup(&scratch), 0);
	f->scratch = scratch;
	f->config.db_path = f->scratch->db;
	f->config.region = region;
	f->config.app = none;
	f->config.state_dir = none;
	assert_int_equal(endpoint_parse("127.0.0.1:0", true, &f->config.listen_addr), 0);
	f->config.listen_backlog = 16;
	f->config.db_reload_secs = 5;
	f->config.shrink_hold_secs = 30;
	f->live = live_new();
	assert_non_null(f->live);
	f->now_ms = 1000000;
	f->stderr_fd = dup(STDERR_FILENO);
	f->log_fd = memfd_create("log", MFD_CLOEXEC);
	assert_true(f->stderr_fd >= 0 && f->log_fd >= 0);
	assert_true(dup2(f->log_fd, STDERR_FILENO) >= 0);
	*state = f;
	return 0;
}

static void stop(struct fixture *f)
{
	reload_free(f->reload);
	f->reload = NULL;
	table_unref(f->table);
	f->table = NULL;
	f->published = 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	void *scratch = f->scratch;

	stop(f);
	live_free(f->live);
	dup2(f->stderr_fd, STDERR_FILENO);
	close(f->stderr_fd);
	close(f->log_fd);
	free(f);
	return scratch_teardown(&scratch);
}

static const char *read_log(struct fixture *f)
{
	ssize_t n = pread(f->log_fd, f->log, sizeof(f->log) - 1, 0);

	assert_true(n >= 0);
	f->log[n] = '\0';
	return f->log;
}

/* How often the log says so since the last log_forget(). */
static int said(struct fixture *f, const char *words)
{
	int count = 0;

	for (const char *at = read_log(f); (at = strstr(at, words)) != NULL; at++)
		count++;
	return count;
}

static void log_forget(struct fixture *f)
{
	assert_int_equal(ftruncate(f->log_fd, 0), 0);
	assert_true(lseek(f->log_fd, 0, SEEK_SET) == 0);
}

static void new_reload(struct fixture *f)
{
	const struct reload_options options = {
		.config = &f->config, .live = f->live, .publish = publish, .arg = f};

	assert_int_equal(reload_new(&options, &f->reload), 0);
}

static void start(struct fixture *f)
{
	char error[STORE_ERROR_MAX] = "";

	new_reload(f);
	if (reload_start(f->reload, f->now_ms, error) != 0)
		fail_msg("%s", error);
	assert_int_equal(f->published, 1);
	assert_ptr_equal(f->table, reload_table(f->reload));
}

static void tick(struct fixture *f)
{
	f->now_ms += RELOAD_TICK_MS;
	reload_tick(f->reload, f->now_ms);
}

static void pass(struct fixture *f, uint64_t ms)
{
	for (uint64_t end_ms = f->now_ms + ms; f->now_ms < end_ms;)
		tick(f);
}

static void until_published(struct fixture *f, int published)
{
	for (int i = 0; i < TICKS_MAX && f->published < published; i++)
		tick(f);
	if (f->published != published)
		fail_msg("published %d of %d; the log:\n%s", f->published, published, read_log(f));
}

static void until_said(struct fixture *f, const char *words)
{
	for (int i = 0; i < TICKS_MAX && said(f, words) == 0; i++)
		tick(f);
	if (said(f, words) == 0)
		fail_msg("never said: %s; the log:\n%s", words, f->log);
}

/* A database with backends b0, b1 … */
static void make_db(struct fixture *f, int backends)
{
	char text[512];

	sql(f->scratch, SEED_SCHEMA "CREATE TABLE services (listen TEXT PRIMARY KEY, app TEXT,"
	                            " accept_proxy INTEGER, send_proxy INTEGER)");
	snprintf(text, sizeof(text),
	         "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<%d)"
	         "INSERT INTO backends SELECT 'b'||i,'myapp','sa','10.0.0.1',1,1,1,1,1,0 FROM n"
	         " WHERE i < %d",
	         backends, backends);
	sql(f->scratch, text);
}

/* ---- changes ---- */

static void the_first_table(void **state)
{
	struct fixture *f = *state;

	make_db(f, 3);
	start(f);
	assert_int_equal(f->table->backend_count, 3);
	assert_int_equal(f->table->service_count, 1);
	assert_int_equal(said(f, "event=table_loaded"), 1);
	assert_int_equal(said(f, "source=database"), 1);
	assert_int_equal(said(f, "usable=3 quarantined=0"), 1);
}

static void nothing_differs_nothing_is_built(void **state)
{
	struct fixture *f = *state;

	make_db(f, 3);
	start(f);
	pass(f, 20000);
	sql(f->scratch, "UPDATE backends SET weight = weight; CREATE TABLE others (a)");
	pass(f, 20000);
	shell(f->scratch, "cp routing.db new.db && mv new.db routing.db");
	pass(f, 20000);
	assert_int_equal(f->published, 1);
	assert_int_equal(said(f, "event="), 1);
}

static void a_change_is_published(void **state)
{
	struct fixture *f = *state;

	make_db(f, 3);
	start(f);
	for (int i = 0; i < 5; i++) {
		sql(f->scratch, "UPDATE backends SET weight = weight + 1 WHERE id = 'b1'");
		until_published(f, 2 + i);
		assert_int_equal(f->table->backends[1].weight, 2 + i);
	}
	assert_int_equal(said(f, "event=table_loaded"), 6);
	assert_int_equal(said(f, "event=reload_"), 0);
}

static void backends_of_old_tables_are_let_go(void **state)
{
	struct fixture *f = *state;

	make_db(f, 4);
	start(f);
	for (int i = 0; i < 50; i++) {
		char text[128];

		snprintf(text, sizeof(text), "UPDATE backends SET id = 'c%d' WHERE id = '%c%d'", i,
		         i == 0 ? 'b' : 'c', i == 0 ? 0 : i - 1);
		sql(f->scratch, text);
		until_published(f, 2 + i);
	}
	assert_true(live_slot_end(f->live) < 20);
}

/* ---- the shrink guard ---- */

static void a_great_loss_is_held_for_a_while(void **state)
{
	struct fixture *f = *state;

	make_db(f, 5);
	start(f);
	sql(f->scratch, "UPDATE backends SET healthy = 0 WHERE id <> 'b0'");
	until_said(f, "event=reload_held");
	assert_int_equal(said(f, "usable_now=5 usable_new=1"), 1);
	pass(f, 29000);
	assert_int_equal(f->published, 1);
	assert_int_equal(said(f, "event=reload_held"), 1);
	until_published(f, 2);
	assert_int_equal(f->table->usable_count, 1);
	assert_int_equal(said(f, "event=reload_accepted by=hold"), 1);
}

static void more_than_half_is_what_counts(void **state)
{
	struct fixture *f = *state;

	make_db(f, 4);
	start(f);
	sql(f->scratch, "DELETE FROM backends WHERE id IN ('b0', 'b1')");
	until_published(f, 2);
	sql(f->scratch, "UPDATE backends SET weight = 0 WHERE id = 'b2'");
	until_published(f, 3);
	assert_int_equal(said(f, "event=reload_held"), 0);
	/* The last one is all there is. */
	sql(f->scratch, "UPDATE backends SET deleted = 1");
	until_said(f, "usable_now=1 usable_new=0");
	assert_int_equal(f->published, 3);
}

static void a_loss_that_is_taken_back(void **state)
{
	struct fixture *f = *state;

	make_db(f, 5);
	start(f);
	sql(f->scratch, "UPDATE backends SET healthy = 0");
	until_said(f, "event=reload_held");
	pass(f, 20000);
	sql(f->scratch, "UPDATE backends SET healthy = 1");
	pass(f, 20000);
	assert_int_equal(f->published, 1);
	/* The clock starts anew with the next one. */
	sql(f->scratch, "UPDATE backends SET healthy = 0");
	pass(f, 20000);
	assert_int_equal(said(f, "event=reload_held"), 2);
	assert_int_equal(f->published, 1);
	until_published(f, 2);
}

static void a_loss_that_grows(void **state)
{
	struct fixture *f = *state;

	make_db(f, 10);
	start(f);
	sql(f->scratch, "UPDATE backends SET healthy = 0 WHERE id > 'b3'");
	until_said(f, "usable_new=4");
	pass(f, 20000);
	sql(f->scratch, "UPDATE backends SET healthy = 0");
	until_said(f, "usable_new=0");
	pass(f, 20000);
	assert_int_equal(f->published, 1);
	until_published(f, 2);
	assert_int_equal(f->table->usable_count, 0);
}

static void an_operator_accepts(void **state)
{
	struct fixture *f = *state;

	make_db(f, 5);
	start(f);
	sql(f->scratch, "DELETE FROM backends");
	until_said(f, "event=reload_held");
	reload_now(f->reload, f->now_ms);
	assert_int_equal(f->published, 2);
	assert_int_equal(said(f, "event=reload_accepted by=sighup"), 1);
	reload_now(f->reload, f->now_ms);
	assert_int_equal(f->published, 2);
	assert_int_equal(said(f, "event=table_unchanged"), 1);
	/* Asking does not accept what comes later. */
	sql(f->scratch, "INSERT INTO backends VALUES" ROW("x"));
	until_published(f, 3);
	sql(f->scratch, "DELETE FROM backends");
	pass(f, 20000);
	assert_int_equal(f->published, 3);
}

static void a_hold_of_no_time(void **state)
{
	struct fixture *f = *state;

	f->config.shrink_hold_secs = 0;
	make_db(f, 5);
	start(f);
	sql(f->scratch, "DELETE FROM backends");
	until_published(f, 2);
	assert_int_equal(said(f, "event=reload_held"), 0);
}

static void a_failure_ends_a_hold(void **state)
{
	struct fixture *f = *state;

	make_db(f, 5);
	start(f);
	sql(f->scratch, "UPDATE backends SET healthy = 0");
	until_said(f, "event=reload_held");
	pass(f, 20000);
	shell(f->scratch, "mv routing.db away");
	until_said(f, "event=reload_failed");
	shell(f->scratch, "mv away routing.db");
	pass(f, 20000);
	assert_int_equal(said(f, "event=reload_held"), 2);
	assert_int_equal(f->published, 1);
}

/* ---- failures ---- */

static void a_missing_database(void **state)
{
	struct fixture *f = *state;

	make_db(f, 3);
	start(f);
	shell(f->scratch, "mv routing.db away");
	pass(f, 50000);
	assert_int_equal(f->published, 1);
	assert_int_equal(said(f, "event=reload_failed"), 1);
	assert_int_equal(said(f, "level=error"), 1);
	assert_int_equal(said(f, "kept_usable=3"), 1);
	pass(f, 20000); /* and again each minute */
	assert_int_equal(said(f, "event=reload_failed"), 2);
	shell(f->scratch, "mv away routing.db");
	until_said(f, "event=reload_recovered");
	assert_int_equal(f->published, 1);
	sql(f->scratch, "DELETE FROM backends WHERE id = 'b0'");
	until_published(f, 2);
}

static void a_broken_database_is_never_accepted(void **state)
{
	static const char *const ways[] = {
		"truncate -s 0 routing.db",
		"truncate -s 5000 routing.db",
		"head -c 20000 /dev/urandom > routing.db",
		"head -c 20000 /dev/urandom > new && mv new routing.db",
		"rm routing.db && mkdir routing.db",
	};
	struct fixture *f = *state;

	make_db(f, 3);
	shell(f->scratch, "cp routing.db good.db");
	start(f);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		log_forget(f);
		shell(f->scratch, "%s", ways[i]);
		until_said(f, "event=reload_failed");
		pass(f, 40000);
		reload_now(f->reload, f->now_ms);
		assert_int_equal(f->published, 1);
		/* Once when it happened, once for who asked. */
		assert_int_equal(said(f, "event=reload_failed"), 2);
		shell(f->scratch, "rm -rf routing.db* && cp good.db routing.db");
		until_said(f, "event=reload_recovered");
	}
	sql(f->scratch, "DELETE FROM backends WHERE id = 'b0'");
	until_published(f, 2);
}

static void the_same_damage_done_again(void **state)
{
	struct fixture *f = *state;

	f->config.db_reload_secs = 86400;
	make_db(f, 3);
	shell(f->scratch, "cp routing.db good.db");
	start(f);
	shell(f->scratch, "truncate -s 0 routing.db");
	until_said(f, "event=reload_failed");
	/* Mended and damaged again between two looks: that is news, though it looks the same. */
	log_forget(f);
	shell(f->scratch, "cat good.db > routing.db; truncate -s 0 routing.db; touch routing.db");
	until_said(f, "event=reload_failed");
	pass(f, 50000);
	assert_int_equal(said(f, "event=reload_failed"), 1);
}

static void a_lock_is_no_failure_unless_it_lasts(void **state)
{
	struct fixture *f = *state;
	sqlite3 *db;

	make_db(f, 3);
	start(f);
	db = writer_open(f->scratch->db);
	writer_do(db, "BEGIN EXCLUSIVE; UPDATE backends SET weight = 7");
	tick(f);
	tick(f);
	assert_int_equal(said(f, "event=reload_failed"), 0);
	until_said(f, "event=reload_failed");
	writer_do(db, "COMMIT");
	until_published(f, 2);
	assert_int_equal(said(f, "event=reload_recovered"), 1);
	sqlite3_close(db);
}

static void an_operator_who_asks_under_a_lock(void **state)
{
	struct fixture *f = *state;
	sqlite3 *db;

	make_db(f, 5);
	start(f);
	db = writer_open(f->scratch->db);
	writer_do(db, "BEGIN EXCLUSIVE; DELETE FROM backends");
	reload_now(f->reload, f->now_ms);
	assert_int_equal(f->published, 1);
	writer_do(db, "COMMIT");
	until_published(f, 2);
	assert_int_equal(said(f, "event=reload_accepted by=sighup"), 1);
	sqlite3_close(db);
}

static void bad_rows_are_told_once(void **state)
{
	struct fixture *f = *state;

	make_db(f, 3);
	sql(f->scratch, "UPDATE backends SET port = 70000 WHERE id = 'b0'");
	start(f);
	assert_int_equal(said(f, "event=row_quarantined table=backends row=b0 column=port"
	                         " value=70000 why="),
	                 1);
	assert_int_equal(said(f, "usable=2 quarantined=1"), 1);
	for (int i = 0; i < 3; i++) {
		sql(f->scratch, "UPDATE backends SET weight = weight + 1 WHERE id = 'b1'");
		until_published(f, 2 + i);
	}
	assert_int_equal(said(f, "event=row_quarantined"), 1);
	/* Bad in another way. */
	sql(f->scratch, "UPDATE backends SET port = 70001 WHERE id = 'b0'");
	until_said(f, "value=70001");
	assert_int_equal(f->published, 4);
	/* Good, and bad again. */
	sql(f->scratch, "UPDATE backends SET port = 1 WHERE id = 'b0'");
	until_published(f, 5);
	sql(f->scratch, "UPDATE backends SET port = 70001 WHERE id = 'b0'");
	until_published(f, 6);
	assert_int_equal(said(f, "event=row_quarantined"), 3);
	/* News of bad rows alone is told, and nothing is built. */
	sql(f->scratch, "INSERT INTO backends(id) VALUES ('half')");
	until_said(f, "quarantined=2");
	assert_int_equal(f->published, 6);
}

static void rubbish_costs_a_fixed_number_of_lines(void **state)
{
	struct fixture *f = *state;

	make_db(f, 3);
	sql(f->scratch,
	    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<10000)"
	    "INSERT INTO backends(id) SELECT 'x'||i FROM n");
	start(f);
	assert_int_equal(said(f, "event=row_quarantined"), QUARANTINE_LOG_MAX);
	assert_int_equal(said(f, "event=rows_quarantined"), 1);
	pass(f, 20000);
	assert_int_equal(said(f, "quarantined "), QUARANTINE_LOG_MAX + 1);
	assert_int_equal(f->table->usable_count, 3);
}

/* ---- the start ---- */

static void a_start_without_a_database(void **state)
{
	struct fixture *f = *state;

	start(f);
	assert_int_equal(f->table->backend_count, 0);
	assert_int_equal(f->table->service_count, 1);
	assert_int_equal(said(f, "event=reload_failed"), 1);
	assert_int_equal(said(f, "source=none"), 1);
	make_db(f, 2);
	until_published(f, 2);
	assert_int_equal(f->table->usable_count, 2);
}

static void the_last_good_table(void **state)
{
	struct fixture *f = *state;
	char state_dir[128];

	snprintf(state_dir, sizeof(state_dir), "%s/state", f->scratch->dir);
	f->config.state_dir = state_dir;
	shell(f->scratch, "mkdir state");
	make_db(f, 3);
	start(f);
	/* Two changes in quick succession: the second is saved later, or at the end. */
	sql(f->scratch, "UPDATE backends SET weight = 8");
	until_published(f, 2);
	sql(f->scratch, "UPDATE backends SET weight = 9");
	until_published(f, 3);
	stop(f);

	shell(f->scratch, "mv routing.db away");
	start(f);
	assert_int_equal(said(f, "source=last-good"), 1);
	assert_int_equal(f->table->usable_count, 3);
	assert_int_equal(f->table->backends[0].weight, 9);
	/* It comes back as it was: nothing to build. */
	shell(f->scratch, "mv away routing.db");
	until_said(f, "event=reload_recovered");
	assert_int_equal(f->published, 1);
	/* What it loses compared with the last good table is held as well. */
	sql(f->scratch, "DELETE FROM backends");
	until_said(f, "event=reload_held");
	stop(f);

	shell(f->scratch, "rm routing.db && printf x | dd of=state/" LAST_GOOD_NAME
	                  " bs=1 seek=5000 conv=notrunc 2>/dev/null");
	log_forget(f);
	start(f);
	assert_int_equal(said(f, "event=last_good_failed"), 1);
	assert_int_equal(said(f, "source=none"), 1);
	assert_int_equal(f->table->backend_count, 0);
	stop(f);
}

static void a_state_folder_that_is_not_there(void **state)
{
	struct fixture *f = *state;
	char state_dir[128];

	snprintf(state_dir, sizeof(state_dir), "%s/state", f->scratch->dir);
	f->config.state_dir = state_dir;
	make_db(f, 3);
	start(f);
	sql(f->scratch, "UPDATE backends SET weight = 8");
	until_published(f, 2);
	pass(f, 70000);
	assert_int_equal(said(f, "event=last_good_failed"), 1);
	/* It is tried again. */
	shell(f->scratch, "mkdir state");
	pass(f, 70000);
	shell(f->scratch, "test -s state/" LAST_GOOD_NAME);
	stop(f);
}

/* ---- listeners ---- */

/* Something listens on 127.0.0.1:port. */
static bool listens(uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
	                         .sin_port = htons(port),
	                         .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc;

	assert_true(fd >= 0);
	rc = connect(fd, (struct sockaddr *)&sa, sizeof(sa));
	close(fd);
	return rc == 0;
}

/* Takes a port of the kernel's choice; close() gives it back. */
static int take_port(uint16_t *ret_port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	*ret_port = ntohs(sa.sin_port);
	return fd;
}

static void add_service(struct fixture *f, uint16_t port, const char *rest)
{
	char text[200];

	snprintf(text, sizeof(text), "INSERT INTO services VALUES ('127.0.0.1:%u',%s)", port, rest);
	sql(f->scratch, text);
}

static const struct service *service_on(const struct fixture *f, uint16_t port)
{
	for (uint32_t i = 0; i < f->table->service_count; i++) {
		if (f->table->services[i]->socket->addr.port == port)
			return f->table->services[i];
	}
	return NULL;
}

static void services_come_and_go(void **state)
{
	struct fixture *f = *state;
	const struct listen_socket *own, *extra;
	struct service *held;
	uint16_t port;

	close(take_port(&port));
	make_db(f, 3);
	start(f);
	own = f->table->services[0]->socket;
	assert_int_equal(f->table->services[0]->listen.port, own->addr.port);
	assert_true(f->table->services[0]->accept_proxy);
	assert_false(listens(port));

	add_service(f, port, "'myapp',0,2");
	until_published(f, 2);
	assert_int_equal(f->table->service_count, 2);
	assert_true(listens(port));
	assert_string_equal(service_on(f, port)->app, "myapp");
	assert_false(service_on(f, port)->accept_proxy);
	assert_int_equal(service_on(f, port)->send_proxy, 2);
	extra = service_on(f, port)->socket;

	/* Another table, the same sockets. */
	sql(f->scratch, "UPDATE services SET send_proxy = 1");
	until_published(f, 3);
	assert_ptr_equal(f->table->services[0]->socket, own);
	assert_ptr_equal(service_on(f, port)->socket, extra);
	assert_int_equal(service_on(f, port)->send_proxy, 1);

	/* A session still holds the service when it goes: nobody may be queued there all the same.
	 */
	held = service_ref(f->table->services[1]->socket == extra ? f->table->services[1]
	                                                          : f->table->services[0]);
	sql(f->scratch, "DELETE FROM services");
	until_published(f, 4);
	assert_true(listens(port)); /* workers may not have swapped yet */
	pass(f, 2 * LISTENER_RETIRE_MS);
	assert_false(listens(port));
	/* And the address can be had again while that session lives. */
	add_service(f, port, "'myapp',0,2");
	until_published(f, 5);
	assert_true(listens(port));
	service_unref(held);
	assert_true(listens(own->addr.port));
}

static void a_service_that_comes_back_in_time(void **state)
{
	struct fixture *f = *state;
	const struct listen_socket *extra;
	uint16_t port;

	close(take_port(&port));
	make_db(f, 3);
	add_service(f, port, "NULL,NULL,NULL");
	start(f);
	extra = service_on(f, port)->socket;
	sql(f->scratch, "DELETE FROM services");
	reload_now(f->reload, f->now_ms);
	assert_null(service_on(f, port));
	add_service(f, port, "NULL,NULL,NULL");
	reload_now(f->reload, f->now_ms);
	assert_ptr_equal(service_on(f, port)->socket, extra);
	pass(f, 5 * LISTENER_RETIRE_MS);
	assert_true(listens(port));
}

static void an_address_that_is_taken(void **state)
{
	struct fixture *f = *state;
	uint16_t port, other;
	int fd = take_port(&port);

	close(take_port(&other));
	make_db(f, 3);
	add_service(f, port, "'myapp',0,0");
	add_service(f, other, "'myapp',0,0");
	sql(f->scratch, "UPDATE backends SET port = 70000 WHERE id = 'b0'");
	start(f);
	assert_int_equal(f->table->service_count, 2);
	assert_true(listens(other));
	assert_int_equal(said(f, "event=listen_failed"), 1);
	pass(f, 20000);
	assert_int_equal(said(f, "event=listen_failed"), 1);
	assert_int_equal(f->published, 1);
	/* It is tried again, and then there without a change of the database, whose bad row is
	 * still bad. */
	close(fd);
	until_published(f, 2);
	assert_int_equal(f->table->service_count, 3);
	assert_int_equal(said(f, "usable=2 quarantined=1 services=3 source=listener"), 1);
	assert_true(listens(port));
	pass(f, 20000);
	assert_int_equal(f->published, 2);
}

static void the_own_address_is_taken(void **state)
{
	struct fixture *f = *state;
	char error[STORE_ERROR_MAX] = "";
	uint16_t port;
	int fd = take_port(&port);

	make_db(f, 3);
	f->config.listen_addr.port = port;
	new_reload(f);
	assert_int_equal(reload_start(f->reload, f->now_ms, error), -EADDRINUSE);
	assert_non_null(strstr(error, "EDGEPROXY_LISTEN_ADDR=127.0.0.1:"));
	assert_int_equal(f->published, 0);
	close(fd);
}

static void a_row_for_the_own_address(void **state)
{
	struct fixture *f = *state;
	uint16_t port;

	make_db(f, 3);
	start(f);
	port = f->table->services[0]->socket->addr.port;
	add_service(f, port, "'myapp',0,2");
	until_published(f, 2);
	assert_int_equal(f->table->service_count, 1);
	assert_string_equal(f->table->services[0]->app, "myapp");
	assert_false(f->table->services[0]->accept_proxy);
	assert_int_equal(f->table->services[0]->send_proxy, 2);
	sql(f->scratch, "DELETE FROM services");
	until_published(f, 3);
	assert_string_equal(f->table->services[0]->app, "");
	assert_int_equal(said(f, "event=listen_failed"), 0);
	assert_true(listens(port));
}

static void no_own_address(void **state)
{
	struct fixture *f = *state;
	uint16_t port;

	close(take_port(&port));
	memset(&f->config.listen_addr, 0, sizeof(f->config.listen_addr));
	make_db(f, 3);
	add_service(f, port, "NULL,NULL,NULL");
	start(f);
	assert_int_equal(f->table->service_count, 1);
	assert_true(listens(port));
}

static void one_app_alone(void **state)
{
	struct fixture *f = *state;
	char app[] = "red";
	uint16_t red, blue;

	close(take_port(&red));
	close(take_port(&blue));
	make_db(f, 2);
	sql(f->scratch, "UPDATE backends SET app = 'red' WHERE id = 'b0'");
	add_service(f, red, "'red',0,0");
	add_service(f, blue, "'blue',0,0");
	f->config.app = app;
	start(f);
	assert_int_equal(f->table->backend_count, 1);
	assert_int_equal(f->table->service_count, 2);
	assert_string_equal(f->table->services[0]->app, "red");
	assert_true(listens(red));
	assert_false(listens(blue));
	/* What happens to others is not ours. */
	sql(f->scratch, "DELETE FROM backends WHERE app <> 'red'");
	pass(f, 10000);
	assert_int_equal(f->published, 1);
	stop(f);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_first_table),
		TEST(nothing_differs_nothing_is_built),
		TEST(a_change_is_published),
		TEST(backends_of_old_tables_are_let_go),
		TEST(a_great_loss_is_held_for_a_while),
		TEST(more_than_half_is_what_counts),
		TEST(a_loss_that_is_taken_back),
		TEST(a_loss_that_grows),
		TEST(an_operator_accepts),
		TEST(a_hold_of_no_time),
		TEST(a_failure_ends_a_hold),
		TEST(a_missing_database),
		TEST(a_broken_database_is_never_accepted),
		TEST(the_same_damage_done_again),
		TEST(a_lock_is_no_failure_unless_it_lasts),
		TEST(an_operator_who_asks_under_a_lock),
		TEST(bad_rows_are_told_once),
		TEST(rubbish_costs_a_fixed_number_of_lines),
		TEST(a_start_without_a_database),
		TEST(the_last_good_table),
		TEST(a_state_folder_that_is_not_there),
		TEST(services_come_and_go),
		TEST(a_service_that_comes_back_in_time),
		TEST(an_address_that_is_taken),
		TEST(the_own_address_is_taken),
		TEST(a_row_for_the_own_address),
		TEST(no_own_address),
		TEST(one_app_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
