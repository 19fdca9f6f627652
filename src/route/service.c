/* A service is made when its listener is opened and lives until the last table, worker and session
 * that knows it lets go. Everything in it but the count of references is written here, once.
 *
 * The key is taken from the listen address in network byte order with a fixed seed: the same
 * address has the same key in every process, so affinity survives a reload and an upgrade. */
#include "route/service.h"

#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t listen_key(const struct endpoint *listen)
{
	uint8_t bytes[sizeof(listen->ip.b) + 2];

	memcpy(bytes, listen->ip.b, sizeof(listen->ip.b));
	bytes[sizeof(listen->ip.b)] = (uint8_t)(listen->port >> 8);
	bytes[sizeof(listen->ip.b) + 1] = (uint8_t)(listen->port & 0xff);
	return (uint32_t)hash_stable(bytes, sizeof(bytes), 0);
}

struct service *service_new(const struct endpoint *listen, const char *app, bool accept_proxy,
                            uint8_t send_proxy, struct listen_socket *socket)
{
	struct service *s = calloc(1, sizeof(*s));
	char address[ENDPOINT_TEXT_MAX];

	if (s == NULL) {
		listen_socket_unref(socket);
		return NULL;
	}
	if (app == NULL)
		app = "";
	CHECK(strlen(app) <= APP_NAME_MAX);
	CHECK(send_proxy <= 2);
	atomic_init(&s->refs, 1);
	s->key = listen_key(listen);
	endpoint_format(listen, address);
	snprintf(s->name, sizeof(s->name), "%s%s%s", app, app[0] != '\0' ? "@" : "", address);
	s->listen = *listen;
	memcpy(s->app, app, strlen(app) + 1);
	s->accept_proxy = accept_proxy;
	s->send_proxy = send_proxy;
	s->socket = socket;
	return s;
}

struct service *service_ref(struct service *s)
{
	unsigned refs = atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);

	CHECK(refs > 0);
	return s;
}

void service_unref(struct service *s)
{
	unsigned refs;

	if (s == NULL)
		return;
	refs = atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel);
	CHECK(refs > 0);
	if (refs > 1)
		return;
	listen_socket_unref(s->socket);
	free(s);
}
