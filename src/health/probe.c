/* What all probes have in common: connect, perhaps a PROXY header, a request, a reply that is read
 * by the reader of its kind until that has seen enough. A TCP check is over with the connect.
 *
 * The backend is not trusted: what is read is bounded by each reader, and how long by whoever calls
 * probe_expire(). A fault of this machine (no descriptors, no memory, no ports, no such script)
 * says nothing of the backend and is kept apart.
 *
 * A bare connect is closed with a reset, as HAProxy does it: that leaves no TIME_WAIT behind, of
 * which there would be many. Where bytes were sent, they are to arrive, so the end is an ordinary
 * one. */
#include "health/probe.h"

#include "net/socket.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* How long the end of a killed script is waited for when the probe is cancelled. */
#define CANCEL_WAIT_MS 200

/* ---- ends ---- */

static void release(struct probe *p)
{
	grpc_check_free(p->grpc);
	p->grpc = NULL;
	if (p->fd < 0)
		return;
	if (p->connected && !p->sent)
		socket_reset(p->fd);
	else
		close(p->fd);
	p->fd = -1;
}

static enum probe_verdict passed(struct probe *p)
{
	release(p);
	p->reason[0] = '\0';
	return PROBE_PASSED;
}

__attribute__((format(printf, 3, 4))) static enum probe_verdict
ended(struct probe *p, enum probe_verdict verdict, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(p->reason, sizeof(p->reason), format, args);
	va_end(args);
	release(p);
	return verdict;
}

/* Errors that say something of this machine and nothing of the backend. */
static bool is_ours(int err)
{
	return err == EMFILE || err == ENFILE || err == ENOMEM || err == ENOBUFS ||
	       err == EADDRNOTAVAIL || err == EAGAIN;
}

static enum probe_verdict connect_failed(struct probe *p, int err)
{
	switch (err) {
	case ECONNREFUSED:
		return ended(p, PROBE_FAILED, "connect refused");
	case ECONNRESET:
		return ended(p, PROBE_FAILED, "connect reset");
	case ETIMEDOUT:
		return ended(p, PROBE_FAILED, "connect timeout");
	case EHOSTUNREACH:
		return ended(p, PROBE_FAILED, "host unreachable");
	case ENETUNREACH:
		return ended(p, PROBE_FAILED, "network unreachable");
	default:
		return ended(p, is_ours(err) ? PROBE_NOT_RUN : PROBE_FAILED, "connect: %s",
		             strerror(err));
	}
}

/* ---- replies ---- */

static enum probe_verdict http_verdict(struct probe *p, enum http_verdict v)
{
	unsigned status = p->http.status;

	switch (v) {
	case HTTP_MORE:
		return PROBE_GOING;
	case HTTP_PASSED:
		return passed(p);
	case HTTP_STATUS:
		return ended(p, PROBE_FAILED, "status %u%s", status,
		             status >= 300 && status < 400 ? ", redirects are not followed" : "");
	case HTTP_NO_MATCH:
		return ended(p, PROBE_FAILED, "body mismatch");
	case HTTP_TOO_LONG:
		return ended(p, PROBE_FAILED, "reply too long");
	case HTTP_MALFORMED:
		return ended(p, PROBE_FAILED, "malformed reply");
	case HTTP_CUT:
		return ended(p, PROBE_FAILED, "connection closed before the reply was whole");
	}
	CHECK(!"a verdict of no kind");
	return PROBE_FAILED;
}

static enum probe_verdict grpc_verdict(struct probe *p, enum grpc_verdict v)
{
	if (v == GRPC_MORE)
		return PROBE_GOING;
	return v == GRPC_SERVING ? passed(p)
	                         : ended(p, PROBE_FAILED, "%s", grpc_check_reason(p->grpc));
}

static enum probe_verdict agent_ended(struct probe *p)
{
	if (agent_line_parse(p->line, p->line_len, &p->agent) != 0)
		return ended(p, PROBE_FAILED, "malformed reply");
	return passed(p);
}

/* Until the end of the first line. */
static enum probe_verdict read_agent(struct probe *p, const char *data, size_t len)
{
	const char *end = memchr(data, '\n', len);
	size_t n = end != NULL ? (size_t)(end - data) : len;

	if (n > AGENT_LINE_MAX - p->line_len)
		return ended(p, PROBE_FAILED, "reply too long");
	memcpy(&p->line[p->line_len], data, n);
	p->line_len += n;
	return end != NULL ? agent_ended(p) : PROBE_GOING;
}

static enum probe_verdict read_reply(struct probe *p, const char *data, size_t len)
{
	switch (p->spec.kind) {
	case PROBE_HTTP:
		return http_verdict(p, http_reply_feed(&p->http, &p->spec.expect, data, len));
	case PROBE_GRPC:
		return grpc_verdict(p, grpc_check_recv(p->grpc, (const uint8_t *)data, len));
	case PROBE_AGENT:
		return read_agent(p, data, len);
	case PROBE_TCP:
	case PROBE_SCRIPT:
		break;
	}
	CHECK(!"a reply that nobody waits for");
	return PROBE_FAILED;
}

static enum probe_verdict read_end(struct probe *p)
{
	switch (p->spec.kind) {
	case PROBE_HTTP:
		return http_verdict(p, http_reply_end(&p->http));
	case PROBE_GRPC:
		return grpc_verdict(p, grpc_check_end(p->grpc));
	default:
		return agent_ended(p);
	}
}

/* Reads until there is nothing more for now. Every reader has a limit of bytes. */
static enum probe_verdict receive(struct probe *p, char *buffer)
{
	enum probe_verdict v = PROBE_GOING;

	while (v == PROBE_GOING) {
		ssize_t n = recv(p->fd, buffer, PROBE_BUFFER_BYTES, 0);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return errno == ECONNRESET
			               ? ended(p, PROBE_FAILED, "connection reset")
			               : ended(p, PROBE_FAILED, "receive: %s", strerror(errno));
		v = n == 0 ? read_end(p) : read_reply(p, buffer, (size_t)n);
	}
	return v;
}

/* ---- requests ---- */

/* The next bytes of a gRPC check, once those before are sent. */
static void refill(struct probe *p)
{
	if (p->grpc == NULL || p->out_sent < p->out_len)
		return;
	p->out_len = grpc_check_send(p->grpc, (uint8_t *)p->out, sizeof(p->out));
	p->out_sent = 0;
}

/* Sends what the socket takes. */
static enum probe_verdict transmit(struct probe *p)
{
	for (refill(p); p->out_sent < p->out_len; refill(p)) {
		ssize_t n = send(p->fd, p->out + p->out_sent, p->out_len - p->out_sent,
		                 MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			return PROBE_GOING;
		/* There may be a reply all the same, sent before the connection broke. */
		if (n < 0)
			break;
		p->out_sent += (size_t)n;
		p->sent = true;
	}
	return p->spec.kind == PROBE_TCP ? passed(p) : PROBE_GOING;
}

static const char *host_of(const struct check_spec *spec, char buf[ENDPOINT_TEXT_MAX])
{
	return spec->host != NULL && spec->host[0] != '\0' ? spec->host
	                                                   : endpoint_format(&spec->addr, buf);
}

/* 0 or -ENOMEM. */
static int prepare_request(struct probe *p)
{
	const struct check_spec *s = &p->spec;
	char addr[ENDPOINT_TEXT_MAX];
	const char *host = host_of(s, addr);

	if (s->send_proxy != 0)
		p->out_len = proxy_protocol_write_local(s->send_proxy, (uint8_t *)p->out);
	if (s->kind == PROBE_HTTP) {
		p->out_len += http_request_write(s->method, s->path, host, p->out + p->out_len);
		http_reply_begin(&p->http, &s->expect);
	}
	if (s->kind == PROBE_GRPC)
		return grpc_check_new(s->service, host, &p->grpc);
	return 0;
}

/* ---- scripts ---- */

static enum probe_verdict script_ended(struct probe *p)
{
	int status;

	if (!script_reap(&p->script, &status))
		return PROBE_GOING;
	if (p->script.killed)
		return ended(p, PROBE_FAILED, "script timeout");
	if (WIFSIGNALED(status))
		return ended(p, PROBE_FAILED, "script killed by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		return ended(p, PROBE_FAILED, "script exit status %d", WEXITSTATUS(status));
	return passed(p);
}

static enum probe_verdict start_script(struct probe *p, const struct script_about *about,
                                       const struct probe_context *context)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};
	int err = script_start(context->script_dir, p->spec.script, about, &p->script);

	if (err != 0)
		return ended(p, PROBE_NOT_RUN, "script %s: %s", p->spec.script, strerror(-err));
	if (epoll_ctl(context->epoll_fd, EPOLL_CTL_ADD, p->script.fd, &event) != 0) {
		err = errno;
		probe_cancel(p);
		return ended(p, PROBE_NOT_RUN, "script %s: %s", p->spec.script, strerror(err));
	}
	return PROBE_GOING;
}

/* ---- the whole ---- */

enum probe_verdict probe_start(struct probe *p, const struct check_spec *spec,
                               const struct script_about *about,
                               const struct probe_context *context)
{
	static const struct tcp_options options = {.keepalive_secs = 0};
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.ptr = p,
	};
	int err;

	p->spec = *spec;
	p->fd = -1;
	p->script.fd = -1;
	p->connected = false;
	p->sent = false;
	p->grpc = NULL;
	p->line_len = p->out_len = p->out_sent = 0;
	if (spec->kind == PROBE_SCRIPT)
		return start_script(p, about, context);
	err = prepare_request(p);
	if (err != 0)
		return ended(p, PROBE_NOT_RUN, "%s", strerror(-err));
	p->fd = socket_connect(&spec->addr, &options, NULL);
	if (p->fd < 0)
		return connect_failed(p, -p->fd);
	socket_nodelay(p->fd);
	if (epoll_ctl(context->epoll_fd, EPOLL_CTL_ADD, p->fd, &event) != 0)
		return ended(p, PROBE_NOT_RUN, "%s", strerror(errno));
	return PROBE_GOING;
}

enum probe_verdict probe_event(struct probe *p, uint32_t events,
                               const struct probe_context *context)
{
	enum probe_verdict v;

	if (p->spec.kind == PROBE_SCRIPT)
		return script_ended(p);
	if (!p->connected) {
		int err = (events & (EPOLLERR | EPOLLHUP)) != 0 ? socket_error(p->fd) : 0;

		if (err != 0)
			return connect_failed(p, err);
		if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0)
			return PROBE_GOING;
		p->connected = true;
	}
	v = transmit(p);
	if (v == PROBE_GOING)
		v = receive(p, context->buffer);
	/* A reply may ask for an answer: a gRPC server's SETTINGS, PING. */
	if (v == PROBE_GOING)
		v = transmit(p);
	if (v == PROBE_GOING && p->grpc != NULL && p->out_sent == p->out_len)
		v = grpc_verdict(p, grpc_check_sent(p->grpc));
	return v;
}

enum probe_verdict probe_expire(struct probe *p)
{
	if (p->spec.kind == PROBE_SCRIPT) {
		script_kill(&p->script);
		return PROBE_GOING;
	}
	return ended(p, PROBE_FAILED, "%s timeout", p->connected ? "reply" : "connect");
}

void probe_cancel(struct probe *p)
{
	static const struct timespec pause = {.tv_nsec = 1000000};
	int status;

	if (p->spec.kind == PROBE_SCRIPT && p->script.fd >= 0) {
		script_kill(&p->script);
		for (int i = 0; i < CANCEL_WAIT_MS && !script_reap(&p->script, &status); i++)
			nanosleep(&pause, NULL);
		/* One that cannot even be killed is left to be reaped when this process ends. */
		if (p->script.fd >= 0)
			close(p->script.fd);
		p->script.fd = -1;
	}
	release(p);
}
