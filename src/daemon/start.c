/* Putting the running proxy together: every part is made here, in the order in which one needs the
 * other, and told of the others by a few functions (publish_table() and its like). Nobody accepts a
 * client before all of it stands; what was made when a step fails, run.c releases.
 *
 * It trusts the configuration to have been checked, and the predecessor of an upgrade to keep
 * serving until it is told. */
#include "daemon/start.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/activation.h"
#include "control/notify.h"
#include "control/status.h"
#include "daemon/predecessor.h"
#include "geo/special.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

/* Descriptors that are not for sessions: files, listeners, epoll, clients of the metrics
 * and control doors, and a reserve. */
#define RESERVED_FDS 128
/* Pipes for splicing may use one descriptor in so many. */
#define PIPE_FD_SHARE 8
/* Health checks under way may use one in so many. */
#define HEALTH_FD_SHARE 16
/* And connections of the API. */
#define API_FD_SHARE 16

static void log_failure(const char *event, const char *error)
{
	struct log_line l;

	log_begin(&l, LOG_ERROR, event);
	log_str(&l, "error", error);
	log_end(&l);
}

static void log_errno_failure(const char *event, int err)
{
	struct log_line l;

	log_begin(&l, LOG_ERROR, event);
	log_errno(&l, err);
	log_end(&l);
}

/* The soft limit of open files is raised to the hard one; returns it. */
static uint64_t raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 1024;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	(void)getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur;
}

/* Fits pipes, health checks and, unless it was set, max-conn to the descriptors that there are: two
 * a session. */
static uint32_t fit_to_files(struct config *c)
{
	uint64_t files = raise_file_limit();
	uint64_t pipe_fds = files / PIPE_FD_SHARE;

	if (c->pipe_max * 2 > pipe_fds)
		c->pipe_max = pipe_fds / 2;
	if (c->health_concurrency > files / HEALTH_FD_SHARE)
		c->health_concurrency = files / HEALTH_FD_SHARE + 1;
	if (c->api_max_conn > files / API_FD_SHARE)
		c->api_max_conn = files / API_FD_SHARE + 1;

	uint64_t taken = RESERVED_FDS + c->pipe_max * 2 + c->health_concurrency +
	                 (c->api_enabled ? c->api_max_conn : 0);
	uint64_t sessions = files > taken + 2 ? (files - taken) / 2 : 1;

	if (c->max_conn == 0)
		return (uint32_t)(sessions < 10000000 ? sessions : 10000000);
	if (c->max_conn > sessions) {
		struct log_line l;

		log_begin(&l, LOG_WARN, "file_limit_low");
		log_uint(&l, "max_conn", c->max_conn);
		log_uint(&l, "open_files", files);
		log_str(&l, "advice",
		        "raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE=) to two for "
		        "each connection and some more");
		log_end(&l);
	}
	return (uint32_t)c->max_conn;
}

static unsigned worker_count(const struct config *c)
{
	cpu_set_t cpus;

	if (c->workers != 0)
		return (unsigned)c->workers;
	if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0)
		return 1;
	return (unsigned)CPU_COUNT(&cpus);
}

static uint64_t random_seed(void)
{
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = clock_now_ns();
	return seed;
}

static void publish_table(void *arg, struct table *t)
{
	struct runner *r = arg;

	fault_watch_table(r->faults, t, clock_now_ms());
	/* Before crew and checker exist they are given the table when they are made. */
	if (r->crew != NULL && crew_post_table(r->crew, t) != 0)
		log_errno_failure("table_not_posted", ENOMEM);
	if (r->checker != NULL && checker_post_table(r->checker, t) != 0)
		log_errno_failure("table_not_posted", ENOMEM);
	if (r->api != NULL)
		api_post_table(r->api, t);
}

static void publish_geo(void *arg, struct geo_db *db)
{
	struct runner *r = arg;

	if (r->crew != NULL && crew_post_geo(r->crew, db) != 0)
		log_errno_failure("geo_not_posted", ENOMEM);
	if (r->api != NULL)
		api_post_geo(r->api, db);
}

static int end_sessions(void *arg)
{
	struct runner *r = arg;

	return r->crew != NULL ? crew_sweep(r->crew) : 0;
}

/* 0 or -ENOMEM. */
static int make_client_limits(struct runner *r)
{
	const struct config *c = &r->config;

	if (c->client_max_conn == 0 && c->client_conn_rate == 0)
		return 0;
	r->client_limits = client_limits_new(&(struct client_limits_options){
		.max_entries = (uint32_t)c->client_table_max,
		.max_conn = (uint32_t)c->client_max_conn,
		.rate = (uint32_t)c->client_conn_rate,
		.burst = (uint32_t)c->client_conn_burst,
		.period_ns = c->client_conn_period_secs * 1000000000,
		.v4_bits = (unsigned)c->client_prefix_v4,
		.v6_bits = (unsigned)c->client_prefix_v6,
		.seed = random_seed(),
	});
	return r->client_limits != NULL ? 0 : -ENOMEM;
}

static int make_state(struct runner *r)
{
	const struct config *c = &r->config;

	int err = predecessor_take_counts(r);

	if (err != 0)
		return err;
	r->affinity = affinity_new(&(struct affinity_options){
		.max_entries = c->binding_max,
		.ttl_ms = c->binding_ttl_secs * 1000,
		.v4_bits = (unsigned)c->binding_prefix_v4,
		.v6_bits = (unsigned)c->binding_prefix_v6,
		.seed = random_seed(),
	});
	r->queue = queue_new((uint32_t)c->queue_max, (unsigned)c->workers);
	if (r->affinity == NULL || r->queue == NULL || make_client_limits(r) != 0)
		return -ENOMEM;
	return 0;
}

static int make_state_file(struct runner *r)
{
	const struct config *c = &r->config;

	return state_file_new(
		&(struct state_file_options){
			.state_dir = c->state_dir,
			.save_every_ms = c->state_save_secs * 1000,
			.live = r->live,
			.affinity = r->affinity,
			.ttl_ms = c->binding_ttl_secs * 1000,
			.faults = r->faults,
		},
		&r->state_file);
}

static int start_control(struct runner *r)
{
	char error[STORE_ERROR_MAX > GEO_ERROR_MAX ? STORE_ERROR_MAX : GEO_ERROR_MAX];
	const struct geo_watch_options geo = {
		.path = r->config.geoip_path, .publish = publish_geo, .arg = r};
	const struct reload_options reload = {
		.config = &r->config, .live = r->live, .publish = publish_table, .arg = r};
	const struct fault_watch_options faults = {
		.config = &r->config, .live = r->live, .end_sessions = end_sessions, .arg = r};
	int err = geo_watch_start(&geo, &r->geo, error);

	if (err == 0) {
		err = fault_watch_new(&faults, clock_now_ms(), &r->faults);
		if (err == 0)
			err = make_state_file(r);
		if (err == 0)
			err = reload_new(&reload, &r->reload);
		if (err != 0)
			strcpy(error, "out of memory");
	}
	if (err == 0) {
		(void)activation_offer(reload_listeners(r->reload));
		err = predecessor_take_sockets(r);
		if (err != 0)
			return err; /* said so */
		err = reload_start(r->reload, clock_now_ms(), error);
	}
	if (err != 0)
		log_failure("start_failed", error);
	return err;
}

/* A file that cannot be opened stops the start. */
static int open_access_log(struct runner *r)
{
	const struct log_target *target = &r->config.access_log;
	char text[LOG_TARGET_TEXT_MAX];
	struct log_line l;
	int err;

	if (target->kind == LOG_TARGET_STDERR || target->kind == LOG_TARGET_OFF)
		return 0;
	err = access_sink_new(target, &r->access_log);
	if (err == 0)
		return 0;
	log_begin(&l, LOG_ERROR, "start_failed");
	log_fmt(&l, "problem", "EDGEPROXY_ACCESS_LOG=%s", log_target_format(target, text));
	log_errno(&l, err);
	log_end(&l);
	return err;
}

static int start_crew(struct runner *r, uint32_t max_conn)
{
	const struct config *c = &r->config;
	const struct crew_options options = {
		.config = c,
		.live = r->live,
		.affinity = r->affinity,
		.client_limits = r->client_limits,
		.queue = r->queue,
		.access_log = r->access_log != NULL ? access_sink_writer(r->access_log) : NULL,
		.workers = (unsigned)c->workers,
		.max_conn = max_conn,
		.seed = c->random_seed != 0 ? c->random_seed : random_seed(),
		.paused = true,
	};
	int err = crew_new(&options, reload_table(r->reload), geo_watch_db(r->geo), &r->crew);

	if (err != 0)
		log_errno_failure("workers_not_started", err);
	return err;
}

static int make_checker(struct runner *r)
{
	const struct checker_options options = {
		.config = &r->config,
		.live = r->live,
		.concurrency = (uint32_t)r->config.health_concurrency,
		.seed = random_seed(),
	};
	int err = checker_new(&options, &r->checker);
	struct log_line l;

	if (err == 0)
		return 0;
	log_begin(&l, LOG_ERROR, "start_failed");
	log_str(&l, "problem", "health checks cannot be made");
	if (r->config.health_script_dir[0] != '\0')
		log_str(&l, "script_dir", r->config.health_script_dir);
	log_errno(&l, err);
	log_end(&l);
	return err;
}

/* With what was learnt: what was seen of backends goes on, and the first client finds it so. */
static int start_checker(struct runner *r)
{
	int err = checker_start(r->checker, reload_table(r->reload), r->takeover_pid != 0);

	fault_watch_tick(r->faults, clock_now_ms());
	if (err != 0)
		log_errno_failure("start_failed", err);
	return err;
}

/* An empty name is none. */
static int check_congestion(const char *variable, const char *name)
{
	struct log_line l;
	int err = name[0] != '\0' ? socket_congestion_usable(name) : 0;

	if (err == 0)
		return 0;
	log_begin(&l, LOG_ERROR, "start_failed");
	log_fmt(&l, "problem", "%s=%s", variable, name);
	log_errno(&l, err);
	log_str(&l, "advice", "allowed: what net.ipv4.tcp_available_congestion_control lists");
	log_end(&l);
	return err;
}

static void open_status(struct runner *r)
{
	char address[ENDPOINT_TEXT_MAX];
	int err;

	if (r->status_fd >= 0)
		return; /* the predecessor's */
	err = status_open(endpoint_format(&r->config.listen_addr, address), &r->status_fd);
	if (err != 0 && r->config.listen_addr.port != 0)
		log_errno_failure("status_not_open", err); /* only the health check needs it */
}

/* taken_over: the predecessor ends its API when it has been told that this process accepts. */
static int start_api(struct runner *r, uint32_t max_conn, bool taken_over)
{
	const struct api_options options = {
		.config = &r->config,
		.table = reload_table(r->reload),
		.geo = geo_watch_db(r->geo),
		.live = r->live,
		.affinity = r->affinity,
		.client_limits = r->client_limits,
		.queue = r->queue,
		.crew = r->crew,
		.reload = reload_counters(r->reload),
		.faults = fault_watch_counters(r->faults),
		.geo_watch = geo_watch_counters(r->geo),
		.max_conn = max_conn,
		.access_log = r->access_log,
		.seed = random_seed(),
		.takeover = taken_over,
	};
	char error[API_ERROR_MAX];
	int err;

	if (!api_wanted(&r->config))
		return 0;
	err = api_new(&options, &r->api, error);
	if (err != 0)
		log_failure(taken_over ? "api_not_started" : "start_failed", error);
	return err;
}

/* In an upgrade the API begins when there is no way back, since it writes. What can be wrong with
 * its options is found before that. */
static int check_api(struct runner *r)
{
	char error[API_ERROR_MAX];
	int err = api_check(&r->config, error);

	if (err != 0)
		log_failure("start_failed", error);
	return err;
}

int start_proxy(struct runner *r, uint64_t started_ns)
{
	bool takes_over = r->takeover_link >= 0;
	uint32_t max_conn = fit_to_files(&r->config);
	struct log_line l;
	int err;

	/* Queue and crew must agree, whatever becomes of the affinity meanwhile. */
	r->config.workers = worker_count(&r->config);
	special_init();
	err = check_congestion("EDGEPROXY_TCP_CONGESTION", r->config.tcp_congestion);
	if (err == 0)
		err = check_congestion("EDGEPROXY_BACKEND_TCP_CONGESTION",
		                       r->config.backend_tcp_congestion);
	if (err != 0)
		return err;
	err = open_access_log(r);
	if (err != 0)
		return err;
	err = make_state(r);
	if (err != 0) {
		log_errno_failure("start_failed", err);
		return err;
	}
	err = start_control(r);
	if (err == 0)
		err = make_checker(r);
	if (err == 0)
		err = start_crew(r, max_conn);
	if (err == 0)
		err = takes_over ? check_api(r) : start_api(r, max_conn, false);
	/* What was learnt comes before the first client does. */
	if (err == 0)
		err = predecessor_take_over(r);
	if (err == 0)
		err = start_checker(r);
	if (err != 0)
		return err;
	predecessor_done(r);
	if (takes_over)
		(void)start_api(r, max_conn, true); /* clients are served without it as well */
	open_status(r);

	log_begin(&l, LOG_INFO, "ready");
	log_str(&l, "version", EDGEPROXY_VERSION);
	log_str(&l, "pop_region", r->config.region);
	log_uint(&l, "workers", r->config.workers);
	log_uint(&l, "max_conn", max_conn);
	log_ms(&l, "startup_ms", clock_now_ns() - started_ns);
	log_end(&l);
	notify_send("READY=1\nSTATUS=serving");
	return 0;
}
