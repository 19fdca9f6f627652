/* Requests as they are sent; replies whole, and cut at every place. */
#include "health/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct status_set good = {.first = {200}, .last = {299}, .count = 1};

static void the_request(void **state)
{
	char buf[HTTP_REQUEST_MAX];
	size_t n = http_request_write("GET", "/up?x=1", "a.example:80", buf);

	(void)state;
	assert_int_equal(n, strlen(buf));
	assert_string_equal(buf, "GET /up?x=1 HTTP/1.1\r\nHost: a.example:80\r\n"
	                         "User-Agent: edgeproxy-health\r\nAccept: */*\r\n"
	                         "Connection: close\r\n\r\n");
	(void)http_request_write("POST", "/", "x", buf);
	assert_non_null(strstr(buf, "\r\nContent-Length: 0\r\n"));
}

static void the_longest_request_fits(void **state)
{
	char method[CHECK_METHOD_MAX + 1], path[CHECK_PATH_MAX + 1], host[CHECK_HOST_MAX + 1];
	char buf[HTTP_REQUEST_MAX];

	(void)state;
	memset(method, 'M', sizeof(method));
	memset(path, '/', sizeof(path));
	memset(host, 'h', sizeof(host));
	method[CHECK_METHOD_MAX] = path[CHECK_PATH_MAX] = host[CHECK_HOST_MAX] = '\0';
	assert_true(http_request_write(method, path, host, buf) > CHECK_PATH_MAX);
}

static enum http_verdict read_in_two(const char *text, size_t len, size_t cut, const char *body)
{
	const struct http_expect expect = {.status = &good, .body = body};
	enum http_verdict v;
	struct http_reply r;

	http_reply_begin(&r, &expect);
	v = http_reply_feed(&r, &expect, text, cut);
	if (v == HTTP_MORE)
		v = http_reply_feed(&r, &expect, text + cut, len - cut);
	return v == HTTP_MORE ? http_reply_end(&r) : v;
}

static void expect_bytes(const char *text, size_t len, const char *body, enum http_verdict wanted)
{
	for (size_t cut = 0; cut <= len; cut++) {
		enum http_verdict v = read_in_two(text, len, cut, body);

		if (v != wanted)
			fail_msg("%d, not %d, cut at %zu: %s", v, wanted, cut, text);
	}
}

static void expect_reply(const char *text, const char *body, enum http_verdict wanted)
{
	expect_bytes(text, strlen(text), body, wanted);
}

static void replies_that_pass(void **state)
{
	(void)state;
	expect_reply("HTTP/1.1 200 OK\r\n\r\n", NULL, HTTP_PASSED);
	expect_reply("HTTP/1.0 299\r\nA:b\r\n\r\n", "", HTTP_PASSED);
	expect_reply("HTTP/1.1 200 \n\n", NULL, HTTP_PASSED);
	expect_reply("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", HTTP_PASSED);
	expect_reply("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nxxaabaaab", "aaab",
	             HTTP_PASSED);
	expect_reply("HTTP/1.1 200 OK\r\n\r\nababac", "abac", HTTP_PASSED);
	expect_reply("HTTP/1.1 200 OK\r\nTransfer-Encoding:  CHUNKED \r\n\r\n"
	             "2\r\nab\r\n00A ;x=y\r\ncdefghijkl\r\n0\r\n\r\n",
	             "bcdefg", HTTP_PASSED);
	expect_reply("HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
	             NULL, HTTP_PASSED);
}

static void replies_that_say_something_else(void **state)
{
	(void)state;
	expect_reply("HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n", NULL, HTTP_STATUS);
	expect_reply("HTTP/1.1 500 No\r\n\r\nabc", "abc", HTTP_STATUS);
	expect_reply("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", "cd", HTTP_NO_MATCH);
	expect_reply("HTTP/1.1 200 OK\r\n\r\nabc", "x", HTTP_NO_MATCH);
	expect_reply("HTTP/1.1 204 OK\r\n\r\nabc", "abc", HTTP_NO_MATCH);
	expect_reply(
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nbc: d\r\n\r\n",
		"bc", HTTP_NO_MATCH);
	/* The framing is no part of the body. */
	expect_reply(
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n",
		"\r", HTTP_NO_MATCH);
}

static void replies_that_are_none(void **state)
{
	static const char *const bad[] = {
		"HTTP/2 200 OK\r\n\r\n",
		"http/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 20 OK\r\n\r\n",
		"HTTP/1.1 2000 OK\r\n\r\n",
		"HTTP/1.1 600 OK\r\n\r\n",
		"HTTP/1.1  200 OK\r\n\r\n",
		"HTTP/1.1 101 Switching\r\n\r\n",
		"HTTP/1.1 200 OK\r\r\n\r\n",
		"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\na b: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1111111111111111\r\n",
		"\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_reply(bad[i], "wanted", HTTP_MALFORMED);
	expect_bytes("HTTP/1.1 200 OK\r\na: \0\r\n\r\n", 25, NULL, HTTP_MALFORMED);
}

static void replies_that_end_early(void **state)
{
	static const char whole[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde";

	(void)state;
	for (size_t len = 0; len < sizeof(whole) - 1; len++)
		expect_bytes(whole, len, "de", HTTP_CUT);
	expect_reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", "x", HTTP_CUT);
}

/* head, then count times unit. */
static enum http_verdict read_long(const char *head, const char *unit, size_t count)
{
	const struct http_expect expect = {.status = &good, .body = "wanted"};
	enum http_verdict v;
	struct http_reply r;

	http_reply_begin(&r, &expect);
	v = http_reply_feed(&r, &expect, head, strlen(head));
	for (size_t i = 0; i < count && v == HTTP_MORE; i++)
		v = http_reply_feed(&r, &expect, unit, strlen(unit));
	assert_true(r.total <= HTTP_REPLY_MAX + 1);
	return v;
}

static void long_replies_are_not_read_to_the_end(void **state)
{
	(void)state;
	assert_int_equal(read_long("HTTP/1.1 200 OK\r\n\r\n", "abc", 1000000), HTTP_TOO_LONG);
	assert_int_equal(read_long("HTTP/1.1 200 OK\r\nA: ", "abc", 1000000), HTTP_TOO_LONG);
	assert_int_equal(read_long("HTTP/1.1 200 OK\r\n", "A: b\r\n", 1000000), HTTP_TOO_LONG);
	assert_int_equal(read_long("", "HTTP/1.1 100 Go on\r\n\r\n", 1000000), HTTP_TOO_LONG);
	assert_int_equal(read_long("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
	                           "1\r\na\r\n", 1000000),
	                 HTTP_TOO_LONG);
	/* A long line is only kept in part, yet read. */
	assert_int_equal(read_long("HTTP/1.1 200 OK\r\nA: ", "abcd", 1000), HTTP_MORE);
}

static void a_head_has_no_body(void **state)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
	struct http_expect expect = {.status = &good, .body = "x", .head = true};
	struct http_reply r;

	(void)state;
	http_reply_begin(&r, &expect);
	assert_int_equal(http_reply_feed(&r, &expect, text, sizeof(text) - 1), HTTP_NO_MATCH);
	expect.body = NULL;
	http_reply_begin(&r, &expect);
	assert_int_equal(http_reply_feed(&r, &expect, text, sizeof(text) - 1), HTTP_PASSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_request),
		cmocka_unit_test(the_longest_request_fits),
		cmocka_unit_test(replies_that_pass),
		cmocka_unit_test(replies_that_say_something_else),
		cmocka_unit_test(replies_that_are_none),
		cmocka_unit_test(replies_that_end_early),
		cmocka_unit_test(long_replies_are_not_read_to_the_end),
		cmocka_unit_test(a_head_has_no_body),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
