/* `edgeproxy explain <client-ip>`: asks the routing policy about one client and shows every step of
 * the answer.
 *
 * Nothing is decided here. The place comes from policy_locate(), the admission from access_find(),
 * the terms of each backend from balancer_judge(), the winner from policy_choose(): the functions
 * that the workers run, on a table made by the same code from the same rows. What is added is order
 * (the best first), the shares of a weighted random choice, and the origin of the client's region.
 *
 * It runs in a process of its own, with live state of its own: it opens the database read-only,
 * opens no socket, and changes nothing. So it does not see a running proxy's connections and
 * bindings, and says so. */
#include "cli/explain.h"

#include "base/clock.h"
#include "cli/explanation.h"
#include "cli/inputs.h"
#include "geo/country.h"
#include "route/limits.h"
#include "route/service.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_WRONG_ARGUMENTS 2

static const char usage[] =
	"usage: edgeproxy explain <client-ip> [--app APP] [--db FILE] [--region REGION] [--json]\n"
	"\n"
	"Which backend would this client get, and why? Reads the same environment as the proxy;\n"
	"the flags are stronger than EDGEPROXY_APP, EDGEPROXY_DB_PATH and EDGEPROXY_REGION.\n";

struct arguments {
	struct ip client;
	bool json;
	bool help;
};

/* ---- arguments ---- */

static int wrong(const char *what, const char *value)
{
	fprintf(stderr, "edgeproxy explain: %s%s%s\n", what, value != NULL ? ": " : "",
	        value != NULL ? value : "");
	return -EINVAL;
}

/* A flag is the same as its variable, so it goes through the same checks. */
static int flag_set(int flag, const char *value)
{
	region_id region;

	switch (flag) {
	case 'a':
		if (strlen(value) > APP_NAME_MAX)
			return wrong("--app is longer than an app's name can be", value);
		return setenv("EDGEPROXY_APP", value, 1) == 0 ? 0 : -errno;
	case 'd':
		if (*value == '\0')
			return wrong("--db needs the name of a file", NULL);
		return setenv("EDGEPROXY_DB_PATH", value, 1) == 0 ? 0 : -errno;
	default:
		if (region_intern(value, &region) != 0)
			return wrong("--region takes 1 to 32 letters, digits, \"-\" and \"_\"",
			             value);
		return setenv("EDGEPROXY_REGION", value, 1) == 0 ? 0 : -errno;
	}
}

static int arguments_read(int argc, char **argv, struct arguments *ret_arguments)
{
	static const struct option flags[] = {
		{"app", required_argument, NULL, 'a'},    {"db", required_argument, NULL, 'd'},
		{"region", required_argument, NULL, 'r'}, {"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
	struct arguments a = {0};
	int flag;
	int r;

	opterr = 0;
	while ((flag = getopt_long(argc, argv, ":h", flags, NULL)) != -1) {
		switch (flag) {
		case 'j':
			a.json = true;
			break;
		case 'h':
			a.help = true;
			break;
		case ':':
			return wrong("a value is missing behind", argv[optind - 1]);
		case '?':
			return wrong("unknown option", argv[optind - 1]);
		default:
			r = flag_set(flag, optarg);
			if (r != 0)
				return r;
		}
	}
	if (!a.help && optind != argc - 1)
		return wrong(optind < argc ? "one client address at a time, please"
		                           : "which client? An IPv4 or IPv6 address is missing",
		             NULL);
	if (!a.help && ip_parse(argv[optind], &a.client) != 0)
		return wrong("not an IPv4 or IPv6 address", argv[optind]);
	*ret_arguments = a;
	return 0;
}

/* ---- the answer ---- */

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

static enum region_source find_region_source(const struct explanation *e)
{
	const struct route_rows *rows = &e->inputs->rows;

	if (e->place.region == REGION_NONE)
		return REGION_FROM_NOWHERE;
	for (size_t i = rows->override_count; e->place.source == PLACE_OVERRIDE && i > 0; i--) {
		const struct geo_override_row *row =
			&rows->overrides[i - 1]; /* the later one won */

		if (row->prefix.bits == e->place.network.bits &&
		    ip_equal(&row->prefix.ip, &e->place.network.ip)) {
			if (row->region != NULL)
				return REGION_FROM_OVERRIDE;
			break;
		}
	}
	for (size_t i = 0; i < rows->country_region_count; i++) {
		if (strcmp(rows->country_regions[i].country, e->place.country) == 0)
			return REGION_FROM_COUNTRY_REGIONS;
	}
	return REGION_FROM_DEFAULT;
}

/* Best first: as the balancer would take them if each in turn were full. Excluded ones last. */
static int candidate_compare(const void *a, const void *b)
{
	const struct candidate *x = a;
	const struct candidate *y = b;
	bool x_in = x->terms.exclusion == EXCLUDED_NOT;
	bool y_in = y->terms.exclusion == EXCLUDED_NOT;

	if (x_in != y_in)
		return x_in ? -1 : 1;
	if (x_in && x->terms.own_country != y->terms.own_country)
		return x->terms.own_country ? -1 : 1;
	if (x_in && x->terms.score < y->terms.score)
		return -1;
	if (x_in && x->terms.score > y->terms.score)
		return 1;
	return strcmp(x->backend->id, y->backend->id);
}

static bool equally_good(const struct candidate *a, const struct candidate *b)
{
	return b->terms.exclusion == EXCLUDED_NOT && a->terms.own_country == b->terms.own_country &&
	       !(a->terms.score < b->terms.score) && !(a->terms.score > b->terms.score);
}

static int judge_all(struct explanation *e)
{
	struct balancer_query q = {
		.app = e->app, .country = e->place.country, .region = e->place.region};
	double weights = 0;

	e->candidates = calloc((size_t)e->table->backend_count + 1, sizeof *e->candidates);
	if (e->candidates == NULL)
		return -ENOMEM;
	e->candidate_count = e->table->backend_count;
	for (size_t i = 0; i < e->candidate_count; i++) {
		e->candidates[i].backend = &e->table->backends[i];
		e->candidates[i].terms = balancer_judge(e->table, &e->table->backends[i], &q);
	}
	qsort(e->candidates, e->candidate_count, sizeof *e->candidates, candidate_compare);
	while (e->best_count < e->candidate_count &&
	       equally_good(&e->candidates[0], &e->candidates[e->best_count]))
		weights += e->candidates[e->best_count++].backend->weight;
	for (size_t i = 0; i < e->best_count; i++)
		e->candidates[i].share = e->candidates[i].backend->weight / weights;
	return 0;
}

/* Fills e from a table. e->candidates is the caller's to free, also after an error. */
static int explain(const struct inputs *in, const struct table *table, struct service *service,
                   const struct ip *client, struct explanation *e)
{
	uint64_t seed = in->config.random_seed != 0 ? in->config.random_seed : clock_now_ns();
	struct rng rng = {.state = seed};
	struct choice choice;
	int r;

	*e = (struct explanation){
		.inputs = in, .table = table, .app = explained_app(in), .client = *client};
	e->place = policy_locate(table, in->geo, client);
	e->region_source = find_region_source(e);
	e->rule = access_find(table->access, service->app, client, e->place.country);
	r = judge_all(e);
	if (r != 0)
		return r;
	if (e->rule != NULL && !e->rule->allow) {
		e->error = -EACCES;
		return 0;
	}
	e->error = policy_choose(&(struct policy_query){.table = table,
	                                                .service = service,
	                                                .client = client,
	                                                .place = &e->place,
	                                                .now_ms = clock_now_ms(),
	                                                .rng = &rng},
	                         &choice);
	if (e->error == 0) {
		e->winner = choice.backend;
		live_release(table->live, choice.binding.slot);
	}
	return 0;
}

/* Shows what comes out for inputs that are complete. 0 or -errno. */
static int explain_inputs(const struct inputs *in, const struct arguments *a)
{
	const char *app = explained_app(in);
	struct live *live = live_new();
	struct service *service = service_new(&in->config.listen_addr, app != NULL ? app : "",
	                                      false, 0, NULL);
	struct table_options options = {
		.local_region = in->config.region, .services = &service, .service_count = 1};
	struct table *table = NULL;
	struct explanation e = {0};
	int r = live != NULL && service != NULL ? 0 : -ENOMEM;

	if (r == 0)
		r = table_new(&in->rows, &options, live, &table);
	if (r == 0)
		r = explain(in, table, service, &a->client, &e);
	if (r == 0 && a->json)
		r = explanation_print_json(&e);
	else if (r == 0)
		explanation_print(&e);
	if (r == 0 && fflush(stdout) != 0)
		r = -errno;
	free(e.candidates);
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

int explain_main(int argc, char **argv)
{
	struct arguments a;
	struct inputs in;
	int r = arguments_read(argc, argv, &a);

	if (r != 0) {
		fputs(usage, stderr);
		return EXIT_WRONG_ARGUMENTS;
	}
	if (a.help) {
		fputs(usage, stdout);
		return EXIT_SUCCESS;
	}
	special_init();
	inputs_init(&in);
	r = gather(&in);
	if (r == 0) {
		r = explain_inputs(&in, &a);
		if (r != 0)
			fprintf(stderr, "edgeproxy explain: %s\n", strerror(-r));
	}
	inputs_done(&in);
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
