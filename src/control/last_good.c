/* Writes the rows that a table was built from into a file of the same schema as the routing
 * database, so that one reader and one validation serve both, and an operator can look inside.
 *
 * The file is written beside its place under a name of this process, sealed, made durable and
 * renamed. The seal is a checksum of all bytes, kept in the header field that SQLite leaves to
 * applications (PRAGMA user_version): routing by a file in which bits have rotted would be worse
 * than having none. Rows that come back pass the same checks as those of any database. */
#include "control/last_good.h"

#include "base/hash.h"
#include "control/columns.h"
#include "control/schema.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Nobody else opens the file before it is renamed, and it is synced once, as a whole. */
static const char fast_sql[] = "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
			       "PRAGMA locking_mode=EXCLUSIVE;";

struct writer {
	sqlite3 *db;
	const char *path;
	char *error;
};

static int failed(const struct writer *w, int rc)
{
	return db_error_sqlite(w->error, w->db, w->path, rc);
}

static int execute(const struct writer *w, const char *sql)
{
	int rc = sqlite3_exec(w->db, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : failed(w, rc);
}

static int prepare(const struct writer *w, const char *sql, sqlite3_stmt **ret_stmt)
{
	int rc = sqlite3_prepare_v2(w->db, sql, -1, ret_stmt, NULL);

	return rc == SQLITE_OK ? 0 : failed(w, rc);
}

/* Binding a number, or a text in the encoding of the database that is not copied, cannot fail. */
static void bind_text(sqlite3_stmt *stmt, int at, const char *text)
{
	(void)sqlite3_bind_text(stmt, at, text, text != NULL ? -1 : 0, SQLITE_STATIC);
}

static void bind_number(sqlite3_stmt *stmt, int at, int64_t number)
{
	(void)sqlite3_bind_int64(stmt, at, number);
}

/* Inserts what is bound. */
static int insert(const struct writer *w, sqlite3_stmt *stmt)
{
	int rc = sqlite3_step(stmt);

	if (rc == SQLITE_DONE)
		rc = sqlite3_reset(stmt);
	return rc == SQLITE_OK ? 0 : failed(w, rc);
}

/* ---- tables: how a row is inserted, and what it holds ---- */

static const char backend_sql[] =
	"INSERT INTO backends (id, app, region, wg_ip, port, healthy, weight,"
	" soft_limit, hard_limit, deleted, country, state, congestion)"
	" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";

static int write_backend(const struct writer *w, sqlite3_stmt *stmt, const struct route_rows *rows,
                         size_t i)
{
	const struct backend_row *row = &rows->backends[i];
	char ip[IP_TEXT_MAX];

	bind_text(stmt, 1, row->id);
	bind_text(stmt, 2, row->app);
	bind_text(stmt, 3, row->region);
	bind_text(stmt, 4, ip_format(&row->addr.ip, ip));
	bind_number(stmt, 5, row->addr.port);
	bind_number(stmt, 6, row->healthy);
	bind_number(stmt, 7, row->weight);
	bind_number(stmt, 8, row->soft_limit);
	bind_number(stmt, 9, row->hard_limit);
	bind_number(stmt, 10, row->deleted);
	bind_text(stmt, 11, row->country[0] != '\0' ? row->country : NULL);
	bind_text(stmt, 12, admin_state_word(row->state));
	bind_text(stmt, 13, row->congestion);
	return insert(w, stmt);
}

static const char service_sql[] =
	"INSERT INTO services (listen, app, accept_proxy, send_proxy, congestion)"
	" VALUES (?1, ?2, ?3, ?4, ?5)";

static int write_service(const struct writer *w, sqlite3_stmt *stmt, const struct route_rows *rows,
                         size_t i)
{
	const struct service_row *row = &rows->services[i];
	char listen[ENDPOINT_TEXT_MAX];

	bind_text(stmt, 1, endpoint_format(&row->listen, listen));
	bind_text(stmt, 2, row->app);
	bind_number(stmt, 3, row->accept_proxy);
	bind_number(stmt, 4, row->send_proxy);
	bind_text(stmt, 5, row->congestion);
	return insert(w, stmt);
}

static const char override_sql[] = "INSERT OR REPLACE INTO geo_overrides (cidr, country, region)"
				   " VALUES (?1, ?2, ?3)";

static int write_override(const struct writer *w, sqlite3_stmt *stmt, const struct route_rows *rows,
                          size_t i)
{
	const struct geo_override_row *row = &rows->overrides[i];
	char cidr[PREFIX_TEXT_MAX];

	bind_text(stmt, 1, prefix_format(&row->prefix, cidr));
	bind_text(stmt, 2, row->country[0] != '\0' ? row->country : NULL);
	bind_text(stmt, 3, row->region);
	return insert(w, stmt);
}

static const char country_region_sql[] =
	"INSERT OR REPLACE INTO country_regions (country, region) VALUES (?1, ?2)";

static int write_country_region(const struct writer *w, sqlite3_stmt *stmt,
                                const struct route_rows *rows, size_t i)
{
	bind_text(stmt, 1, rows->country_regions[i].country);
	bind_text(stmt, 2, rows->country_regions[i].region);
	return insert(w, stmt);
}

/* What is unset is NULL. */
static void bind_or_null(sqlite3_stmt *stmt, int at, int64_t number, int64_t unset)
{
	if (number == unset)
		(void)sqlite3_bind_null(stmt, at);
	else
		bind_number(stmt, at, number);
}

static void bind_check(sqlite3_stmt *stmt, const struct health_check_row *row, const char *target,
                       const char *statuses)
{
	bind_text(stmt, HEALTH_CHECK_TARGET + 1, target);
	bind_text(stmt, HEALTH_CHECK_TYPE + 1, check_type_word(row->type));
	bind_or_null(stmt, HEALTH_CHECK_PORT + 1, row->port, 0);
	bind_or_null(stmt, HEALTH_CHECK_SEND_PROXY + 1, row->send_proxy, -1);
	bind_or_null(stmt, HEALTH_CHECK_INTER + 1, row->inter_ms, 0);
	bind_or_null(stmt, HEALTH_CHECK_FASTINTER + 1, row->fastinter_ms, 0);
	bind_or_null(stmt, HEALTH_CHECK_DOWNINTER + 1, row->downinter_ms, 0);
	bind_or_null(stmt, HEALTH_CHECK_TIMEOUT + 1, row->timeout_ms, 0);
	bind_or_null(stmt, HEALTH_CHECK_RISE + 1, row->rise, 0);
	bind_or_null(stmt, HEALTH_CHECK_FALL + 1, row->fall, 0);
	bind_or_null(stmt, HEALTH_CHECK_GRACE + 1, row->grace_ms, -1);
	bind_text(stmt, HEALTH_CHECK_METHOD + 1, row->method);
	bind_text(stmt, HEALTH_CHECK_PATH + 1, row->path);
	bind_text(stmt, HEALTH_CHECK_HOST + 1, row->host);
	bind_text(stmt, HEALTH_CHECK_EXPECT_STATUS + 1, statuses[0] != '\0' ? statuses : NULL);
	bind_text(stmt, HEALTH_CHECK_EXPECT_BODY + 1, row->expect_body);
	bind_text(stmt, HEALTH_CHECK_SERVICE + 1, row->service);
	bind_text(stmt, HEALTH_CHECK_SCRIPT + 1, row->script);
	bind_or_null(stmt, HEALTH_CHECK_AGENT_PORT + 1, row->agent_port, 0);
	bind_or_null(stmt, HEALTH_CHECK_AGENT_INTER + 1, row->agent_inter_ms, 0);
}

/* The columns of the schema in the order of control/columns.def. */
static const char check_sql[] =
	"INSERT INTO health_checks (target, type, port, send_proxy, inter_ms,"
	" fastinter_ms, downinter_ms, timeout_ms, rise, fall, grace_ms, method,"
	" path, host, expect_status, expect_body, grpc_service, script,"
	" agent_port, agent_inter_ms)"
	" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

static int write_check(const struct writer *w, sqlite3_stmt *stmt, const struct route_rows *rows,
                       size_t i)
{
	const struct health_check_row *row = &rows->checks[i];
	char target[CHECK_TARGET_MAX + 1];
	char statuses[STATUS_SET_TEXT_MAX];

	bind_check(stmt, row, health_check_target(row, target),
	           status_set_format(&row->expect_status, statuses));
	return insert(w, stmt);
}

static const char access_rule_sql[] = "INSERT INTO access_rules (id, app, cidr, country, action)"
				      " VALUES (?1, ?2, ?3, ?4, ?5)";

static int write_access_rule(const struct writer *w, sqlite3_stmt *stmt,
                             const struct route_rows *rows, size_t i)
{
	const struct access_rule_row *row = &rows->access_rules[i];
	const char *country = row->match == ACCESS_COUNTRY ? row->country : "*";
	char cidr[PREFIX_TEXT_MAX];

	prefix_format(&row->prefix, cidr);
	bind_text(stmt, 1, row->id);
	bind_text(stmt, 2, row->app != NULL ? row->app : "*");
	bind_text(stmt, 3, row->match == ACCESS_CIDR ? cidr : NULL);
	bind_text(stmt, 4, row->match != ACCESS_CIDR ? country : NULL);
	bind_text(stmt, 5, row->allow ? "allow" : "deny");
	return insert(w, stmt);
}

static int write_tables(const struct writer *w, const struct route_rows *rows)
{
	const struct {
		const char *sql;
		int (*write)(const struct writer *w, sqlite3_stmt *stmt,
		             const struct route_rows *rows, size_t i);
		size_t count;
	} tables[] = {
		{backend_sql, write_backend, rows->backend_count},
		{service_sql, write_service, rows->service_count},
		{override_sql, write_override, rows->override_count},
		{country_region_sql, write_country_region, rows->country_region_count},
		{check_sql, write_check, rows->check_count},
		{access_rule_sql, write_access_rule, rows->access_rule_count},
	};
	int rc = 0;

	for (size_t t = 0; rc == 0 && t < sizeof(tables) / sizeof(tables[0]); t++) {
		sqlite3_stmt *stmt = NULL;

		rc = prepare(w, tables[t].sql, &stmt);
		for (size_t i = 0; rc == 0 && i < tables[t].count; i++)
			rc = tables[t].write(w, stmt, rows, i);
		sqlite3_finalize(stmt);
	}
	return rc;
}

static int write_file(const char *path, const struct route_rows *rows, char error[STORE_ERROR_MAX])
{
	struct writer w = {.path = path, .error = error};
	int rc = sqlite3_open_v2(path, &w.db,
	                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
	                         NULL);

	rc = rc == SQLITE_OK ? 0 : failed(&w, rc);
	if (rc == 0)
		rc = execute(&w, fast_sql);
	if (rc == 0)
		rc = execute(&w, "BEGIN");
	if (rc == 0)
		rc = execute(&w, schema_sql);
	if (rc == 0)
		rc = execute(&w, schema_optional_sql);
	if (rc == 0)
		rc = write_tables(&w, rows);
	if (rc == 0)
		rc = execute(&w, "COMMIT");
	sqlite3_close(w.db);
	return rc;
}

/* ---- the seal ---- */

/* Where SQLite keeps user_version, 4 bytes, most significant first. */
#define SEAL_AT 60
#define SEAL_BYTES 4
#define SEAL_CHUNK_BYTES 65536

/* Over the whole file, the seal itself taken as zero. 0 or -errno. */
static int seal_compute(int fd, uint32_t *ret_seal)
{
	unsigned char chunk[SEAL_CHUNK_BYTES];
	uint64_t hash = 0;
	off_t at = 0;

	for (;;) {
		ssize_t n = pread(fd, chunk, sizeof(chunk), at);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		if (at == 0 && n >= SEAL_AT + SEAL_BYTES)
			memset(chunk + SEAL_AT, 0, SEAL_BYTES);
		hash = hash_stable(chunk, (size_t)n, hash);
		at += n;
	}
	*ret_seal = (uint32_t)hash;
	return 0;
}

/* Seals the finished file and makes it durable. 0 or -errno. */
static int seal_write(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint32_t seal;
	ssize_t n;
	int rc;

	if (fd < 0)
		return -errno;
	rc = seal_compute(fd, &seal);
	if (rc == 0) {
		seal = htobe32(seal);
		n = pwrite(fd, &seal, SEAL_BYTES, SEAL_AT);
		if (n != SEAL_BYTES)
			rc = n < 0 ? -errno : -EIO;
	}
	if (rc == 0 && fsync(fd) != 0)
		rc = -errno;
	close(fd);
	return rc;
}

/* 0; -EBADMSG: not what was written; another -errno. */
static int seal_check(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint32_t seal, expected;
	int rc;

	if (fd < 0)
		return -errno;
	rc = seal_compute(fd, &expected);
	if (rc == 0 &&
	    (pread(fd, &seal, SEAL_BYTES, SEAL_AT) != SEAL_BYTES || be32toh(seal) != expected))
		rc = -EBADMSG;
	close(fd);
	return rc;
}

/* The names in a folder. */
static int make_names_durable(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) != 0)
		err = -errno;
	close(fd);
	return err;
}

int last_good_save(const char *state_dir, const struct route_rows *rows,
                   char error[STORE_ERROR_MAX])
{
	char path[PATH_MAX];
	char part[PATH_MAX];
	int rc;

	if (snprintf(path, sizeof(path), "%s/" LAST_GOOD_NAME, state_dir) >= (int)sizeof(path) ||
	    snprintf(part, sizeof(part), "%s.%d", path, (int)getpid()) >= (int)sizeof(part))
		return db_error(error, -ENAMETOOLONG, "%s: the path is too long", state_dir);
	/* What an earlier process of this number left behind. */
	(void)unlink(part);
	rc = write_file(part, rows, error);
	if (rc == 0) {
		rc = seal_write(part);
		if (rc == 0 && rename(part, path) != 0)
			rc = -errno;
		if (rc == 0)
			rc = make_names_durable(state_dir);
		if (rc != 0)
			(void)db_error(error, rc, "%s: %s", path, strerror(-rc));
	}
	if (rc != 0)
		(void)unlink(part);
	return rc;
}

int last_good_load(const char *state_dir, const char *app, struct route_rows *ret_rows,
                   char error[STORE_ERROR_MAX])
{
	const struct store_read_options options = {.fresh = true, .app = app};
	struct store *store;
	size_t quarantined;
	char path[PATH_MAX];
	int rc;

	if (snprintf(path, sizeof(path), "%s/" LAST_GOOD_NAME, state_dir) >= (int)sizeof(path))
		return db_error(error, -ENAMETOOLONG, "%s: the path is too long", state_dir);
	rc = seal_check(path);
	if (rc != 0)
		return db_error(error, rc, "%s: %s", path,
		                rc == -EBADMSG ? "damaged: its checksum is wrong" : strerror(-rc));
	rc = store_new(path, &store);
	if (rc != 0)
		return db_error(error, rc, "%s: out of memory", path);
	rc = store_read(store, &options, ret_rows, &quarantined, error);
	store_free(store);
	return rc;
}
