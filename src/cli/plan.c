/* `edgeproxy plan FILE.sql`. The proxy is asked once, over the control socket, for its clients of
 * the last hours and for what is true of its backends; everything else happens here, in a process
 * of its own: the database is copied to memory, the SQL is run on the copy (plan/plan_sql.h), both
 * are read by the code that the proxy reads with, and the same clients are decided upon twice
 * (plan/plan_compare.h). So the proxy, its database and its clients notice nothing, whatever the
 * SQL says.
 *
 * The settings that decisions rest on (region, app, listen address, country database, path of the
 * database) are those of the proxy that answered, not of this command's environment. */
#include "cli/plan.h"

#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/control.h"
#include "cli/control_path.h"
#include "cli/inputs.h"
#include "cli/output.h"
#include "cli/plan_report.h"
#include "control/row_reader.h"
#include "geo/special.h"
#include "plan/plan_compare.h"
#include "plan/plan_sql.h"
#include "route/live.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Quarantined rows that are shown. */
#define QUARANTINED_MAX 100
#define USAGE "edgeproxy plan FILE.sql [--db FILE] [--json]"

const struct command_option plan_options[] = {
	{.name = "db",
         .value = "FILE",
         .help = "this database instead of the proxy's",
         .kind = ARGUMENT_FILE},
	{.name = "json", .help = "for programs"},
	{0},
};

struct lines {
	char *line[QUARANTINED_MAX];
	size_t count;
	size_t all;
};

struct plan {
	const char *file;
	const char *db_path; /* of the options; NULL: the proxy's */
	struct control_answer answer;
	struct inputs in; /* configuration and country database */
	struct route_rows rows[PLAN_SIDES];
	struct lines quarantined[PLAN_SIDES];
	struct plan_sql_done done;
	struct plan_input input;
	struct plan_client *clients;
	struct plan_live *live;
	size_t forgotten;
};

__attribute__((format(printf, 1, 2))) static int complain(const char *format, ...)
{
	va_list args;

	fputs("edgeproxy plan: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return -EINVAL;
}

/* ---- the SQL ---- */

/* The text, the caller's to free(); NULL after complaining. */
static char *read_sql(const char *file)
{
	FILE *from = strcmp(file, "-") == 0 ? stdin : fopen(file, "re");
	char *text = malloc(PLAN_SQL_MAX + 2);
	size_t len = 0;

	if (from == NULL || text == NULL) {
		complain("%s: %s", file, strerror(errno));
	} else {
		len = fread(text, 1, PLAN_SQL_MAX + 1, from);
		text[len] = '\0';
	}
	if (from != NULL && text != NULL &&
	    (ferror(from) || len > PLAN_SQL_MAX || strlen(text) != len)) {
		complain("%s: %s", file,
		         ferror(from)         ? "cannot be read"
		         : len > PLAN_SQL_MAX ? "more than 16 MiB"
		                              : "not a text: it has a NUL byte");
		free(text);
		text = NULL;
	} else if (from == NULL) {
		free(text);
		text = NULL;
	}
	if (from != NULL && from != stdin)
		fclose(from);
	return text;
}

/* ---- the proxy's settings ---- */

static void print_problem(void *arg, bool fatal, const char *text)
{
	(void)arg;
	if (fatal)
		complain("the proxy's settings: %s", text);
}

/* The proxy's settings as a configuration, by the same checks. */
static int read_settings(struct plan *p)
{
	static const struct {
		const char *variable;
		const char *key;
	} all[] = {
		{"EDGEPROXY_REGION", "region"},           {"EDGEPROXY_APP", "app"},
		{"EDGEPROXY_LISTEN_ADDR", "listen_addr"}, {"EDGEPROXY_DB_PATH", "db_path"},
		{"EDGEPROXY_GEOIP_PATH", "geoip_path"},
	};
	const json_t *settings = json_object_get(p->answer.json, "settings");
	const struct config_report report = {.problem = print_problem};
	char *environment[sizeof(all) / sizeof(all[0]) + 1] = {0};
	int err = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		const char *value = output_text(settings, all[i].key, "");

		if (strcmp(all[i].key, "db_path") == 0 && p->db_path != NULL)
			value = p->db_path;
		if (asprintf(&environment[i], "%s=%s", all[i].variable, value) < 0) {
			environment[i] = NULL;
			err = -ENOMEM;
			break;
		}
	}
	if (err == 0)
		err = config_read(environment, &report, &p->in.config);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(environment[i]);
	return err;
}

/* ---- rows ---- */

static void keep_line(void *arg, const struct bad_row *bad)
{
	struct lines *l = arg;
	const struct quarantined q = {.table = bad->table,
	                              .row = bad->row,
	                              .column = bad->error.column,
	                              .value = bad->error.value,
	                              .why = bad->error.why};
	char text[QUARANTINED_TEXT_MAX];

	l->all++;
	if (l->count == QUARANTINED_MAX)
		return;
	l->line[l->count] = strdup(quarantined_format(&q, text));
	l->count += l->line[l->count] != NULL;
}

static int read_rows(struct plan *p, sqlite3 *db, enum plan_side side)
{
	const struct row_reader reader = {
		.path = side == PLAN_NOW ? p->in.config.db_path : p->file,
		.app = p->in.config.app,
		.bad_row = keep_line,
		.arg = &p->quarantined[side],
	};
	char error[STORE_ERROR_MAX] = "";
	size_t ignored = 0;
	int err;

	if (sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK)
		return complain("%s", sqlite3_errmsg(db));
	err = row_reader_run(&reader, db, &p->rows[side], &ignored, error);
	(void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
	if (err != 0)
		complain("%s%s", side == PLAN_THEN ? "after the change: " : "",
		         error[0] != '\0' ? error : strerror(-err));
	return err;
}

static int copy_database(struct plan *p, sqlite3 *db)
{
	char error[STORE_ERROR_MAX] = "";
	struct store *store;
	int err = store_new(p->in.config.db_path, &store);

	if (err != 0)
		return complain("out of memory");
	store_set_patience(store, INPUTS_PATIENCE_MS);
	err = store_copy(store, db, error);
	if (err != 0)
		complain("%s", error[0] != '\0' ? error : strerror(-err));
	store_free(store);
	return err;
}

static int read_both(struct plan *p, const char *sql)
{
	char error[PLAN_SQL_ERROR_MAX];
	struct plan_sql_clock *clock = NULL;
	sqlite3 *db;
	int err;

	if (plan_sql_open(&db) != 0)
		return complain("out of memory");
	err = copy_database(p, db);
	if (err == 0)
		err = read_rows(p, db, PLAN_NOW);
	if (err == 0) {
		err = plan_sql_apply(db, sql, clock_now_ms, &p->done, error);
		if (err != 0)
			complain("%s: %s", p->file, err == -ENOMEM ? "out of memory" : error);
	}
	if (err == 0)
		err = plan_sql_limit_reading(db, clock_now_ms, &clock);
	if (err == 0)
		err = read_rows(p, db, PLAN_THEN);
	plan_sql_close(db, clock);
	return err;
}

/* ---- clients and live state ---- */

static bool listen_of(const json_t *services, json_int_t key, struct endpoint *ret)
{
	for (size_t i = 0; i < json_array_size(services); i++) {
		const json_t *s = json_array_get(services, i);

		if (json_integer_value(json_object_get(s, "key")) == key)
			return endpoint_parse(output_text(s, "listen", ""), true, ret) == 0;
	}
	return false;
}

static int read_clients(struct plan *p)
{
	const json_t *all = json_object_get(p->answer.json, "clients");
	const json_t *services = json_object_get(p->answer.json, "services");
	size_t count = json_array_size(all);

	p->clients = calloc(count + 1, sizeof(*p->clients));
	if (p->clients == NULL)
		return complain("out of memory");
	for (size_t i = 0; i < count; i++) {
		const json_t *c = json_array_get(all, i);
		struct plan_client *client = &p->clients[p->input.client_count];

		*client = (struct plan_client){
			.backend = output_text(c, "backend", NULL),
			.weight = json_number_value(json_object_get(c, "weight")),
		};
		if (ip_parse(output_text(c, "client", ""), &client->client) != 0 ||
		    !(client->weight > 0))
			continue;
		if (!listen_of(services, json_integer_value(json_object_get(c, "service")),
		               &client->listen)) {
			p->forgotten++;
			continue;
		}
		p->input.client_count++;
	}
	p->input.clients = p->clients;
	return 0;
}

static int read_live(struct plan *p)
{
	const json_t *all = json_object_get(p->answer.json, "live");
	size_t count = json_array_size(all);

	p->live = calloc(count + 1, sizeof(*p->live));
	if (p->live == NULL)
		return complain("out of memory");
	for (size_t i = 0; i < count; i++) {
		const json_t *b = json_array_get(all, i);
		uint64_t percent = output_uint(b, "weight_percent");

		p->live[i] = (struct plan_live){
			.id = output_text(b, "id", ""),
			.connections = (uint32_t)output_uint(b, "connections"),
			.faults = (unsigned)output_uint(b, "faults"),
			.ramp = (uint8_t)(output_uint(b, "ramp") % 100),
			.weight_percent = (uint8_t)(percent <= 100 ? percent : 100),
		};
	}
	p->input.live = p->live;
	p->input.live_count = count;
	return 0;
}

static void fill_input(struct plan *p)
{
	const json_t *settings = json_object_get(p->answer.json, "settings");

	for (int side = 0; side < PLAN_SIDES; side++)
		p->input.rows[side] = &p->rows[side];
	p->input.region = p->in.config.region;
	p->input.app = p->in.config.app;
	p->input.listen = p->in.config.listen_addr;
	p->input.panic_percent = (uint32_t)output_uint(settings, "healthy_panic_threshold");
	p->input.geo = p->in.geo;
}

/* ---- the plan ---- */

/* Lines of THEN that are none of NOW come first; returns how many. */
static size_t sort_news(const struct lines *now, struct lines *then)
{
	size_t news = 0;

	for (size_t i = 0; i < then->count; i++) {
		bool known = false;
		char *line = then->line[i];

		for (size_t k = 0; !known && k < now->count; k++)
			known = strcmp(now->line[k], line) == 0;
		if (known)
			continue;
		then->line[i] = then->line[news];
		then->line[news++] = line;
	}
	return news;
}

static int show(struct plan *p, const struct plan_result *result, bool json)
{
	struct lines *then = &p->quarantined[PLAN_THEN];
	double total = json_number_value(json_object_get(p->answer.json, "total_weight"));
	double bound = json_number_value(json_object_get(p->answer.json, "error_bound"));
	size_t hidden = then->all - then->count;
	struct plan_report report = {
		.result = result,
		.file = p->file,
		.db_path = p->in.config.db_path,
		.statements = p->done.statements,
		.rows = p->done.rows,
		.prefixes = p->input.client_count,
		.forgotten = p->forgotten,
		.error_percent = total > 0 ? bound / total * 100 : 0,
		.half_life_secs = (unsigned)output_uint(p->answer.json, "half_life_secs"),
		.quarantined = then->line,
		.quarantined_count = sort_news(&p->quarantined[PLAN_NOW], then),
		.quarantined_more = then->all > p->quarantined[PLAN_NOW].all ? hidden : 0,
	};
	int err = 0;

	if (json)
		err = plan_report_print_json(&report);
	else
		plan_report_print(&report);
	if (err != 0)
		complain("%s", strerror(-err));
	if (err != 0 || output_flush() != 0)
		return PLAN_TROUBLE;
	return plan_report_harm(&report) ? PLAN_HARM : PLAN_FINE;
}

static int make_plan(struct plan *p, const char *sql, bool json)
{
	struct plan_result result;
	char error[GEO_ERROR_MAX];
	int status;
	int err = read_settings(p);

	if (err != 0)
		return PLAN_TROUBLE;
	err = inputs_open_geo(&p->in, error);
	if (err != 0) {
		complain("country database %s: %s", p->in.config.geoip_path, error);
		return PLAN_TROUBLE;
	}
	if (read_both(p, sql) != 0 || read_clients(p) != 0 || read_live(p) != 0)
		return PLAN_TROUBLE;
	fill_input(p);
	err = plan_compare(&p->input, &result);
	if (err != 0) {
		complain("%s", strerror(-err));
		return PLAN_TROUBLE;
	}
	status = show(p, &result, json);
	plan_result_done(&result);
	return status;
}

static int ask(struct plan *p)
{
	struct control_path path;
	struct control *c;
	int r = control_open("plan", &c);

	if (r != CONTROL_OK)
		return r;
	control_path_init(&path, "/api/v1/clients");
	r = control_ask(c, "GET", &path, &p->answer);
	control_close(c);
	return r;
}

int plan_main(int argc, char **argv)
{
	struct plan p = {0};
	struct arguments a;
	char *sql;
	int r = arguments_read(argc, argv, USAGE, plan_options, 1, 1, &a);

	if (r != ARGUMENTS_GO_ON)
		return r;
	p.file = a.rest[0];
	p.db_path = arguments_value(&a, "db");
	special_init();
	inputs_init(&p.in);
	for (int side = 0; side < PLAN_SIDES; side++)
		route_rows_init(&p.rows[side]);
	sql = read_sql(p.file);
	r = PLAN_TROUBLE;
	if (sql != NULL && ask(&p) == CONTROL_OK)
		r = make_plan(&p, sql, arguments_has(&a, "json"));
	for (int side = 0; side < PLAN_SIDES; side++) {
		route_rows_done(&p.rows[side]);
		for (size_t i = 0; i < p.quarantined[side].count; i++)
			free(p.quarantined[side].line[i]);
	}
	free(sql);
	free(p.clients);
	free(p.live);
	control_answer_done(&p.answer);
	inputs_done(&p.in);
	return r;
}
