/* A gRPC check against a server of nghttp2's making: what is sent, and what is taken for SERVING.
 * Broken servers are tests/functional/test_health.py's and the fuzzer's. */
#include "health/grpc.h"

#include "route/limits.h"

#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct server {
	nghttp2_session *session;
	char path[64];
	char authority[64];
	uint8_t request[512];
	size_t request_len;
	const uint8_t *message;
	size_t message_len;
	const char *grpc_status;
};

static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
	                    strlen(value), 0};
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
	struct server *s = arg;

	(void)session;
	(void)frame;
	(void)flags;
	if (name_len == 5 && memcmp(name, ":path", 5) == 0)
		memcpy(s->path, value, value_len + 1);
	if (name_len == 10 && memcmp(name, ":authority", 10) == 0)
		memcpy(s->authority, value, value_len + 1);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
                   size_t len, void *arg)
{
	struct server *s = arg;

	(void)session;
	(void)flags;
	(void)stream;
	memcpy(s->request + s->request_len, data, len);
	s->request_len += len;
	return 0;
}

static ssize_t read_message(nghttp2_session *session, int32_t stream, uint8_t *buf, size_t size,
                            uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct server *s = arg;
	nghttp2_nv trailer = nv("grpc-status", s->grpc_status);

	(void)size;
	(void)source;
	memcpy(buf, s->message, s->message_len);
	*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
	assert_int_equal(nghttp2_submit_trailer(session, stream, &trailer, 1), 0);
	return (ssize_t)s->message_len;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	const nghttp2_nv headers[] = {nv(":status", "200"), nv("content-type", "application/grpc")};
	const nghttp2_data_provider body = {.read_callback = read_message};

	(void)arg;
	if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
		assert_int_equal(nghttp2_submit_response(session, frame->hd.stream_id, headers, 2,
		                                         &body),
		                 0);
	return 0;
}

static void server_open(struct server *s)
{
	nghttp2_session_callbacks *callbacks;

	assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	assert_int_equal(nghttp2_session_server_new(&s->session, callbacks, s), 0);
	nghttp2_session_callbacks_del(callbacks);
	assert_int_equal(nghttp2_submit_settings(s->session, 0, NULL, 0), 0);
}

/* Talks until there is a verdict; each side gets step bytes at a time. */
static enum grpc_verdict talk(struct server *s, struct grpc_check *g, size_t step)
{
	enum grpc_verdict v = GRPC_MORE;

	for (int turn = 0; turn < 100 && v == GRPC_MORE; turn++) {
		const uint8_t *data;
		uint8_t buf[256];
		ssize_t n;

		while ((n = (ssize_t)grpc_check_send(g, buf, step)) > 0)
			assert_int_equal(nghttp2_session_mem_recv(s->session, buf, (size_t)n), n);
		while (v == GRPC_MORE && (n = nghttp2_session_mem_send(s->session, &data)) > 0)
			for (ssize_t at = 0; at < n && v == GRPC_MORE; at++)
				v = grpc_check_recv(g, data + at, 1);
	}
	return v;
}

static enum grpc_verdict ask(struct server *s, const char *service, const void *message, size_t len,
                             const char *grpc_status, char reason[GRPC_REASON_MAX], size_t step)
{
	struct grpc_check *g;
	enum grpc_verdict v;

	memset(s, 0, sizeof(*s));
	s->message = message;
	s->message_len = len;
	s->grpc_status = grpc_status;
	server_open(s);
	assert_int_equal(grpc_check_new(service, "10.0.0.1:50051", &g), 0);
	v = talk(s, g, step);
	strcpy(reason, grpc_check_reason(g));
	grpc_check_free(g);
	nghttp2_session_del(s->session);
	return v;
}

static const uint8_t serving[] = {0, 0, 0, 0, 2, 8, 1};

static void a_server_that_serves(void **state)
{
	static const uint8_t request[] = {0, 0, 0, 0, 3, 0x0a, 1, 'x'};
	char reason[GRPC_REASON_MAX];
	struct server s;

	(void)state;
	for (size_t step = 1; step <= 256; step *= 4) {
		assert_int_equal(ask(&s, "x", serving, sizeof(serving), "0", reason, step),
		                 GRPC_SERVING);
		assert_string_equal(s.path, "/grpc.health.v1.Health/Check");
		assert_string_equal(s.authority, "10.0.0.1:50051");
		assert_int_equal(s.request_len, sizeof(request));
		assert_memory_equal(s.request, request, sizeof(request));
	}
	assert_int_equal(ask(&s, "", serving, sizeof(serving), "0", reason, 256), GRPC_SERVING);
	assert_int_equal(s.request_len, 5);
}

static void the_longest_service(void **state)
{
	char service[CHECK_SERVICE_MAX + 1];
	char reason[GRPC_REASON_MAX];
	struct server s;

	(void)state;
	memset(service, 's', CHECK_SERVICE_MAX);
	service[CHECK_SERVICE_MAX] = '\0';
	assert_int_equal(ask(&s, service, serving, sizeof(serving), "0", reason, 256),
	                 GRPC_SERVING);
	/* The length as a varint of two bytes. */
	assert_int_equal(s.request_len, 5 + 3 + CHECK_SERVICE_MAX);
	assert_int_equal(s.request[4], 3 + CHECK_SERVICE_MAX);
	assert_int_equal(s.request[6], 0x80 | (CHECK_SERVICE_MAX & 127));
	assert_int_equal(s.request[7], CHECK_SERVICE_MAX >> 7);
}

static void fails(const void *message, size_t len, const char *grpc_status, const char *why)
{
	char reason[GRPC_REASON_MAX];
	struct server s;

	assert_int_equal(ask(&s, "", message, len, grpc_status, reason, 256), GRPC_FAILED);
	assert_string_equal(reason, why);
}

static void servers_that_do_not(void **state)
{
	(void)state;
	fails("\0\0\0\0\2\x08\2", 7, "0", "serving status NOT_SERVING");
	fails("\0\0\0\0\2\x08\7", 7, "0", "serving status of no known name");
	fails("\0\0\0\0\0", 5, "0", "serving status UNKNOWN");
	fails(serving, sizeof(serving), "5", "grpc status 5");
	fails(serving, sizeof(serving), "zero", "malformed reply");
	fails(serving, 4, "0", "malformed reply");
	fails(serving, 6, "0", "malformed reply");
	fails("\1\0\0\0\2\x08\1", 7, "0", "malformed reply");       /* compressed */
	fails("\0\0\0\0\2\x08\x81", 7, "0", "malformed reply");     /* a number without an end */
	fails("\0\0\0\0\4\x08\1\x12\5", 9, "0", "malformed reply"); /* a field beyond the end */
	fails("\0\0\0\0\2\x00\1", 7, "0", "malformed reply");       /* field 0 */
}

/* Fields of later versions are passed over. */
static void unknown_fields(void **state)
{
	static const char message[] = "\0\0\0\0\x19\x12\2ab\x18\x81\1\x21"
				      "12345678"
				      "\x2d"
				      "1234\x08\1\x12\0";
	char reason[GRPC_REASON_MAX];
	struct server s;

	(void)state;
	assert_int_equal(sizeof(message) - 1, 5 + 0x19);
	assert_int_equal(ask(&s, "", message, sizeof(message) - 1, "0", reason, 256), GRPC_SERVING);
}

static void a_connection_that_ends(void **state)
{
	struct grpc_check *g;

	(void)state;
	assert_int_equal(grpc_check_new("", "x", &g), 0);
	assert_int_equal(grpc_check_end(g), GRPC_FAILED);
	assert_string_equal(grpc_check_reason(g), "connection closed before the reply was whole");
	grpc_check_free(g);
	grpc_check_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_that_serves),   cmocka_unit_test(the_longest_service),
		cmocka_unit_test(servers_that_do_not),    cmocka_unit_test(unknown_fields),
		cmocka_unit_test(a_connection_that_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
