/* HTTP/1.1: connections and requests in, answers of the handlers out. Everything is
 * bounded: connections, the size of headers and bodies, the time of a request, and how many
 * requests one address may make. The API thread only. */
#ifndef HTTP_SERVER_H
#define HTTP_SERVER_H

#include "base/check.h"
#include "http/door_kind.h"
#include "http/site.h"

#include <stdint.h>

/* A connection must have sent a whole request, or taken a whole answer, so long after it came or
 * after its last one; of a stream each piece of an answer. It is ended otherwise. */
#define SERVER_REQUEST_MS 10000
/* Bytes of a request's line and headers, and of an answer's headers. */
#define SERVER_HEADERS_MAX 16384

struct server;

struct server_options {
	struct site *site; /* outlives the server */
	enum door_kind door;
	int listen_fd; /* stays the caller's */
	bool is_unix;
	bool is_local; /* only this machine can connect there */
	unsigned max_conn;
};

/* 0 or -errno. */
MUST_CHECK int server_new(const struct server_options *options, struct server **ret_server);
/* Ends every connection. NULL-safe. */
void server_free(struct server *s);
/* Readable when server_run() has something to do. */
int server_fd(const struct server *s);
/* How long it may be before server_run() has something to do, at most most_ms. */
int server_wait_ms(struct server *s, int most_ms);
void server_run(struct server *s, uint64_t now_ms);

#endif
