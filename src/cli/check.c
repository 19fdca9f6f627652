/* `edgeproxy check`: what would go wrong, said before it does.
 *
 * Everything is read by the code that the proxy reads it with, so a database that passes here loads
 * there. It goes on after a problem, because an operator wants all of them in one run: when the
 * environment has wrong values, the rest is looked at as if those had not been set.
 *
 * It binds nothing: a proxy may be serving with this very environment. So it cannot say whether
 * somebody else has an address, or whether a backend can be reached. */
#include "cli/check.h"

#include "api/api.h"
#include "cli/check_places.h"
#include "cli/inputs.h"
#include "cli/output.h"
#include "geo/special.h"
#include "net/socket.h"
#include "route/region.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TEXT_MAX 1024
#define DATE_MAX 16

struct check {
	struct inputs in;
	unsigned problems;
	unsigned warnings;
	bool routes_read;
};

__attribute__((format(printf, 4, 5))) static void
finding(struct check *c, bool problem, const char *advice, const char *format, ...)
{
	char text[TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	printf("%s  ", problem ? "problem" : "warning");
	output_print(text); /* names may hold anything */
	printf("\n         > %s\n", advice);
	if (problem)
		c->problems++;
	else
		c->warnings++;
}

/* ---- environment ---- */

static void environment_finding(void *arg, bool fatal, const char *text)
{
	finding(arg, fatal,
	        fatal ? "correct the value, or unset the variable to get the default"
	              : "correct the name, or remove the variable: it has no effect",
	        "%s", text);
}

static void ignore(void *arg, bool fatal, const char *text)
{
	(void)arg;
	(void)fatal;
	(void)text;
}

/* The configuration without the variables that are wrong. */
static int read_what_is_right(struct config *ret_config)
{
	const struct config_report quiet = {.problem = ignore};
	size_t count = 0;
	size_t kept = 0;
	char **right;
	int r;

	while (environ[count] != NULL)
		count++;
	right = calloc(count + 1, sizeof *right);
	if (right == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		char *const alone[] = {environ[i], NULL};
		struct config c;

		if (config_read(alone, &quiet, &c) != 0)
			continue;
		config_done(&c);
		right[kept++] = environ[i];
	}
	r = config_read(right, &quiet, ret_config);
	free(right);
	return r;
}

static int check_environment(struct check *c)
{
	const struct config_report report = {.problem = environment_finding, .arg = c};
	region_id region;
	int r = config_read(environ, &report, &c->in.config);

	if (r == -EINVAL)
		r = read_what_is_right(&c->in.config);
	if (r == 0 && region_intern(c->in.config.region, &region) != 0)
		finding(c, true, "use letters, digits, \"-\" and \"_\", as in the region column",
		        "EDGEPROXY_REGION=%s: not the name of a region", c->in.config.region);
	return r;
}

/* ---- files ---- */

static void check_geo(struct check *c)
{
	char error[GEO_ERROR_MAX];

	if (inputs_open_geo(&c->in, error) != 0)
		finding(c, true,
		        "put a valid MMDB file there, or unset EDGEPROXY_GEOIP_PATH to use the one "
		        "inside "
		        "the binary",
		        "country database%s%s: %s", *c->in.config.geoip_path != '\0' ? " " : "",
		        c->in.config.geoip_path, error);
}

static void check_state_dir(struct check *c)
{
	const char *dir = c->in.config.state_dir;
	struct stat st;
	int err = 0;

	if (*dir == '\0')
		return;
	if (stat(dir, &st) != 0 || access(dir, R_OK | W_OK | X_OK) != 0)
		err = errno;
	else if (!S_ISDIR(st.st_mode))
		err = ENOTDIR;
	if (err != 0)
		finding(c, true, "make it a folder that the user of the proxy can write to",
		        "EDGEPROXY_STATE_DIR=%s: %s", dir, strerror(err));
}

static void check_api(struct check *c)
{
	char error[API_ERROR_MAX];

	if (!c->in.config.api_enabled)
		return;
	if (api_check(&c->in.config, error) != 0)
		finding(c, true, "see docs/api.md", "%s", error);
	if (access(c->in.config.db_path, W_OK) != 0)
		finding(c, true, "let the user of the proxy write the database, for registrations",
		        "EDGEPROXY_DB_PATH=%s: %s", c->in.config.db_path, strerror(errno));
}

static void check_script_dir(struct check *c)
{
	const char *dir = c->in.config.health_script_dir;
	struct stat st;

	if (*dir == '\0')
		return;
	if (stat(dir, &st) != 0)
		finding(c, true, "name a folder, or unset the variable: then no script is run",
		        "EDGEPROXY_HEALTH_SCRIPT_DIR=%s: %s", dir, strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		finding(c, true, "name a folder, or unset the variable: then no script is run",
		        "EDGEPROXY_HEALTH_SCRIPT_DIR=%s: %s", dir, strerror(ENOTDIR));
}

static void place_fault(void *arg, bool fatal, const char *advice, const char *text)
{
	finding(arg, fatal, advice, "%s", text);
}

static void check_congestion(struct check *c, const char *variable, const char *name)
{
	int err = *name != '\0' ? socket_congestion_usable(name) : 0;

	if (err != 0)
		finding(c, true, "choose one that net.ipv4.tcp_available_congestion_control lists",
		        "%s=%s: %s", variable, name, strerror(-err));
}

static const char *routes_advice(int r)
{
	switch (r) {
	case -ENOENT:
		return "set EDGEPROXY_DB_PATH to your database, or make one: edgeproxy db init "
		       "FILE";
	case -EACCES:
	case -EPERM:
		return "let the user of the proxy read the file and its folder";
	case -EBUSY:
		return "try again when the writer is done; readers must get their turn";
	default:
		return "ask SQLite what it thinks (sqlite3 FILE 'PRAGMA integrity_check'), and see "
		       "docs/routing.md for the tables and columns";
	}
}

static void check_routes(struct check *c)
{
	char error[STORE_ERROR_MAX];
	char line[QUARANTINED_TEXT_MAX];
	int r = inputs_read_routes(&c->in, error);

	if (r != 0) {
		finding(c, true, routes_advice(r), "routing database: %s", error);
		return;
	}
	c->routes_read = true;
	for (size_t i = 0; i < c->in.quarantined_count; i++)
		finding(c, true, "correct the row or remove it: until then it is not used", "%s",
		        quarantined_format(&c->in.quarantined[i], line));
}

/* ---- what the rows mean ---- */

/* Rows of another app than the configured one are not served here; those that name none are. */
static bool app_served(const struct check *c, const char *app)
{
	return *c->in.config.app == '\0' || app == NULL || strcmp(app, c->in.config.app) == 0;
}

/* Backends that take new clients of an app; NULL: of any that is served. */
static size_t usable_backends(const struct check *c, const char *app)
{
	size_t n = 0;

	for (size_t i = 0; i < c->in.rows.backend_count; i++) {
		const struct backend_row *b = &c->in.rows.backends[i];

		n += backend_row_usable(b) && app_served(c, b->app) &&
		     (app == NULL || strcmp(b->app, app) == 0);
	}
	return n;
}

static bool is_self(const struct endpoint *listen, const struct endpoint *backend)
{
	const struct special_range *special = special_find(&backend->ip);

	if (listen->port != backend->port || listen->port == 0)
		return false;
	return ip_equal(&listen->ip, &backend->ip) ||
	       (ip_is_unspecified(&listen->ip) && special != NULL &&
	        strncmp(special->name, "Loopback", strlen("Loopback")) == 0);
}

static void check_listener(struct check *c, const struct endpoint *listen, const char *app)
{
	char addr[ENDPOINT_TEXT_MAX];

	endpoint_format(listen, addr);
	if (app != NULL && usable_backends(c, app) == 0)
		finding(c, true,
		        "add a backend of that app, or one with healthy = 1, weight > 0, state "
		        "ready",
		        "listener %s: no backend takes clients of app %s", addr, app);
	for (size_t i = 0; i < c->in.rows.backend_count; i++) {
		if (is_self(listen, &c->in.rows.backends[i].addr))
			finding(c, false, "give the backend its own address and port",
			        "backend %s is at the address of listener %s: the proxy would "
			        "connect "
			        "to itself",
			        c->in.rows.backends[i].id, addr);
	}
}

static void check_listeners(struct check *c)
{
	const struct route_rows *rows = &c->in.rows;
	const char *app = *c->in.config.app != '\0' ? c->in.config.app : NULL;
	bool main_has_row = false;
	size_t listeners = 0;

	for (size_t i = 0; i < rows->service_count; i++) {
		if (!app_served(c, rows->services[i].app))
			continue;
		main_has_row |= endpoint_equal(&rows->services[i].listen,
		                               &c->in.config.listen_addr);
		check_listener(c, &rows->services[i].listen, rows->services[i].app);
		listeners++;
	}
	if (config_listens(&c->in.config) && !main_has_row) {
		check_listener(c, &c->in.config.listen_addr, app);
		listeners++;
	}
	if (listeners == 0)
		finding(c, true, "set EDGEPROXY_LISTEN_ADDR, or add a row to services",
		        "there is nothing to listen on");
}

static void check_backends(struct check *c)
{
	const struct route_rows *rows = &c->in.rows;
	bool own_region = false;

	for (size_t i = 0; i < rows->backend_count; i++) {
		const struct backend_row *b = &rows->backends[i];

		if (!backend_row_usable(b) || !app_served(c, b->app))
			continue;
		own_region |= strcmp(b->region, c->in.config.region) == 0;
		if (b->soft_limit > b->hard_limit)
			finding(c, false, "a soft limit is meant to be reached before the hard one",
			        "backends %s: soft_limit %u is above hard_limit %u", b->id,
			        b->soft_limit, b->hard_limit);
	}
	if (usable_backends(c, NULL) == 0)
		finding(c, true,
		        "a usable one has healthy = 1, deleted = 0, weight > 0 and state ready (or "
		        "none)",
		        "no backend takes clients%s%s", *c->in.config.app != '\0' ? " of app " : "",
		        c->in.config.app);
	else if (!own_region)
		finding(c, false, "compare EDGEPROXY_REGION with the region column",
		        "no usable backend is in this POP's region, %s: its clients go further "
		        "away",
		        c->in.config.region);
}

static int compare_id(const void *id, const void *row)
{
	return strcmp(id, ((const struct backend_row *)row)->id);
}

/* Is there a backend that the row is for? The store gives backends in the order of their ids. */
static bool has_backend(const struct route_rows *rows, const struct health_check_row *row)
{
	if (row->backend != NULL)
		return rows->backend_count > 0 &&
		       bsearch(row->backend, rows->backends, rows->backend_count,
		               sizeof(*rows->backends), compare_id) != NULL;
	for (size_t i = 0; row->app != NULL && i < rows->backend_count; i++)
		if (strcmp(rows->backends[i].app, row->app) == 0)
			return true;
	return row->app == NULL;
}

static void check_script(struct check *c, const char *target, const char *script)
{
	const char *dir = c->in.config.health_script_dir;
	char path[PATH_MAX];

	if (*dir == '\0') {
		finding(c, false,
		        "set EDGEPROXY_HEALTH_SCRIPT_DIR to the folder of the scripts; until then "
		        "the backends count as up",
		        "health_checks %s: script %s is not run", target, script);
		return;
	}
	snprintf(path, sizeof(path), "%s/%s", dir, script);
	if (access(path, X_OK) != 0)
		finding(c, true, "put it there and make it executable", "health_checks %s: %s: %s",
		        target, path, strerror(errno));
}

static void check_health_checks(struct check *c)
{
	const struct route_rows *rows = &c->in.rows;

	for (size_t i = 0; i < rows->check_count; i++) {
		const struct health_check_row *row = &rows->checks[i];
		char target[CHECK_TARGET_MAX + 1];

		health_check_target(row, target);
		if (!has_backend(rows, row))
			finding(c, false, "correct target, or remove the row: it has no effect",
			        "health_checks %s: there is no such backend", target);
		if (row->type == CHECK_SCRIPT)
			check_script(c, target, row->script);
	}
}

/* A rule for everybody leaves in only whom another rule allows. */
static void check_access(struct check *c)
{
	const struct route_rows *rows = &c->in.rows;
	bool anybody = false;

	for (size_t i = 0; i < rows->access_rule_count; i++)
		anybody |= rows->access_rules[i].allow;
	for (size_t i = 0; i < rows->access_rule_count && !anybody; i++) {
		const struct access_rule_row *rule = &rows->access_rules[i];

		if (rule->match == ACCESS_ALL)
			finding(c, false, "add rules with action allow, or remove this one",
			        "access_rules %s: it denies everybody, and no rule allows anybody",
			        rule->id);
	}
}

/* ---- the summary ---- */

static void summarize(const struct check *c)
{
	const struct inputs *in = &c->in;
	char addr[ENDPOINT_TEXT_MAX] = "nowhere but on the addresses of services";
	char date[DATE_MAX] = "?";
	time_t built;
	struct tm tm;

	if (config_listens(&in->config))
		endpoint_format(&in->config.listen_addr, addr);
	printf("%slistens    %s; rows in services: %zu\n",
	       c->problems + c->warnings > 0 ? "\n" : "", addr, in->rows.service_count);
	printf("POP        region %s, app ", in->config.region);
	output_print(*in->config.app != '\0' ? in->config.app : "any");
	putchar('\n');
	if (in->geo != NULL) {
		built = (time_t)geo_db_build_epoch(in->geo);
		if (gmtime_r(&built, &tm) != NULL)
			strftime(date, sizeof date, "%Y-%m-%d", &tm);
		printf("countries  %s, built %s, %s\n", geo_db_type(in->geo), date,
		       *in->config.geoip_path != '\0' ? in->config.geoip_path
		                                      : "the one inside the binary");
	}
	if (c->routes_read)
		printf("routes     %s: %zu backends, %zu take clients here, %zu rows quarantined\n",
		       in->config.db_path, in->rows.backend_count, usable_backends(c, NULL),
		       in->quarantined_count);
	printf("%s: %u problem%s, %u warning%s\n", c->problems == 0 ? "ok" : "not ok", c->problems,
	       c->problems == 1 ? "" : "s", c->warnings, c->warnings == 1 ? "" : "s");
}

int check_main(void)
{
	struct check c = {0};

	special_init();
	inputs_init(&c.in);
	if (check_environment(&c) == 0) {
		check_geo(&c);
		check_state_dir(&c);
		check_script_dir(&c);
		check_congestion(&c, "EDGEPROXY_TCP_CONGESTION", c.in.config.tcp_congestion);
		check_congestion(&c, "EDGEPROXY_BACKEND_TCP_CONGESTION",
		                 c.in.config.backend_tcp_congestion);
		check_api(&c);
		check_places(&c.in.config,
		             &(struct places_report){.fault = place_fault, .arg = &c});
		check_routes(&c);
		if (c.routes_read) {
			check_backends(&c);
			check_listeners(&c);
			check_health_checks(&c);
			check_access(&c);
		}
		summarize(&c);
	} else {
		finding(&c, true, "free some memory", "the configuration could not be read");
	}
	inputs_done(&c.in);
	return c.problems == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
