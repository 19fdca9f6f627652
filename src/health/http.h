/* An HTTP check: the request as bytes, and a reader of the reply. Without I/O, no allocation; the
 * owner thread only. */
#ifndef HEALTH_HTTP_H
#define HEALTH_HTTP_H

#include "net/status_set.h"
#include "route/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_REQUEST_MAX (CHECK_METHOD_MAX + CHECK_PATH_MAX + CHECK_HOST_MAX + 160)
/* More of a reply than this is not read. */
#define HTTP_REPLY_MAX 65536
#define HTTP_LINE_MAX 8192
#define HTTP_LINE_KEPT 512
/* Headers, with those of interim replies. */
#define HTTP_HEADERS_MAX 128

/* Writes the request and returns its length. All texts are of visible ASCII characters and within
 * the limits of route/limits.h. */
size_t http_request_write(const char *method, const char *path, const char *host,
                          char buf[HTTP_REQUEST_MAX]);

/* What a reply must be. Borrowed texts. */
struct http_expect {
	const struct status_set *status;
	const char *body; /* must be in it; NULL or "": whatever it says */
	bool head;        /* the request was HEAD: there is no body */
};

enum http_verdict {
	HTTP_MORE, /* correct so far */
	HTTP_PASSED,
	HTTP_STATUS,    /* the status is none of those expected: reply.status */
	HTTP_NO_MATCH,  /* the body is whole, and the text is not in it */
	HTTP_TOO_LONG,  /* HTTP_REPLY_MAX, HTTP_LINE_MAX or HTTP_HEADERS_MAX */
	HTTP_MALFORMED, /* no HTTP/1 */
	HTTP_CUT,       /* ended before it was whole */
};

enum http_place {
	HTTP_AT_STATUS,
	HTTP_AT_HEADERS,
	HTTP_AT_BODY_LENGTH,
	HTTP_AT_BODY_END, /* the body lasts until the connection ends */
	HTTP_AT_CHUNK_SIZE,
	HTTP_AT_CHUNK,
	HTTP_AT_CHUNK_END,
};

struct http_reply {
	enum http_place place;
	unsigned status;
	size_t total; /* bytes read */
	unsigned headers;
	bool chunked;
	bool has_length;
	uint64_t left; /* of the body, or of the chunk */
	size_t line_len;
	char line[HTTP_LINE_KEPT];    /* its beginning, with an end */
	size_t matched;               /* bytes of the wanted text that the body ends with */
	uint8_t back[CHECK_BODY_MAX]; /* where a failed match goes on: Knuth, Morris, Pratt */
};

void http_reply_begin(struct http_reply *r, const struct http_expect *expect);
/* The next bytes. Once it is not HTTP_MORE it is final. However the bytes are cut, the verdict is
 * the same. */
enum http_verdict http_reply_feed(struct http_reply *r, const struct http_expect *expect,
                                  const char *data, size_t len);
/* The connection has ended. Never HTTP_MORE. */
enum http_verdict http_reply_end(const struct http_reply *r);

#endif
