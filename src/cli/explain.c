/* `edgeproxy explain <client-ip>`: asks the routing policy about one client and shows every step of
 * the answer (explain/explanation.h).
 *
 * Where a proxy answers at the control socket, it is asked: it knows its connections, faults and
 * bindings. Otherwise, or where files are named, they are read by the code that the proxy reads
 * them with, in this process: read-only, with live state of its own, so nothing is connected and
 * nobody is bound. The answer says which it was. */
#include "cli/explain.h"

#include "base/clock.h"
#include "base/json_text.h"
#include "cli/arguments.h"
#include "cli/control.h"
#include "cli/control_path.h"
#include "cli/explain_text.h"
#include "cli/inputs.h"
#include "cli/output.h"
#include "explain/explanation_json.h"
#include "geo/special.h"
#include "route/limits.h"
#include "route/service.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INDENT 2
#define DIGITS 9
#define ASKED_MAX 256

static const char usage[] = "edgeproxy explain IP [--app APP] [--db FILE] [--region REGION] "
			    "[--offline] [--json]";

const struct command_option explain_options[] = {
	{"app", "APP", "a client of this app's service", ARGUMENT_TEXT},
	{"db", "FILE", "read this database, instead of asking a proxy", ARGUMENT_FILE},
	{"region", "REGION", "as a POP of this region, instead of asking a proxy", ARGUMENT_TEXT},
	{"offline", NULL, "read the files of this environment, though a proxy runs", ARGUMENT_TEXT},
	{"json", NULL, "one JSON object", ARGUMENT_TEXT},
	{0},
};

/* ---- arguments ---- */

static int wrong(const char *what, const char *value)
{
	return arguments_wrong("explain", usage, what, value);
}

/* A flag is the same as its variable, so it goes through the same checks. 0 or an exit status. */
static int take_flags(const struct arguments *a)
{
	const char *app = arguments_value(a, "app");
	const char *db = arguments_value(a, "db");
	const char *region = arguments_value(a, "region");
	region_id id;

	/* As the API has it; "" is the variable's way to say that there is none. */
	if (app != NULL && (*app == '\0' || strlen(app) > APP_NAME_MAX))
		return wrong("--app takes the name of an app, 1 to 64 bytes", app);
	if (db != NULL && *db == '\0')
		return wrong("--db needs the name of a file", NULL);
	if (region != NULL && region_intern(region, &id) != 0)
		return wrong("--region takes 1 to 32 letters, digits, \"-\" and \"_\"", region);
	if ((app != NULL && setenv("EDGEPROXY_APP", app, 1) != 0) ||
	    (db != NULL && setenv("EDGEPROXY_DB_PATH", db, 1) != 0) ||
	    (region != NULL && setenv("EDGEPROXY_REGION", region, 1) != 0))
		return wrong(strerror(errno), NULL);
	return 0;
}

/* ---- from files ---- */

/* The app whose clients are asked about: the configured one, or that of the services row for the
 * main listener. */
static const char *explained_app(const struct inputs *in)
{
	if (*in->config.app != '\0')
		return in->config.app;
	for (size_t i = 0; config_listens(&in->config) && i < in->rows.service_count; i++) {
		if (endpoint_equal(&in->rows.services[i].listen, &in->config.listen_addr))
			return in->rows.services[i].app;
	}
	return NULL;
}

/* Every json_pack() takes its values over ("o"), also when one of them is NULL: then it fails as a
 * whole. */
static json_t *quarantined_json(const struct inputs *in)
{
	json_t *list = json_array();

	for (size_t i = 0; i < in->quarantined_count; i++) {
		const struct quarantined *q = &in->quarantined[i];

		if (json_array_append_new(
			    list, json_pack("{s:o, s:o, s:o, s:o, s:o}", "table",
		                            json_text(q->table), "row", json_text(q->row), "column",
		                            json_text(q->column), "value", json_text(q->value),
		                            "why", json_text(q->why))) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

/* An explanation of inputs that are complete. 0 or -errno. */
static int explain_inputs(const struct inputs *in, const struct ip *client, json_t **ret)
{
	const char *app = explained_app(in);
	struct live *live = live_new();
	struct service *service = service_new(&in->config.listen_addr, app != NULL ? app : "",
	                                      false, 0, NULL);
	struct table_options options = {
		.local_region = in->config.region, .services = &service, .service_count = 1};
	struct explain_sources sources = {
		.db_path = in->config.db_path,
		.geoip_path = in->config.geoip_path,
		.quarantined = quarantined_json(in),
		.most = SIZE_MAX,
	};
	struct table *table = NULL;
	struct explanation e = {0};
	int r = live != NULL && service != NULL ? 0 : -ENOMEM;

	if (r == 0)
		r = table_new(&in->rows, &options, live, &table);
	if (r == 0)
		r = explain(&(struct explain_query){.table = table,
		                                    .geo = in->geo,
		                                    .service = service,
		                                    .client = client,
		                                    .now_ms = clock_now_ms(),
		                                    .seed = in->config.random_seed != 0
		                                                    ? in->config.random_seed
		                                                    : clock_now_ns()},
		            &e);
	if (r == 0) {
		*ret = explanation_json(&e, &sources);
		r = *ret != NULL ? 0 : -ENOMEM;
		explanation_done(&e);
	}
	json_decref(sources.quarantined);
	table_unref(table);
	service_unref(service);
	live_free(live);
	return r;
}

static void print_problem(void *arg, bool fatal, const char *text)
{
	(void)arg;
	fprintf(stderr, "edgeproxy explain: %s%s\n", fatal ? "" : "warning: ", text);
}

/* Reads all that there is to read; says on standard error what could not be. */
static int gather(struct inputs *in)
{
	const struct config_report report = {.problem = print_problem};
	char geo_error[GEO_ERROR_MAX];
	char error[STORE_ERROR_MAX];
	int r = config_read(environ, &report, &in->config);

	if (r != 0)
		return r;
	r = inputs_open_geo(in, geo_error);
	if (r != 0) {
		fprintf(stderr, "edgeproxy explain: country database %s: %s\n",
		        in->config.geoip_path, geo_error);
		return r;
	}
	r = inputs_read_routes(in, error);
	if (r != 0)
		print_problem(NULL, true, error);
	return r;
}

static int explain_files(const struct ip *client, bool json, const char *asked)
{
	struct inputs in;
	json_t *e = NULL;
	int r;

	special_init();
	inputs_init(&in);
	r = gather(&in);
	if (r == 0) {
		r = explain_inputs(&in, client, &e);
		if (r != 0)
			fprintf(stderr, "edgeproxy explain: %s\n", strerror(-r));
	}
	if (r == 0 && json) {
		json_dumpf(e, stdout, JSON_INDENT(INDENT) | JSON_REAL_PRECISION(DIGITS));
		printf("\n");
	} else if (r == 0) {
		explain_print(e, asked);
		if (in.quarantined_count > 0)
			printf("\nquarantined rows, which route nobody:\n");
		for (size_t i = 0; i < in.quarantined_count; i++) {
			char line[QUARANTINED_TEXT_MAX];

			printf("  %s\n", quarantined_format(&in.quarantined[i], line));
		}
	}
	json_decref(e);
	inputs_done(&in);
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- from a running proxy ---- */

static int explain_live(struct control *c, const char *client, const struct arguments *a)
{
	struct control_path path;
	struct control_answer answer;
	char asked[ASKED_MAX];
	int r;

	control_path_init(&path, "/api/v1/explain");
	control_path_parameter(&path, "ip", client);
	control_path_parameter(&path, "app", arguments_value(a, "app"));
	r = control_ask(c, "GET", &path, &answer);
	if (r != CONTROL_OK)
		return r;
	snprintf(asked, sizeof asked, "the proxy that runs, at %s", control_socket(c));
	if (arguments_has(a, "json"))
		output_raw(answer.text, answer.len);
	else
		explain_print(answer.json, asked);
	control_answer_done(&answer);
	return CONTROL_OK;
}

int explain_main(int argc, char **argv)
{
	struct arguments a;
	struct control *c = NULL;
	struct ip client;
	char asked[ASKED_MAX] = "the files of this environment";
	bool files;
	int r = arguments_read(argc, argv, usage, explain_options, 1, 1, &a);

	if (r != ARGUMENTS_GO_ON)
		return r;
	r = take_flags(&a);
	if (r != 0)
		return r;
	if (ip_parse(a.rest[0], &client) != 0)
		return wrong("not an IPv4 or IPv6 address", a.rest[0]);
	files = arguments_has(&a, "offline") || arguments_has(&a, "db") ||
	        arguments_has(&a, "region");
	if (!files && control_find("explain", &c) && control_is_there(control_socket(c))) {
		r = explain_live(c, a.rest[0], &a);
	} else {
		if (c != NULL)
			snprintf(asked, sizeof asked, "files: no proxy answers at %s",
			         control_socket(c));
		r = explain_files(&client, arguments_has(&a, "json"), asked);
	}
	control_close(c);
	return r;
}
