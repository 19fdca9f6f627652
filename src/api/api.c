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
#include "api/listen.h"
#include "api/server.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* How often the registry and the database are looked at, and a taken address is tried again. */
#define API_TICK_MS 100
/* A taken address is logged after so long. */
#define API_QUIET_MS 5000

struct api {
	struct core core;
	struct api_listen listen;
	struct server *server; /* NULL: does not listen yet */
	int listen_fd;
	int wake_fd;
	uint64_t seed;
	uint64_t tick_ms;
	uint64_t complain_ms; /* 0: has been done */
	pthread_t thread;
	atomic_bool stopping;

	pthread_mutex_t lock;
	struct table *news; /* under the lock; with a reference */
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

/* Reads what the options name. *ret_tokens NULL: there are none. */
static int read_options(const struct config *config, struct api_listen *ret_listen,
                        struct tokens **ret_tokens, bool *ret_exposed, char error[API_ERROR_MAX])
{
	char why[TOKEN_ERROR_MAX];
	int err;

	*ret_tokens = NULL;
	if (api_listen_parse(config->api_listen_addr, ret_listen) != 0)
		return refuse(error, -EINVAL,
		              "EDGEPROXY_API_LISTEN_ADDR=%.100s: allowed: ADDRESS:PORT, "
		              "[IPV6]:PORT, :PORT, unix:/PATH",
		              config->api_listen_addr);
	if (config->api_token_file[0] != '\0') {
		err = tokens_load(config->api_token_file, ret_tokens, ret_exposed, why);
		return err == 0 ? 0 : refuse(error, err, "EDGEPROXY_API_TOKEN_FILE: %s", why);
	}
	if (!api_listen_is_local(ret_listen))
		return refuse(error, -EINVAL,
		              "EDGEPROXY_API_LISTEN_ADDR=%.100s: without EDGEPROXY_API_TOKEN_FILE "
		              "the API listens on a loopback address or a Unix socket only",
		              config->api_listen_addr);
	return 0;
}

int api_check(const struct config *config, char error[API_ERROR_MAX])
{
	struct api_listen l;
	struct tokens *t;
	bool exposed;
	int err = read_options(config, &l, &t, &exposed, error);

	tokens_free(t);
	return err;
}

/* ---- the thread ---- */

static void log_listening(const struct api *a)
{
	char addr[ENDPOINT_TEXT_MAX];
	struct log_line l;

	log_begin(&l, LOG_INFO, "api_listening");
	if (a->listen.is_unix)
		log_fmt(&l, "addr", API_UNIX_PREFIX "%s", a->listen.local.sun_path);
	else
		log_str(&l, "addr", endpoint_format(&a->listen.addr, addr));
	log_uint(&l, "tokens", a->core.tokens != NULL ? a->core.tokens->count : 0);
	log_end(&l);
}

static int open_server(struct api *a)
{
	int err = api_listen_open(&a->listen, &a->listen_fd);

	if (err != 0)
		return err;
	err = server_new(&a->core, a->listen_fd, a->listen.is_unix, a->seed, &a->server);
	if (err == 0) {
		log_listening(a);
		return 0;
	}
	api_listen_close(&a->listen, a->listen_fd);
	a->listen_fd = -1;
	return err;
}

static void try_to_listen(struct api *a, uint64_t now_ms)
{
	int err = open_server(a);
	struct log_line l;

	if (err == 0 || a->complain_ms == 0 || now_ms < a->complain_ms)
		return;
	a->complain_ms = 0;
	log_begin(&l, LOG_ERROR, "api_not_listening");
	log_str(&l, "addr", a->core.config->api_listen_addr);
	log_errno(&l, err);
	log_end(&l);
}

static void reload_tokens(struct api *a)
{
	const struct config *config = a->core.config;
	char error[TOKEN_ERROR_MAX];
	struct tokens *t;
	struct log_line l;
	bool exposed = false;

	if (a->core.tokens == NULL)
		return;
	if (tokens_load(config->api_token_file, &t, &exposed, error) == 0) {
		tokens_free(a->core.tokens);
		a->core.tokens = t;
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
	uint64_t ignored;
	bool tokens, end;

	(void)!read(a->wake_fd, &ignored, sizeof(ignored));
	pthread_mutex_lock(&a->lock);
	news = a->news;
	tokens = a->reload_tokens;
	end = a->end;
	a->news = NULL;
	a->reload_tokens = false;
	pthread_mutex_unlock(&a->lock);
	if (news != NULL) {
		table_unref(a->core.table);
		a->core.table = news;
	}
	if (tokens)
		reload_tokens(a);
	return !end;
}

static void *api_run(void *arg)
{
	struct api *a = arg;
	uint64_t now_ms;

	pthread_setname_np(pthread_self(), "api");
	do {
		struct pollfd fds[] = {
			{.fd = a->wake_fd, .events = POLLIN},
			{.fd = a->server != NULL ? server_fd(a->server) : -1, .events = POLLIN},
		};
		int wait_ms = a->server != NULL ? server_wait_ms(a->server, API_TICK_MS)
		                                : API_TICK_MS;

		(void)poll(fds, 2, wait_ms);
		now_ms = clock_now_ms();
		if (a->server != NULL)
			server_run(a->server, now_ms);
		now_ms = clock_now_ms();
		if (now_ms >= a->tick_ms) {
			a->tick_ms = now_ms + API_TICK_MS;
			if (a->server == NULL)
				try_to_listen(a, now_ms);
			backends_tick(&a->core, now_ms);
		}
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
	server_free(a->server);
	if (a->listen_fd >= 0)
		api_listen_close(&a->listen, a->listen_fd);
	if (a->wake_fd >= 0)
		close(a->wake_fd);
	tokens_free(a->core.tokens);
	registry_free(a->core.registry);
	writer_free(a->core.writer);
	table_unref(a->core.table);
	table_unref(a->news);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

static int make_core(struct api *a, const struct config *config, struct table *table)
{
	struct core *c = &a->core;

	c->config = config;
	c->table = table_ref(table);
	c->started_ms = clock_now_ms();
	c->stopping = &a->stopping;
	c->registry = registry_new(config->heartbeat_ttl_secs * 1000,
	                           config->api_forget_secs * 1000);
	a->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (a->wake_fd < 0)
		return -errno;
	return c->registry == NULL ? -ENOMEM : writer_new(config->db_path, &c->writer);
}

int api_new(const struct api_options *options, struct table *table, struct api **ret_api,
            char error[API_ERROR_MAX])
{
	struct api *a = calloc(1, sizeof(*a));
	bool exposed = false;
	int err;

	if (a == NULL)
		return refuse(error, -ENOMEM, "out of memory");
	a->listen_fd = -1;
	a->wake_fd = -1;
	a->seed = options->seed;
	a->complain_ms = clock_now_ms() + API_QUIET_MS;
	pthread_mutex_init(&a->lock, NULL);
	err = read_options(options->config, &a->listen, &a->core.tokens, &exposed, error);
	if (err == 0 && a->core.tokens != NULL)
		log_tokens(options->config, a->core.tokens, exposed);
	if (err == 0) {
		err = make_core(a, options->config, table);
		if (err == 0 && !options->takeover)
			err = open_server(a);
		if (err == 0)
			err = -pthread_create(&a->thread, NULL, api_run, a);
		if (err != 0)
			refuse(error, err, "the API on %.100s: %s",
			       options->config->api_listen_addr, strerror(-err));
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
