/* A service: what one listener serves and how. Immutable and reference-counted; a session keeps a
 * reference, so its log line can name a service that has since gone. */
#ifndef ROUTE_SERVICE_H
#define ROUTE_SERVICE_H

#include "base/check.h"
#include "net/socket.h"
#include "route/limits.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct service {
	atomic_uint refs;
	uint32_t key; /* of its listen address: names it in the affinity table, here and after an
	                 upgrade */
	char name[ENDPOINT_TEXT_MAX + APP_NAME_MAX + 2]; /* "app@address" or "address" */
	struct endpoint listen;                          /* as configured */
	char app[APP_NAME_MAX + 1];                      /* "": every app */
	bool accept_proxy;
	uint8_t send_proxy;           /* 0, or the version to write */
	struct listen_socket *socket; /* a reference; NULL where nothing listens (explain, check) */
};

/* Takes over the caller's reference to socket (NULL allowed), even where it fails. NULL: out of
 * memory. */
struct service *service_new(const struct endpoint *listen, const char *app, bool accept_proxy,
                            uint8_t send_proxy, struct listen_socket *socket);
struct service *service_ref(struct service *s);
void service_unref(struct service *s); /* NULL-safe; any thread */

#endif
