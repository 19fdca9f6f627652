/* Which services a table has: EDGEPROXY_LISTEN_ADDR, and one for each row of the services table. A
 * row that names EDGEPROXY_LISTEN_ADDR is no second listener but gives that one its options.
 *
 * Sockets come from control/listeners.c, which keeps them open from table to table. An address that
 * cannot be had costs its own service and nothing else; it is logged when that is news, and whoever
 * owns the clock tries again. */
#include "control/services.h"

#include "base/hash.h"
#include "base/log.h"
#include "control/congestion.h"

#include <errno.h>
#include <string.h>

/* What could not be listened on still counts as said for so long. */
#define LISTEN_REPEAT_MS 60000

static struct listen_options listen_options_of(const struct config *c)
{
	return (struct listen_options){
		.backlog = (int)c->listen_backlog,
		.fastopen = (int)c->tcp_fastopen,
		.tcp = {.keepalive_secs = (uint32_t)c->tcp_keepalive_secs,
	                .user_timeout_ms = (uint32_t)c->tcp_user_timeout_ms,
	                .congestion = c->tcp_congestion},
	};
}

void services_init(struct services *s, const struct config *config)
{
	const struct listen_options options = listen_options_of(config);

	memset(s, 0, sizeof(*s));
	s->config = config;
	listeners_init(&s->listeners, &options);
}

void services_done(struct services *s)
{
	listeners_done(&s->listeners);
}

int services_open_own(struct services *s, char error[STORE_ERROR_MAX])
{
	const struct endpoint *own = &s->config->listen_addr;
	char text[ENDPOINT_TEXT_MAX];
	struct listen_socket *socket;
	int rc;

	if (!config_listens(s->config))
		return 0;
	rc = listeners_get(&s->listeners, own, &socket);
	if (rc == 0)
		listen_socket_unref(socket); /* the listeners keep it */
	if (rc == 0)
		return 0;
	return db_error(error, rc, "EDGEPROXY_LISTEN_ADDR=%s: %s%s", endpoint_format(own, text),
	                strerror(-rc),
	                rc == -EADDRINUSE ? "; another process, perhaps another edgeproxy, has it"
	                                  : "");
}

void service_set_done(struct service_set *set)
{
	for (uint32_t i = 0; i < set->count; i++)
		service_unref(set->all[i]);
	set->count = 0;
}

/* 0 or -errno. */
static int add_service(struct services *s, struct service_set *set, const struct service_row *row)
{
	const char *app = row->app != NULL ? row->app : s->config->app;
	struct listen_socket *socket;
	struct service *service;
	int rc;

	if (set->count == SERVICES_MAX)
		return -E2BIG;
	rc = listeners_get(&s->listeners, &row->listen, &socket);
	if (rc != 0 && rc != -ESHUTDOWN)
		return rc;
	if (rc == -ESHUTDOWN)
		socket = NULL; /* of another process: it serves nobody new here */
	else if (!s->listeners.closed)
		congestion_apply(socket, row->congestion, s->config->tcp_congestion);
	/* A port 0 becomes the one that the kernel chose. */
	service = service_new(row->listen.port != 0 || socket == NULL ? &row->listen
	                                                              : &socket->addr,
	                      app, row->accept_proxy, row->send_proxy, socket);
	if (service == NULL)
		return -ENOMEM;
	set->all[set->count++] = service;
	return 0;
}

/* EDGEPROXY_LISTEN_ADDR under its own name or, where its port is 0, under the one it got. */
static bool is_own_address(const struct services *s, const struct endpoint *listen)
{
	const struct endpoint *own = &s->config->listen_addr;

	if (!config_listens(s->config))
		return false;
	return endpoint_equal(listen, own) || listeners_same(&s->listeners, listen, own);
}

/* EDGEPROXY_LISTEN_ADDR, with the options of the row that names it, if there is one. */
static int open_own_service(struct services *s, const struct route_rows *rows,
                            struct service_set *set)
{
	struct service_row row = {
		.listen = s->config->listen_addr,
		.accept_proxy = true,
	};

	if (!config_listens(s->config))
		return 0;
	for (size_t i = 0; i < rows->service_count; i++) {
		if (is_own_address(s, &rows->services[i].listen)) {
			row = rows->services[i];
			row.listen = s->config->listen_addr;
		}
	}
	return add_service(s, set, &row);
}

/* What could not be listened on. */
struct listen_failures {
	struct {
		const struct endpoint *listen;
		int error;
	} all[SERVICES_MAX];
	size_t count;
	uint64_t digest;
};

static void add_listen_failure(struct listen_failures *f, const struct endpoint *listen, int error)
{
	CHECK(f->count < SERVICES_MAX);
	f->all[f->count].listen = listen;
	f->all[f->count++].error = error;
	f->digest = hash_bytes(listen->ip.b, sizeof(listen->ip.b), f->digest);
	f->digest = hash_mix(f->digest + listen->port + ((uint64_t)(unsigned)error << 32));
}

/* Says what fails when that is not what failed before, and now and then while it lasts. */
static void log_listen_failures(struct services *s, const struct listen_failures *f,
                                uint64_t now_ms)
{
	char text[ENDPOINT_TEXT_MAX];
	struct log_line l;

	if (f->digest == s->failure_digest && now_ms - s->logged_ms < LISTEN_REPEAT_MS)
		return;
	s->failure_digest = f->digest;
	s->logged_ms = now_ms;
	for (size_t i = 0; i < f->count; i++) {
		log_begin(&l, LOG_ERROR, "listen_failed");
		log_str(&l, "addr", endpoint_format(f->all[i].listen, text));
		log_errno(&l, f->all[i].error);
		log_end(&l);
	}
}

/* A row whose address cannot be had is logged and left out. 0 or -errno: the own service could not
 * be made. */
int services_open(struct services *s, const struct route_rows *rows, struct service_set *set,
                  uint64_t now_ms)
{
	struct listen_failures failures;
	int rc;

	failures.count = 0;
	failures.digest = 0;
	set->count = 0;
	rc = open_own_service(s, rows, set);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < rows->service_count; i++) {
		const struct service_row *row = &rows->services[i];

		if (is_own_address(s, &row->listen))
			continue;
		rc = add_service(s, set, row);
		if (rc != 0)
			add_listen_failure(&failures, &row->listen, rc);
	}
	s->failing = failures.count > 0;
	log_listen_failures(s, &failures, now_ms);
	return 0;
}
