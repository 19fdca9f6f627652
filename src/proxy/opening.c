/* First bytes: a backend may accept a connection and reset it before it answers (a restarting
 * server, a port forwarder without a target). So that the client can still be served by another,
 * its first bytes are kept until the backend answers. Only what arrived in one piece is treated so;
 * anything more, or the end of the stream, commits the session to its backend. */
#include "proxy/opening.h"

#include "net/proxy_protocol.h"
#include "proxy/session.h"
#include "proxy/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* What its PROXY header says, else the address it connected to. Asked for only when a backend is to
 * be told. */
static struct endpoint destination(const struct session *s, const struct endpoint *dst)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct endpoint own;

	if (dst != NULL)
		return *dst;
	if (s->service->send_proxy != 0 &&
	    getsockname(s->end[CLIENT].fd, (struct sockaddr *)&sa, &len) == 0 &&
	    endpoint_from_sockaddr((struct sockaddr *)&sa, &own) == 0)
		return own;
	return s->service->listen;
}

void opening_init(struct opening *o, struct session *s, const struct endpoint *dst)
{
	*o = (struct opening){.session = s, .dst = destination(s, dst)};
}

void opening_done(struct opening *o)
{
	counter_add(&o->session->worker->counters.bytes[CLIENT], opening_sent(o));
	free(o->first);
	o->first = NULL;
}

void opening_rewind(struct opening *o)
{
	o->session->dir[CLIENT].bytes -= opening_sent(o);
	if (o->first != NULL)
		o->first->from = 0;
	o->header_sent = false;
}

static size_t write_header(const struct opening *o, uint8_t header[PROXY_HEADER_WRITE_MAX])
{
	const struct session *s = o->session;

	if (s->service->send_proxy == 0)
		return 0;
	return proxy_protocol_write(s->service->send_proxy, &s->client, &o->dst, header);
}

/* Takes the client's first bytes off its socket, unless they are here. 0; -EAGAIN: there are none;
 * -ENODATA: nor will there be; or another -errno: that of the client's socket is told once. */
static int take_first(struct opening *o, size_t most)
{
	struct end *client = &o->session->end[CLIENT];
	uint8_t *buffer = o->session->worker->relay.buffer;
	ssize_t n;

	if (o->first != NULL)
		return 0;
	n = recv(client->fd, buffer, most, 0);
	if (n <= 0)
		return n < 0 ? -errno : -ENODATA;
	client->readable = client->hangup || (size_t)n == most;
	o->first = relay_tail_new(buffer, (size_t)n);
	return o->first != NULL ? 0 : -ENOMEM;
}

/* Counts first bytes that the backend's socket has taken. */
static void note_sent(struct opening *o, size_t n)
{
	o->first->from += (uint32_t)n;
	o->session->dir[CLIENT].bytes += n;
}

int opening_pack(struct opening *o, struct first_bytes *ret_first)
{
	uint8_t *buffer = o->session->worker->relay.buffer;
	int err = take_first(o, OPENING_FASTOPEN_BYTES);
	size_t n;

	if (err != 0 && err != -EAGAIN && err != -EINTR && err != -ENODATA)
		return err;
	*ret_first = (struct first_bytes){.data = buffer, .len = write_header(o, buffer)};
	if (o->first == NULL)
		return 0;
	n = o->first->to < OPENING_FASTOPEN_BYTES ? o->first->to : OPENING_FASTOPEN_BYTES;
	memcpy(buffer + ret_first->len, o->first->bytes, n);
	ret_first->len += n;
	return 0;
}

int opening_note_packed(struct opening *o, size_t sent)
{
	uint8_t header[PROXY_HEADER_WRITE_MAX];
	size_t header_len = write_header(o, header);

	if (sent < header_len)
		return -EIO;
	o->header_sent = true;
	if (o->first != NULL)
		note_sent(o, sent - header_len);
	return 0;
}

int opening_send_header(struct opening *o)
{
	uint8_t header[PROXY_HEADER_WRITE_MAX];
	size_t len = write_header(o, header);
	ssize_t n;

	if (len == 0 || o->header_sent)
		return 0;
	n = send(o->session->end[BACKEND].fd, header, len, MSG_NOSIGNAL);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

/* Sends what of the first bytes the backend has not been sent. 0, or -errno of its socket. */
static int send_first(struct opening *o)
{
	struct tail *first = o->first;
	ssize_t n;

	if (first->from == first->to)
		return 0;
	n = send(o->session->end[BACKEND].fd, first->bytes + first->from, first->to - first->from,
	         MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	note_sent(o, (size_t)n);
	return 0;
}

enum opening_result opening_pass(struct opening *o, int *ret_err)
{
	struct session *s = o->session;
	struct end *client = &s->end[CLIENT];
	/* More may have come: this is an event, or another backend. */
	bool unsure = o->first != NULL;
	int err;

	if (s->worker->shared->config->retry_on == RETRY_EARLY_RESET) {
		err = take_first(o, RELAY_CHUNK_BYTES);
		switch (err) {
		case 0:
			break;
		case -EAGAIN:
			client->readable = false;
			return OPENING_KEPT;
		case -EINTR:
		case -ENODATA:
			return OPENING_FULL;
		case -ENOMEM:
			return OPENING_NO_MEMORY;
		default:
			*ret_err = err;
			return OPENING_CLIENT_FAILED;
		}
		err = send_first(o);
		if (err != 0) {
			*ret_err = err;
			return OPENING_BACKEND_FAILED;
		}
		if (o->first->from < o->first->to)
			return OPENING_FULL;
	} else {
		unsure = true; /* nothing is sent twice, so the first byte commits */
	}
	if (unsure)
		client->readable = client->hangup || socket_waiting(client->fd) != 0;
	/* A client that has ended its side will send no more, so nothing is gained by waiting. */
	return client->readable ? OPENING_FULL : OPENING_KEPT;
}

void opening_commit(struct opening *o)
{
	struct session *s = o->session;
	struct tail *first = o->first;

	if (first == NULL || first->from == first->to)
		return;
	CHECK(s->dir[CLIENT].tail == NULL); /* it has not begun */
	s->dir[CLIENT].tail = first;
	session_nodelay(s); /* the rest is a second piece */
	counter_add(&s->worker->counters.bytes[CLIENT], first->from);
	o->first = NULL;
}
