/* One unary call over one HTTP/2 connection. Frames, HPACK and flow control are nghttp2's; here are
 * the headers that gRPC asks for (doc/PROTOCOL-HTTP2.md of grpc), the five bytes before a message,
 * and as much of protobuf as the two messages of health.proto need:
 *
 *     message HealthCheckRequest { string service = 1; }
 *     message HealthCheckResponse { ServingStatus status = 1; }   // SERVING = 1
 *
 * A service counts as serving when the status of HTTP is 200, that of gRPC is 0, and the message
 * says SERVING: all three, because a proxy or another server on that port gets some of them right.
 *
 * The server is not trusted: what it sends is counted and limited, and what it asks for (SETTINGS,
 * PING) is answered by nghttp2, which bounds what it queues. */
#include "health/grpc.h"

#include "route/limits.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GRPC_PREFIX_BYTES 5 /* not compressed, and the length, most significant first */
#define GRPC_REQUEST_MAX (GRPC_PREFIX_BYTES + 3 + CHECK_SERVICE_MAX)
#define SERVING 1

struct grpc_check {
	nghttp2_session *session;
	uint8_t request[GRPC_REQUEST_MAX];
	size_t request_len;
	size_t request_sent;
	const uint8_t *frame; /* nghttp2's, what is left of it to send */
	size_t frame_len;
	uint8_t message[GRPC_PREFIX_BYTES + GRPC_MESSAGE_MAX];
	size_t message_len;
	bool too_long;
	size_t total;    /* bytes that came */
	int http_status; /* -1: none yet */
	int grpc_status;
	bool closed; /* the stream, by whatever */
	uint32_t error_code;
	char reason[GRPC_REASON_MAX];
};

/* ---- messages ---- */

static void write_request(struct grpc_check *g, const char *service)
{
	size_t len = strlen(service);
	size_t n = GRPC_PREFIX_BYTES;

	CHECK(len <= CHECK_SERVICE_MAX);
	if (len > 0) {
		g->request[n++] = 1 << 3 | 2; /* field 1, length-delimited */
		if (len > 127) {
			g->request[n++] = (uint8_t)(len | 128);
			g->request[n++] = (uint8_t)(len >> 7);
		} else {
			g->request[n++] = (uint8_t)len;
		}
		memcpy(&g->request[n], service, len);
		n += len;
	}
	memset(g->request, 0, GRPC_PREFIX_BYTES);
	g->request[GRPC_PREFIX_BYTES - 1] = (uint8_t)(n - GRPC_PREFIX_BYTES);
	g->request_len = n;
}

_Static_assert(CHECK_SERVICE_MAX + 3 < 256, "the length of a request fits into its last byte");

static bool read_varint(const uint8_t **p, const uint8_t *end, uint64_t *ret)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && *p < end; shift += 7) {
		uint8_t byte = *(*p)++;

		value |= (uint64_t)(byte & 127) << shift;
		if (byte < 128) {
			*ret = value;
			return true;
		}
	}
	return false;
}

/* Passes over the value of a field. */
static bool skip_field(unsigned wire_type, const uint8_t **p, const uint8_t *end)
{
	uint64_t len = 0;

	switch (wire_type) {
	case 0:
		return read_varint(p, end, &len);
	case 1:
		len = 8;
		break;
	case 2:
		if (!read_varint(p, end, &len))
			return false;
		break;
	case 5:
		len = 4;
		break;
	default:
		return false;
	}
	if (len > (uint64_t)(end - *p))
		return false;
	*p += len;
	return true;
}

/* The status of a HealthCheckResponse; an absent one is 0, UNKNOWN. False: no such message. */
static bool read_response(const uint8_t *p, const uint8_t *end, uint64_t *ret_status)
{
	uint64_t status = 0;
	uint64_t key;

	while (p < end) {
		if (!read_varint(&p, end, &key))
			return false;
		if (key == (1 << 3 | 0)) {
			if (!read_varint(&p, end, &status))
				return false;
		} else if (key >> 3 == 0 || !skip_field(key & 7, &p, end)) {
			return false;
		}
	}
	*ret_status = status;
	return true;
}

static const char *serving_status_word(uint64_t status)
{
	static const char *const words[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};

	return status < sizeof(words) / sizeof(words[0]) ? words[status] : "of no known name";
}

/* ---- the verdict ---- */

__attribute__((format(printf, 2, 3))) static enum grpc_verdict failed(struct grpc_check *g,
                                                                      const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(g->reason, sizeof(g->reason), format, args);
	va_end(args);
	return GRPC_FAILED;
}

/* The message as gRPC frames it: one, whole, not compressed. */
static enum grpc_verdict judge_message(struct grpc_check *g)
{
	const uint8_t *m = g->message;
	uint64_t status;
	size_t len;

	if (g->too_long)
		return failed(g, "reply too long");
	if (g->message_len < GRPC_PREFIX_BYTES || m[0] != 0)
		return failed(g, "malformed reply");
	len = (size_t)m[1] << 24 | (size_t)m[2] << 16 | (size_t)m[3] << 8 | m[4];
	if (len != g->message_len - GRPC_PREFIX_BYTES ||
	    !read_response(m + GRPC_PREFIX_BYTES, m + g->message_len, &status))
		return failed(g, "malformed reply");
	if (status != SERVING)
		return failed(g, "serving status %s", serving_status_word(status));
	return GRPC_SERVING;
}

static enum grpc_verdict judge(struct grpc_check *g)
{
	if (g->http_status >= 0 && g->http_status != 200)
		return failed(g, "status %d", g->http_status);
	if (g->grpc_status > 0)
		return failed(g, "grpc status %d", g->grpc_status);
	if (g->http_status < 0 || g->grpc_status < 0) {
		if (g->error_code != NGHTTP2_NO_ERROR)
			return failed(g, "stream ended: %s", nghttp2_http2_strerror(g->error_code));
		return failed(g, "malformed reply");
	}
	return judge_message(g);
}

/* ---- what nghttp2 calls ---- */

/* Digits alone, at most three; -2: anything else. */
static int read_status(const uint8_t *value, size_t len)
{
	int status = 0;

	for (size_t i = 0; i < len && i < 4; i++) {
		if (value[i] < '0' || value[i] > '9')
			return -2;
		status = status * 10 + (value[i] - '0');
	}
	return len >= 1 && len <= 3 ? status : -2;
}

static bool is_name(const uint8_t *name, size_t len, const char *wanted)
{
	return len == strlen(wanted) && memcmp(name, wanted, len) == 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
	struct grpc_check *g = arg;

	(void)session;
	(void)flags;
	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	/* An interim status is followed by the real one. */
	if (is_name(name, name_len, ":status"))
		g->http_status = value_len == 3 && value[0] == '1' ? -1
		                                                   : read_status(value, value_len);
	else if (is_name(name, name_len, "grpc-status"))
		g->grpc_status = read_status(value, value_len);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
                   size_t len, void *arg)
{
	struct grpc_check *g = arg;

	(void)session;
	(void)flags;
	(void)stream;
	if (len > sizeof(g->message) - g->message_len) {
		g->too_long = true;
		return 0;
	}
	memcpy(&g->message[g->message_len], data, len);
	g->message_len += len;
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t error_code, void *arg)
{
	struct grpc_check *g = arg;

	(void)session;
	(void)stream;
	g->closed = true;
	g->error_code = error_code;
	return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *buf, size_t size,
                         uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct grpc_check *g = source->ptr;
	size_t n = g->request_len - g->request_sent;

	(void)session;
	(void)stream;
	(void)arg;
	if (n > size)
		n = size;
	memcpy(buf, &g->request[g->request_sent], n);
	g->request_sent += n;
	if (g->request_sent == g->request_len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

/* ---- the call ---- */

static nghttp2_nv header(const char *name, const char *value)
{
	return (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name,
		.namelen = strlen(name),
		.value = (uint8_t *)(uintptr_t)value,
		.valuelen = strlen(value),
	};
}

static int submit(struct grpc_check *g, const char *authority)
{
	const nghttp2_nv headers[] = {
		header(":method", "POST"),
		header(":scheme", "http"),
		header(":path", "/grpc.health.v1.Health/Check"),
		header(":authority", authority),
		header("content-type", "application/grpc"),
		header("te", "trailers"),
		header("user-agent", "edgeproxy-health"),
	};
	const nghttp2_data_provider body = {.source.ptr = g, .read_callback = read_body};
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 8192},
	};

	if (nghttp2_submit_settings(g->session, NGHTTP2_FLAG_NONE, settings,
	                            sizeof(settings) / sizeof(settings[0])) != 0 ||
	    nghttp2_submit_request(g->session, NULL, headers, sizeof(headers) / sizeof(headers[0]),
	                           &body, NULL) < 0)
		return -ENOMEM;
	return 0;
}

int grpc_check_new(const char *service, const char *authority, struct grpc_check **ret_check)
{
	struct grpc_check *g = calloc(1, sizeof(*g));
	nghttp2_session_callbacks *callbacks = NULL;
	int err = -ENOMEM;

	if (g == NULL)
		return -ENOMEM;
	g->http_status = -1;
	g->grpc_status = -1;
	write_request(g, service);
	if (nghttp2_session_callbacks_new(&callbacks) == 0) {
		nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
		nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
		nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
		if (nghttp2_session_client_new(&g->session, callbacks, g) == 0)
			err = submit(g, authority);
		nghttp2_session_callbacks_del(callbacks);
	}
	if (err != 0) {
		grpc_check_free(g);
		return err;
	}
	*ret_check = g;
	return 0;
}

void grpc_check_free(struct grpc_check *g)
{
	if (g == NULL)
		return;
	nghttp2_session_del(g->session);
	free(g);
}

size_t grpc_check_send(struct grpc_check *g, uint8_t *buf, size_t size)
{
	size_t filled = 0;

	while (filled < size) {
		size_t n;

		if (g->frame_len == 0) {
			ssize_t len = nghttp2_session_mem_send(g->session, &g->frame);

			if (len <= 0)
				break;
			g->frame_len = (size_t)len;
		}
		n = g->frame_len < size - filled ? g->frame_len : size - filled;
		memcpy(buf + filled, g->frame, n);
		filled += n;
		g->frame += n;
		g->frame_len -= n;
	}
	return filled;
}

enum grpc_verdict grpc_check_recv(struct grpc_check *g, const uint8_t *data, size_t len)
{
	ssize_t n;

	if (g->closed)
		return judge(g);
	g->total += len;
	if (g->total > GRPC_REPLY_MAX)
		return failed(g, "reply too long");
	n = nghttp2_session_mem_recv(g->session, data, len);
	if (n < 0)
		return failed(g, "HTTP/2: %s", nghttp2_strerror((int)n));
	return g->closed ? judge(g) : GRPC_MORE;
}

enum grpc_verdict grpc_check_sent(struct grpc_check *g)
{
	if (g->frame_len > 0 || nghttp2_session_want_read(g->session) != 0 ||
	    nghttp2_session_want_write(g->session) != 0)
		return GRPC_MORE;
	return failed(g, "HTTP/2 protocol error");
}

enum grpc_verdict grpc_check_end(struct grpc_check *g)
{
	return g->closed ? judge(g) : failed(g, "connection closed before the reply was whole");
}

const char *grpc_check_reason(const struct grpc_check *g)
{
	return g->reason;
}
