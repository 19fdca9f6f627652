/* The HTTP side: libmicrohttpd, run from the API's own loop. It reads request lines, headers and
 * bodies; gate.c decides which are let through, a handler answers them, and this file carries the
 * one to the other, there and back.
 *
 * libmicrohttpd's own timeout is for silence only, so a client that sends a byte now and then would
 * stay for ever: here each connection has a deadline for its request as a whole. An answer that has
 * no end (stream.h) has one for each piece of it.
 *
 * A client may end its side behind its request (shutdown(SHUT_WR)). It is answered all the same
 * where the answer comes at once, and by streams. Where it has to wait (pending.h) it may get
 * nothing: libmicrohttpd reads once more when the connection is resumed, before it asks for the
 * answer, and takes the client's end for that of the connection; nobody can tell it otherwise.
 * Where request and end come together it does not see the end at all: so that is looked for here
 * when the answer is out. */
#include "http/server.h"

#include "base/clock.h"
#include "base/list.h"
#include "http/gate.h"
#include "http/reply.h"
#include "http/request.h"
#include "http/stream.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A chunked body that is too long is read so far, for the sake of an answer. */
#define OVERLONG_MAX (8 * REQUEST_BODY_MAX)
#define SWEEP_MS 250

struct server {
	struct site *site;
	struct MHD_Daemon *daemon;
	struct gate gate;
	struct list connections;
	struct list waiting; /* exchanges whose answers are pending */
	int epoll_fd;
	uint64_t sweep_ms;
};

struct connection {
	struct list node;
	int fd;
	struct ip peer;
	bool counted;          /* by the gate */
	bool busy;             /* a request of it is under way */
	uint64_t since_ms;     /* it came, or its last request was over */
	struct stream *stream; /* that it is being sent; NULL: none */
};

struct exchange {
	struct list node; /* in the server's waiting */
	struct MHD_Connection *connection;
	uint64_t until_ms; /* it waits */
	struct request request;
	size_t received; /* bytes of the body, kept or not */
	char body[REQUEST_BODY_MAX];
};

/* ---- answers ---- */

static void add_header(struct MHD_Response *response, const char *name, const char *value)
{
	(void)MHD_add_response_header(response, name, value);
}

static struct connection *connection_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info != NULL ? info->socket_context : NULL;
}

/* NULL: out of memory; what r still holds is the caller's. */
static struct MHD_Response *make_response(struct MHD_Connection *connection, struct reply *r)
{
	struct connection *c = connection_of(connection);
	struct stream *stream = r->stream;
	struct MHD_Response *response;

	if (stream != NULL) {
		if (c == NULL)
			return NULL; /* it would have no deadline */
		r->stream = NULL;
		return stream_response(stream, connection, &c->stream);
	}
	if (r->text != NULL)
		response = MHD_create_response_from_buffer(r->len, r->text, MHD_RESPMEM_MUST_FREE);
	else
		response = MHD_create_response_from_buffer(r->len, (void *)(uintptr_t)r->fixed,
		                                           MHD_RESPMEM_PERSISTENT);
	if (response != NULL)
		r->text = NULL;
	return response;
}

/* Takes what r holds. */
static enum MHD_Result send_reply(struct MHD_Connection *connection, struct reply *r)
{
	struct MHD_Response *response = make_response(connection, r);
	enum MHD_Result queued;
	char secs[16];

	if (response == NULL) {
		reply_done(r);
		return MHD_NO;
	}
	if (r->content_type != NULL)
		add_header(response, "Content-Type", r->content_type);
	/* No cache may answer with an entity tag's old body: it has counts that go on. */
	add_header(response, "Cache-Control", "no-store");
	if (r->etag[0] != '\0')
		add_header(response, "ETag", r->etag);
	add_header(response, "X-Content-Type-Options", "nosniff");
	if (r->policy != NULL) {
		add_header(response, "Content-Security-Policy", r->policy);
		add_header(response, "Referrer-Policy", "no-referrer");
	}
	if (r->allow != NULL)
		add_header(response, "Allow", r->allow);
	if (r->status == 401)
		add_header(response, "WWW-Authenticate", "Bearer realm=\"edgeproxy\"");
	if (r->retry_after_secs != 0) {
		snprintf(secs, sizeof(secs), "%u", r->retry_after_secs);
		add_header(response, "Retry-After", secs);
	}
	queued = MHD_queue_response(connection, r->status, response);
	MHD_destroy_response(response);
	return queued;
}

/* ---- requests ---- */

static const char *header(struct MHD_Connection *connection, const char *name)
{
	return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

/* All clients of a Unix socket are one. */
static struct ip peer_of(const struct server *s, struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	struct endpoint peer = {0};

	if (s->gate.options.is_unix || info == NULL || info->client_addr == NULL ||
	    endpoint_from_sockaddr(info->client_addr, &peer) != 0)
		memset(&peer, 0, sizeof(peer));
	return peer.ip;
}

/* Everything that is known before the body. True: q is filled; false: r is. */
static bool let_in(struct server *s, struct MHD_Connection *connection, const char *method,
                   const char *path, struct request *q, struct reply *r)
{
	const struct request_head head = {
		.peer = peer_of(s, connection),
		.method = method,
		.path = path,
		.host = header(connection, "Host"),
		.origin = header(connection, "Origin"),
		.authorization = header(connection, "Authorization"),
		.content_length = header(connection, "Content-Length"),
		.content_type = header(connection, "Content-Type"),
	};

	return gate_let_in(&s->gate, &head, clock_now_ns(), q, r);
}

struct collecting {
	struct request *request;
	bool too_many;
};

static enum MHD_Result collect_parameter(void *arg, enum MHD_ValueKind kind, const char *key,
                                         const char *value)
{
	struct collecting *c = arg;

	(void)kind;
	if (c->request->query_count == REQUEST_QUERY_MAX) {
		c->too_many = true;
		return MHD_NO;
	}
	c->request->query[c->request->query_count++] = (struct query_parameter){
		.key = key, .value = value != NULL ? value : ""};
	return MHD_YES;
}

static void answer(struct server *s, struct MHD_Connection *connection, struct exchange *x,
                   struct reply *r)
{
	struct collecting collecting = {.request = &x->request};

	if (x->received > REQUEST_BODY_MAX) {
		reply_problem(r, 413, NULL, "a body may have at most %d bytes", REQUEST_BODY_MAX);
		return;
	}
	x->request.query_count = 0;
	(void)MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, collect_parameter,
	                                &collecting);
	if (collecting.too_many) {
		reply_problem(r, 400, NULL, "more than %d parameters", REQUEST_QUERY_MAX);
		return;
	}
	x->request.if_match = header(connection, "If-Match");
	x->request.if_none_match = header(connection, "If-None-Match");
	x->request.body = x->body;
	x->request.body_len = x->received;
	x->request.may_wait = s->site->pending_count < PENDING_MAX;
	x->request.match.route->handler(s->site->core, &x->request, r);
}

/* The connection rests until the answer is ready: release_ready(). */
static enum MHD_Result wait_for(struct server *s, struct MHD_Connection *connection,
                                struct exchange *x, struct reply *r)
{
	x->request.pending = r->pending;
	r->pending = NULL;
	x->connection = connection;
	x->until_ms = clock_now_ms() + PENDING_MS;
	list_push_back(&s->waiting, &x->node);
	s->site->pending_count++;
	MHD_suspend_connection(connection);
	return MHD_YES;
}

static void release(struct server *s, struct exchange *x)
{
	list_remove(&x->node);
	s->site->pending_count--;
	MHD_resume_connection(x->connection);
}

static void release_ready(struct server *s, uint64_t now_ms)
{
	for (struct list *l = s->waiting.next, *next; l != &s->waiting; l = next) {
		struct exchange *x = list_entry(l, struct exchange, node);

		next = l->next;
		if (x->request.pending->ready(x->request.pending) || now_ms >= x->until_ms)
			release(s, x);
	}
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_size, void **context)
{
	struct server *s = arg;
	struct connection *c = connection_of(connection);
	struct exchange *x = *context;
	struct reply r = {0};

	(void)version;
	if (x == NULL) {
		x = malloc(sizeof(*x));
		if (x == NULL)
			return MHD_NO;
		memset(&x->request, 0, sizeof(x->request));
		x->received = 0;
		list_init(&x->node);
		*context = x;
		if (c != NULL)
			c->busy = true;
		if (let_in(s, connection, method, url, &x->request, &r))
			return MHD_YES;
		return send_reply(connection, &r);
	}
	if (*data_size > 0) {
		if (x->received + *data_size <= sizeof(x->body))
			memcpy(x->body + x->received, data, *data_size);
		x->received += *data_size;
		*data_size = 0;
		return x->received <= OVERLONG_MAX ? MHD_YES : MHD_NO;
	}
	answer(s, connection, x, &r);
	if (r.pending != NULL)
		return wait_for(s, connection, x, &r);
	return send_reply(connection, &r);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
	struct connection *c = connection_of(connection);
	struct exchange *x = *context;

	(void)arg;
	(void)code;
	if (x != NULL && x->request.pending != NULL)
		x->request.pending->drop(x->request.pending);
	free(x);
	*context = NULL;
	if (c == NULL)
		return;
	c->busy = false;
	c->since_ms = clock_now_ms();
}

/* One address cannot have all the connections that there may be. One too many is ended before it
 * has said anything: libmicrohttpd sees the end of the stream. */
static void take_place(struct server *s, struct MHD_Connection *connection, struct connection *c)
{
	c->peer = peer_of(s, connection);
	if (!gate_enter(&s->gate, &c->peer, clock_now_ns(), &c->counted))
		(void)shutdown(c->fd, SHUT_RDWR);
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
	struct server *s = arg;
	struct connection *c = *context;

	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (c != NULL)
			list_remove(&c->node);
		if (c != NULL && c->counted)
			gate_leave(&s->gate, &c->peer);
		free(c);
		return;
	}
	c = malloc(sizeof(*c));
	if (c == NULL)
		return; /* it still has libmicrohttpd's own timeout */
	c->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	c->busy = false;
	c->since_ms = clock_now_ms();
	c->stream = NULL;
	list_push_back(&s->connections, &c->node);
	*context = c;
	take_place(s, connection, c);
}

/* Percent-encoding is undone where it is known what it stands for: in router.c. */
static size_t leave_encoded(void *arg, struct MHD_Connection *connection, char *text)
{
	(void)arg;
	(void)connection;
	return strlen(text);
}

/* ---- life ---- */

int server_new(const struct server_options *options, struct server **ret_server)
{
	const struct gate_options gate = {
		.site = options->site,
		.door = options->door,
		.is_unix = options->is_unix,
		.is_local = options->is_local,
	};
	struct server *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	s->site = options->site;
	list_init(&s->connections);
	list_init(&s->waiting);
	if (gate_init(&s->gate, &gate) != 0) {
		free(s);
		return -ENOMEM;
	}
	s->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, s,
		MHD_OPTION_LISTEN_SOCKET, options->listen_fd, MHD_OPTION_CONNECTION_LIMIT,
		options->max_conn, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned)(SERVER_REQUEST_MS / 1000), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)SERVER_HEADERS_MAX, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_UNESCAPE_CALLBACK,
		leave_encoded, NULL, MHD_OPTION_END);
	if (s->daemon == NULL) {
		gate_done(&s->gate);
		free(s);
		return -EIO;
	}
	s->epoll_fd = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	*ret_server = s;
	return 0;
}

void server_free(struct server *s)
{
	if (s == NULL)
		return;
	/* libmicrohttpd cannot be stopped while one sleeps. */
	for (struct list *l = s->connections.next; l != &s->connections; l = l->next) {
		struct stream *stream = list_entry(l, struct connection, node)->stream;

		if (stream != NULL)
			stream_wake(stream);
	}
	/* The socket is the caller's; without this libmicrohttpd would close it. */
	(void)MHD_quiesce_daemon(s->daemon);
	while (!list_empty(&s->waiting))
		release(s, list_entry(s->waiting.next, struct exchange, node));
	MHD_stop_daemon(s->daemon);
	gate_done(&s->gate);
	free(s);
}

int server_fd(const struct server *s)
{
	return s->epoll_fd;
}

int server_wait_ms(struct server *s, int most_ms)
{
	MHD_UNSIGNED_LONG_LONG wait_ms;

	for (struct list *l = s->waiting.next; l != &s->waiting; l = l->next)
		if (list_entry(l, struct exchange, node)->request.pending->busy)
			return 0;
	if (MHD_get_timeout(s->daemon, &wait_ms) == MHD_YES &&
	    wait_ms < (MHD_UNSIGNED_LONG_LONG)most_ms)
		return (int)wait_ms;
	return most_ms;
}

/* Since when does the server wait for the client? */
static uint64_t waiting_since_ms(const struct connection *c, uint64_t now_ms)
{
	if (c->stream == NULL)
		return c->since_ms;
	return c->stream->asleep ? now_ms : c->stream->moved_ms;
}

/* Has the client ended its side, with nothing left that it might ask? What libmicrohttpd has read
 * already it has handled long before SWEEP_MS are over. */
static bool is_done(const struct connection *c, uint64_t now_ms)
{
	char byte;

	return !c->busy && now_ms - c->since_ms >= SWEEP_MS &&
	       recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* libmicrohttpd sees the end of the stream, and lets go. */
static void sweep(struct server *s)
{
	/* Asked for anew: some have come since the turn began. */
	uint64_t now_ms = clock_now_ms();

	for (struct list *l = s->connections.next; l != &s->connections; l = l->next) {
		struct connection *c = list_entry(l, struct connection, node);

		if (now_ms - waiting_since_ms(c, now_ms) >= SERVER_REQUEST_MS || is_done(c, now_ms))
			(void)shutdown(c->fd, SHUT_RDWR);
	}
}

void server_run(struct server *s, uint64_t now_ms)
{
	release_ready(s, now_ms);
	(void)MHD_run(s->daemon);
	if (now_ms >= s->sweep_ms) {
		s->sweep_ms = now_ms + SWEEP_MS;
		sweep(s);
	}
}
