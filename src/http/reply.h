/* What a handler answers. Owned by whoever declares it; the API thread. */
#ifndef HTTP_REPLY_H
#define HTTP_REPLY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Room for an entity tag: W/"16 digits". */
#define REPLY_ETAG_MAX 24

struct pending;
struct stream;

struct reply {
	unsigned status;
	const char *content_type; /* static; NULL: there is no body */
	char *text;               /* malloc'd, or NULL: see fixed */
	const char *fixed;        /* static */
	size_t len;
	struct stream *stream;     /* instead of text and fixed; the reply's until it is sent */
	const char *policy;        /* Content-Security-Policy, static; NULL: none is needed */
	const char *allow;         /* 405: the header of that name; the caller's */
	unsigned retry_after_secs; /* 0: none */
	char etag[REPLY_ETAG_MAX]; /* "": none */
	struct pending *pending;   /* not NULL: there is no answer yet (pending.h) */
};

/* 304: nothing but the entity tag. */
void reply_not_modified(struct reply *r);
void reply_done(struct reply *r);
/* Takes body over; NULL is out of memory and becomes a 500. */
void reply_json(struct reply *r, unsigned status, json_t *body);
/* field NULL: the error is of no one field. */
void reply_problem(struct reply *r, unsigned status, const char *field, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif
