/* The API's thread: one loop that runs the HTTP server, the clock of the registry, and what the
 * control thread asks for through a few fields under a lock. Only this thread touches the registry
 * and the writer, so neither has a lock, and a database that is slow or gone makes requests of the
 * API wait, and nobody else.
 *
 * After an upgrade the predecessor may hold the address for another moment, so there the address is
 * tried until it is free. What it knew of heartbeats is not handed over: each registration has one
 * time to live to be heard of again. */
#include "api/api.h"

#include "api/core.h"
#include "api/metrics.h"
#include "api/routes.h"
#include "api/viewers.h"
#include "base/clock.h"
#include "base/log.h"
#include "http/door.h"
#include "http/server.h"
#include "http/site.h"
#include "http/tokens.h"
#include "registry/heartbeats.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* How often the registry, the database and the doors are looked at. */
#define API_TICK_MS 100

struct api {
	struct core core;
	struct site site;
	struct door doors[DOOR_COUNT];
	int wake_fd;
	uint64_t tick_ms;
	pthread_t thread;
	atomic_bool stopping;

	pthread_mutex_t lock;
	struct table *news; /* under the lock; with a reference */
	struct geo_db *geo_news;
	bool reload_tokens;
	bool end;
};

/* ---- options ---- */

__attribute__((format(printf, 3, 4))) static int refuse(char error[API_ERROR_MAX], int err,
                                                        const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, API_ERROR_MAX, format, args);
	va_end(args);
	return err;
}

static void log_tokens(const struct config *config, const struct tokens *t, bool exposed)
{
	struct log_line l;

	log_begin(&l, exposed ? LOG_WARN : LOG_INFO, "api_tokens_loaded");
	log_uint(&l, "tokens", t->count);
	if (exposed) {
		log_str(&l, "path", config->api_token_file);
		log_str(&l, "advice", "everybody on this machine may read the file: chmod 640");
	}
	log_end(&l);
}

static int read_doors(const struct config *config, struct door doors[DOOR_COUNT],
                      char error[API_ERROR_MAX])
{
	for (int i = 0; i < DOOR_COUNT; i++)
		if (door_read(config, (enum door_kind)i, &doors[i]) != 0)
			return refuse(error, -EINVAL, "%s=%.100s: allowed: %s", door_option(i),
			              doors[i].where,
			              i == DOOR_CONTROL
			                      ? "auto, off, /PATH of at most 107 bytes"
			                      : "ADDRESS:PORT, [IPV6]:PORT, :PORT, unix:/PATH");
	return 0;
}

/* Reads what the options name. *ret_tokens NULL: there are none. */
static int read_options(const struct config *config, struct door doors[DOOR_COUNT],
                        struct tokens **ret_tokens, bool *ret_exposed, char error[API_ERROR_MAX])
{
	char why[TOKEN_ERROR_MAX];
	int err = read_doors(config, doors, error);

	*ret_tokens = NULL;
	if (err != 0 || !config->api_enabled)
		return err;
	if (config->api_token_file[0] != '\0') {
		err = tokens_load(config->api_token_file, ret_tokens, ret_exposed, why);
		return err == 0 ? 0 : refuse(error, err, "EDGEPROXY_API_TOKEN_FILE: %s", why);
	}
	if (!http_listen_is_local(&doors[DOOR_API].listen))
		return refuse(error, -EINVAL,
		              "EDGEPROXY_API_LISTEN_ADDR=%.100s: without EDGEPROXY_API_TOKEN_FILE "
		              "the API listens on a loopback address or a Unix socket only",
		              config->api_listen_addr);
	return 0;
}

bool api_wanted(const struct config *config)
{
	struct door d;

	for (int i = 0; i < DOOR_COUNT; i++)
		if (door_read(config, (enum door_kind)i, &d) != 0 || d.wanted)
			return true;
	return false;
}

int api_check(const struct config *config, char error[API_ERROR_MAX])
{
	struct door doors[DOOR_COUNT];
	struct tokens *t;
	bool exposed;
	int err = read_options(config, doors, &t, &exposed, error);

	tokens_free(t);
	return err;
}

/* ---- the thread ---- */

static void reload_tokens(struct api *a)
{
	const struct config *config = a->core.config;
	char error[TOKEN_ERROR_MAX];
	struct tokens *t;
	struct log_line l;
	bool exposed = false;

	if (a->site.tokens == NULL)
		return;
	if (tokens_load(config->api_token_file, &t, &exposed, error) == 0) {
		tokens_free(a->site.tokens);
		a->site.tokens = t;
		log_tokens(config, t, exposed);
		return;
	}
	log_begin(&l, LOG_ERROR, "api_tokens_failed");
	log_str(&l, "error", error);
	log_str(&l, "advice", "the tokens read before go on counting");
	log_end(&l);
}

/* What the control thread has asked for. False: the end. */
static bool take_news(struct api *a)
{
	struct table *news;
	struct geo_db *geo;
	uint64_t ignored;
	bool tokens, end;

	(void)!read(a->wake_fd, &ignored, sizeof(ignored));
	pthread_mutex_lock(&a->lock);
	news = a->news;
	geo = a->geo_news;
	tokens = a->reload_tokens;
	end = a->end;
	a->news = NULL;
	a->geo_news = NULL;
	a->reload_tokens = false;
	pthread_mutex_unlock(&a->lock);
	if (news != NULL) {
		metrics_table_goes(&a->core);
		table_unref(a->core.table);
		a->core.table = news;
		a->core.registrar.table = news;
		a->core.table_ms = clock_now_ms();
	}
	if (geo != NULL) {
		geo_db_unref(a->core.geo);
		a->core.geo = geo;
	}
	if (tokens)
		reload_tokens(a);
	return !end;
}

/* Waits until a door or the control thread has something, or the next tick. */
static void wait_for_news(struct api *a)
{
	struct pollfd fds[DOOR_COUNT + 1] = {{.fd = a->wake_fd, .events = POLLIN}};
	uint64_t now_ms = clock_now_ms();
	int wait_ms = a->tick_ms > now_ms ? (int)(a->tick_ms - now_ms) : 0;

	for (int i = 0; i < DOOR_COUNT; i++) {
		struct server *s = a->doors[i].server;

		fds[i + 1] = (struct pollfd){.fd = s != NULL ? server_fd(s) : -1, .events = POLLIN};
		if (s != NULL)
			wait_ms = server_wait_ms(s, wait_ms);
	}
	(void)poll(fds, DOOR_COUNT + 1, wait_ms);
}

static void tick(struct api *a, uint64_t now_ms)
{
	a->tick_ms = now_ms + API_TICK_MS;
	for (int i = 0; i < DOOR_COUNT; i++)
		door_tick(&a->doors[i], &a->site, now_ms);
	recorder_tick(&a->core.recorder, a->core.table, now_ms);
	viewers_tick(a->core.viewers, &a->core, now_ms);
	if (a->core.config->api_enabled)
		heartbeats_tick(&a->core.registrar, now_ms);
}

static void *api_run(void *arg)
{
	struct api *a = arg;
	uint64_t now_ms;

	pthread_setname_np(pthread_self(), "api");
	do {
		wait_for_news(a);
		now_ms = clock_now_ms();
		for (int i = 0; i < DOOR_COUNT; i++)
			if (a->doors[i].server != NULL)
				server_run(a->doors[i].server, now_ms);
		now_ms = clock_now_ms();
		if (now_ms >= a->tick_ms)
			tick(a, now_ms);
	} while (take_news(a));
	return NULL;
}

/* ---- from the control thread ---- */

static void wake(struct api *a)
{
	uint64_t one = 1;

	(void)!write(a->wake_fd, &one, sizeof(one));
}

void api_post_table(struct api *a, struct table *table)
{
	struct table *old;

	pthread_mutex_lock(&a->lock);
	old = a->news;
	a->news = table_ref(table);
	pthread_mutex_unlock(&a->lock);
	table_unref(old);
	wake(a);
}

void api_post_geo(struct api *a, struct geo_db *geo)
{
	struct geo_db *old;

	pthread_mutex_lock(&a->lock);
	old = a->geo_news;
	a->geo_news = geo_db_ref(geo);
	pthread_mutex_unlock(&a->lock);
	geo_db_unref(old);
	wake(a);
}

void api_reload_tokens(struct api *a)
{
	pthread_mutex_lock(&a->lock);
	a->reload_tokens = true;
	pthread_mutex_unlock(&a->lock);
	wake(a);
}

void api_stopping(struct api *a)
{
	atomic_store_explicit(&a->stopping, true, memory_order_relaxed);
}

static void release(struct api *a)
{
	for (int i = 0; i < DOOR_COUNT; i++)
		door_close(&a->doors[i]);
	if (a->wake_fd >= 0)
		close(a->wake_fd);
	tokens_free(a->site.tokens);
	registrar_done(&a->core.registrar);
	recorder_done(&a->core.recorder);
	metrics_free(a->core.metrics);
	viewers_free(a->core.viewers);
	table_unref(a->core.table);
	table_unref(a->news);
	geo_db_unref(a->core.geo);
	geo_db_unref(a->geo_news);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

static int make_core(struct api *a, const struct api_options *options)
{
	const struct config *config = options->config;
	struct core *c = &a->core;

	c->config = config;
	c->table = table_ref(options->table);
	c->geo = options->geo != NULL ? geo_db_ref(options->geo) : NULL;
	c->live = options->live;
	c->affinity = options->affinity;
	c->client_limits = options->client_limits;
	c->queue = options->queue;
	c->crew = options->crew;
	c->reload = options->reload;
	c->faults = options->faults;
	c->geo_watch = options->geo_watch;
	c->max_conn = options->max_conn;
	c->access_log = options->access_log;
	c->started_ms = clock_now_ms();
	c->table_ms = c->started_ms;
	c->stopping = &a->stopping;
	c->metrics = metrics_new();
	c->viewers = viewers_new();
	a->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (a->wake_fd < 0)
		return -errno;
	c->wake_fd = a->wake_fd;
	c->registrar.table = c->table;
	c->has_tokens = a->site.tokens != NULL;
	if (c->metrics == NULL || c->viewers == NULL ||
	    recorder_init(&c->recorder, options->crew, options->seed) != 0)
		return -ENOMEM;
	return registrar_init(&c->registrar, config);
}

/* What cannot be opened stops the start, unless it is optional: then it is tried on. */
static int open_doors(struct api *a, char error[API_ERROR_MAX])
{
	char why[LISTEN_ERROR_MAX];

	for (int i = 0; i < DOOR_COUNT; i++) {
		struct door *d = &a->doors[i];
		int err = 0;

		if (d->optional)
			door_tick(d, &a->site, clock_now_ms());
		else if (d->wanted)
			err = door_open(d, &a->site);
		if (err == 0)
			continue;
		http_listen_explain(&d->listen, err, why);
		return refuse(error, err, "%s=%.128s: %s", door_option(d->kind), d->where, why);
	}
	return 0;
}

int api_new(const struct api_options *options, struct api **ret_api, char error[API_ERROR_MAX])
{
	struct api *a = calloc(1, sizeof(*a));
	bool exposed = false;
	int err;

	if (a == NULL)
		return refuse(error, -ENOMEM, "out of memory");
	for (int i = 0; i < DOOR_COUNT; i++)
		a->doors[i].fd = -1;
	a->wake_fd = -1;
	a->site = (struct site){
		.config = options->config,
		.routes = api_routes,
		.route_count = ROUTE_COUNT,
		.core = &a->core,
		.seed = options->seed,
	};
	pthread_mutex_init(&a->lock, NULL);
	err = read_options(options->config, a->doors, &a->site.tokens, &exposed, error);
	if (err == 0 && a->site.tokens != NULL)
		log_tokens(options->config, a->site.tokens, exposed);
	if (err == 0) {
		err = make_core(a, options);
		if (err != 0)
			refuse(error, err, "the API: %s", strerror(-err));
	}
	if (err == 0 && !options->takeover)
		err = open_doors(a, error);
	if (err == 0) {
		err = -pthread_create(&a->thread, NULL, api_run, a);
		if (err != 0)
			refuse(error, err, "the API's thread: %s", strerror(-err));
	}
	if (err != 0) {
		release(a);
		return err;
	}
	*ret_api = a;
	return 0;
}

void api_free(struct api *a)
{
	if (a == NULL)
		return;
	pthread_mutex_lock(&a->lock);
	a->end = true;
	pthread_mutex_unlock(&a->lock);
	wake(a);
	pthread_join(a->thread, NULL);
	release(a);
}
