/* A door: one place where the API's thread listens, and the HTTP server behind it. A row of
 * doors.def each. The API thread, and before it runs whoever starts it. */
#ifndef HTTP_DOOR_H
#define HTTP_DOOR_H

#include "base/check.h"
#include "config/config.h"
#include "http/door_kind.h"
#include "http/listen.h"

#include <stdbool.h>
#include <stdint.h>

struct server;
struct site;

/* The value of EDGEPROXY_CONTROL_SOCKET for CONTROL_SOCKET_PATH where that can be made, and for no
 * socket. */
#define CONTROL_SOCKET_AUTO "auto"
#define CONTROL_SOCKET_OFF "off"
#define CONTROL_SOCKET_PATH "/run/edgeproxy/control.sock"

/* An address that is taken is tried again after so long, then ever less often. */
#define DOOR_RETRY_MS 100
#define DOOR_RETRY_MAX_MS 5000
/* And is logged after so long; another error is at once. */
#define DOOR_QUIET_MS 5000

struct door {
	enum door_kind kind;
	bool wanted;
	bool optional; /* that it cannot be opened stops no start */
	bool complained;
	const char *where; /* as configured; the configuration's */
	struct http_listen listen;
	struct server *server; /* NULL: does not listen yet */
	int fd;
	uint64_t since_ms; /* it is to be open */
	uint64_t retry_ms;
	uint64_t retry_at_ms;
};

/* "api", "metrics", "control". */
const char *door_word(enum door_kind kind);
/* The environment variable that says where it is. */
const char *door_option(enum door_kind kind);

/* What the configuration says of it; opens nothing. 0; -EINVAL: d->where is no address. */
MUST_CHECK int door_read(const struct config *config, enum door_kind kind, struct door *ret_door);
/* Listens. 0 or -errno (-EADDRINUSE: somebody else does). */
MUST_CHECK int door_open(struct door *d, struct site *site);
/* Tries again where it is due, and says once when that takes long. */
void door_tick(struct door *d, struct site *site, uint64_t now_ms);
void door_close(struct door *d);

#endif
