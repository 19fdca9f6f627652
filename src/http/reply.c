/* Bodies of answers. Whatever fails here for lack of memory still answers, with a text that needs
 * none. */
#include "http/reply.h"

#include "http/problem.h"
#include "http/stream.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBLEM_TYPE "application/problem+json"

static const char no_memory[] = "{\"type\":\"about:blank\",\"title\":\"Internal Server Error\","
				"\"status\":500,\"detail\":\"out of memory\"}\n";

void reply_done(struct reply *r)
{
	free(r->text);
	r->text = NULL;
	if (r->stream != NULL)
		r->stream->free(r->stream);
	r->stream = NULL;
}

void reply_not_modified(struct reply *r)
{
	r->status = 304;
	r->content_type = NULL;
	r->fixed = "";
	r->len = 0;
}

static void set(struct reply *r, unsigned status, const char *content_type, json_t *body)
{
	char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;

	json_decref(body);
	reply_done(r);
	if (text == NULL) {
		r->status = 500;
		r->content_type = PROBLEM_TYPE;
		r->fixed = no_memory;
		r->len = sizeof(no_memory) - 1;
		return;
	}
	r->status = status;
	r->content_type = content_type;
	r->text = text;
	r->len = strlen(text);
}

void reply_json(struct reply *r, unsigned status, json_t *body)
{
	set(r, status, "application/json", body);
}

void reply_problem(struct reply *r, unsigned status, const char *field, const char *format, ...)
{
	char detail[PROBLEM_DETAIL_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(detail, sizeof(detail), format, args);
	va_end(args);
	set(r, status, PROBLEM_TYPE, problem_json(status, field, detail));
}
