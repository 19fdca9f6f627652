/* HTTP/1.1 as far as a check needs it (RFC 9112). The server is not trusted: it may send anything,
 * as slowly as it likes and for as long as it is let. So the reader takes a byte at a time, keeps
 * only the beginning of the present line, matches the body while it passes by, and stops at a
 * limit.
 *
 * It is strict where a guess would be needed (a length that is no number, two ways to end a body,
 * folded headers), and takes a bare LF as the end of a line, as RFC 9112 2.2 allows: small servers
 * send it. Redirects are replies like any other, never followed. When no text is wanted the verdict
 * falls behind the headers, and the body is not read at all. */
#include "health/http.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

size_t http_request_write(const char *method, const char *path, const char *host,
                          char buf[HTTP_REQUEST_MAX])
{
	/* Servers want a length where a body could be. */
	bool may_have_body = strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0;
	int n = snprintf(buf, HTTP_REQUEST_MAX,
	                 "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: edgeproxy-health\r\n"
	                 "Accept: */*\r\n%sConnection: close\r\n\r\n",
	                 method, path, host, may_have_body ? "Content-Length: 0\r\n" : "");

	CHECK(n > 0 && n < HTTP_REQUEST_MAX);
	return (size_t)n;
}

/* ---- the wanted text ---- */

static bool wants_body(const struct http_expect *expect)
{
	return expect->body != NULL && expect->body[0] != '\0';
}

/* back[i]: the longest proper beginning of the text that its first i + 1 bytes end with. */
static void prepare_match(struct http_reply *r, const char *text)
{
	size_t len = strlen(text);
	size_t k = 0;

	CHECK(len <= CHECK_BODY_MAX);
	r->back[0] = 0;
	for (size_t i = 1; i < len; i++) {
		while (k > 0 && text[k] != text[i])
			k = r->back[k - 1];
		k += text[k] == text[i];
		r->back[i] = (uint8_t)k;
	}
}

/* Has the text come by? */
static bool match(struct http_reply *r, const char *text, char byte)
{
	while (r->matched > 0 && text[r->matched] != byte)
		r->matched = r->back[r->matched - 1];
	r->matched += text[r->matched] == byte;
	return text[r->matched] == '\0';
}

void http_reply_begin(struct http_reply *r, const struct http_expect *expect)
{
	r->place = HTTP_AT_STATUS;
	r->status = 0;
	r->total = 0;
	r->headers = 0;
	r->chunked = false;
	r->has_length = false;
	r->left = 0;
	r->line_len = 0;
	r->matched = 0;
	if (wants_body(expect))
		prepare_match(r, expect->body);
}

/* ---- lines ---- */

/* "HTTP/1.1 200 OK"; the reason phrase may be missing. */
static enum http_verdict read_status(struct http_reply *r)
{
	const char *s = r->line;
	unsigned status = 0;

	if (strncmp(s, "HTTP/1.", 7) != 0 || s[7] < '0' || s[7] > '9' || s[8] != ' ')
		return HTTP_MALFORMED;
	for (int i = 9; i < 12; i++) {
		if (s[i] < '0' || s[i] > '9')
			return HTTP_MALFORMED;
		status = status * 10 + (unsigned)(s[i] - '0');
	}
	if ((s[12] != '\0' && s[12] != ' ') || status < 100 || status > 599)
		return HTTP_MALFORMED;
	if (status == 101)
		return HTTP_MALFORMED; /* nobody asked for another protocol */
	r->status = status;
	r->place = HTTP_AT_HEADERS;
	return HTTP_MORE;
}

/* The value of a header of that name, without the spaces around it; NULL: another header. */
static char *value_of(char *line, const char *name)
{
	size_t len = strlen(name);
	char *value;
	char *end;

	if (strncasecmp(line, name, len) != 0 || line[len] != ':')
		return NULL;
	value = line + len + 1;
	value += strspn(value, " \t");
	end = value + strlen(value);
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	return value;
}

/* Digits alone, in a base of 10 or 16. */
static bool read_number(const char *text, unsigned base, size_t most, uint64_t *ret)
{
	uint64_t number = 0;
	size_t n = 0;

	for (; n < most && text[n] != '\0'; n++) {
		char c = text[n];
		unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
		                 : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
		                 : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
		                                        : 99;

		if (digit >= base)
			return false;
		number = number * base + digit;
	}
	*ret = number;
	return n > 0 && text[n] == '\0';
}

static bool is_token(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~' ||
		    strchr("()<>@,;:\\\"/[]?={}", text[i]) != NULL)
			return false;
	return len > 0;
}

static enum http_verdict read_header(struct http_reply *r)
{
	size_t name_len = strcspn(r->line, ":");
	bool whole = r->line_len < HTTP_LINE_KEPT;
	uint64_t length;
	char *value;

	if (++r->headers > HTTP_HEADERS_MAX)
		return HTTP_TOO_LONG;
	if (r->line[name_len] != ':' || !is_token(r->line, name_len))
		return HTTP_MALFORMED;
	value = value_of(r->line, "Content-Length");
	if (value != NULL) {
		/* 18 digits cannot overflow. */
		if (!whole || !read_number(value, 10, 18, &length) ||
		    (r->has_length && length != r->left))
			return HTTP_MALFORMED;
		r->has_length = true;
		r->left = length;
	}
	value = value_of(r->line, "Transfer-Encoding");
	if (value != NULL) {
		if (!whole || r->chunked || strcasecmp(value, "chunked") != 0)
			return HTTP_MALFORMED;
		r->chunked = true;
	}
	return HTTP_MORE;
}

/* Behind the headers. */
static enum http_verdict headers_end(struct http_reply *r, const struct http_expect *expect)
{
	if (r->chunked && r->has_length)
		return HTTP_MALFORMED;
	if (r->status < 200) {
		r->place = HTTP_AT_STATUS; /* an interim reply: the real one follows */
		r->chunked = r->has_length = false;
		r->left = 0;
		return HTTP_MORE;
	}
	if (!status_set_has(expect->status, r->status))
		return HTTP_STATUS;
	if (!wants_body(expect))
		return HTTP_PASSED;
	if (expect->head || r->status == 204 || r->status == 304 || (r->has_length && r->left == 0))
		return HTTP_NO_MATCH;
	r->place = r->chunked      ? HTTP_AT_CHUNK_SIZE
	           : r->has_length ? HTTP_AT_BODY_LENGTH
	                           : HTTP_AT_BODY_END;
	return HTTP_MORE;
}

/* "1f" or "1f;extension". */
static enum http_verdict read_chunk_size(struct http_reply *r)
{
	r->line[strcspn(r->line, "; \t")] = '\0';
	if (!read_number(r->line, 16, 15, &r->left))
		return HTTP_MALFORMED;
	if (r->left == 0)
		return HTTP_NO_MATCH; /* trailers say nothing of the body */
	r->place = HTTP_AT_CHUNK;
	return HTTP_MORE;
}

/* A whole line, its end taken off. */
static enum http_verdict read_line(struct http_reply *r, const struct http_expect *expect)
{
	bool empty = r->line_len == 0;

	switch (r->place) {
	case HTTP_AT_STATUS:
		return read_status(r);
	case HTTP_AT_HEADERS:
		return empty ? headers_end(r, expect) : read_header(r);
	case HTTP_AT_CHUNK_SIZE:
		return read_chunk_size(r);
	case HTTP_AT_CHUNK_END:
		r->place = HTTP_AT_CHUNK_SIZE;
		return empty ? HTTP_MORE : HTTP_MALFORMED;
	default:
		CHECK(!"a line in a body");
		return HTTP_MALFORMED;
	}
}

/* ---- bytes ---- */

/* A byte of a line. A CR is kept until what follows shows that it was the end of the line. */
static enum http_verdict line_byte(struct http_reply *r, const struct http_expect *expect,
                                   char byte)
{
	enum http_verdict v;
	bool after_cr = r->line_len > 0 && r->line_len <= HTTP_LINE_KEPT - 1 &&
	                r->line[r->line_len - 1] == '\r';

	if (byte == '\0' || (after_cr && byte != '\n'))
		return HTTP_MALFORMED;
	if (byte != '\n') {
		if (r->line_len == HTTP_LINE_MAX)
			return HTTP_TOO_LONG;
		if (r->line_len < HTTP_LINE_KEPT - 1)
			r->line[r->line_len] = byte;
		r->line_len++;
		return HTTP_MORE;
	}
	if (after_cr)
		r->line_len--;
	r->line[r->line_len < HTTP_LINE_KEPT - 1 ? r->line_len : HTTP_LINE_KEPT - 1] = '\0';
	v = read_line(r, expect);
	r->line_len = 0;
	return v;
}

static enum http_verdict body_byte(struct http_reply *r, const struct http_expect *expect,
                                   char byte)
{
	if (match(r, expect->body, byte))
		return HTTP_PASSED;
	if (r->place == HTTP_AT_BODY_END || --r->left > 0)
		return HTTP_MORE;
	if (r->place == HTTP_AT_BODY_LENGTH)
		return HTTP_NO_MATCH;
	r->place = HTTP_AT_CHUNK_END;
	return HTTP_MORE;
}

enum http_verdict http_reply_feed(struct http_reply *r, const struct http_expect *expect,
                                  const char *data, size_t len)
{
	enum http_verdict v = HTTP_MORE;

	for (size_t i = 0; i < len && v == HTTP_MORE; i++) {
		if (r->total++ == HTTP_REPLY_MAX)
			return HTTP_TOO_LONG;
		if (r->place == HTTP_AT_BODY_LENGTH || r->place == HTTP_AT_BODY_END ||
		    r->place == HTTP_AT_CHUNK)
			v = body_byte(r, expect, data[i]);
		else
			v = line_byte(r, expect, data[i]);
	}
	return v;
}

enum http_verdict http_reply_end(const struct http_reply *r)
{
	return r->place == HTTP_AT_BODY_END ? HTTP_NO_MATCH : HTTP_CUT;
}
