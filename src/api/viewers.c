/* Server-sent events (the HTML standard, 9.2). A snapshot is made into one event, which all viewers
 * share; it goes when the last of them has sent it to its end. So what a slow client costs is one
 * old event, and many slow ones cost one each: VIEWERS_MAX events are the most there can be. */
#include "api/viewers.h"

#include "api/core.h"
#include "api/snapshot.h"
#include "base/clock.h"
#include "base/list.h"
#include "http/reply.h"
#include "http/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENT_STREAM "text/event-stream"
/* What a client that found no room should wait. */
#define FULL_RETRY_SECS 10

struct snapshot_event {
	unsigned refs;
	uint64_t number;
	size_t len;
	char text[];
};

struct viewers {
	struct list all;
	unsigned count;
	uint64_t number; /* of the latest event */
	uint64_t made_ms;
	struct snapshot_event *latest; /* NULL: none was made yet */
	struct snapshot_base base;
};

struct viewer {
	struct stream stream;
	struct list node;
	struct viewers *viewers;
	struct snapshot_event *event; /* that it is being sent; NULL: none */
	size_t sent;
	uint64_t seen; /* the number of the last one that it was sent; 0: none */
};

static void event_unref(struct snapshot_event *e)
{
	if (e != NULL && --e->refs == 0)
		free(e);
}

static void make_event(struct viewers *v, const struct core *c, uint64_t now_ms)
{
	char head[64];
	char *json = snapshot_text(c, &v->base, clock_now_ns());
	int head_len = snprintf(head, sizeof(head), "retry: %d\nid: %llu\ndata: ", VIEWERS_RETRY_MS,
	                        (unsigned long long)v->number + 1);
	size_t json_len = json != NULL ? strlen(json) : 0;
	size_t len = (size_t)head_len + json_len + 2;
	struct snapshot_event *e = json != NULL ? malloc(sizeof(*e) + len) : NULL;

	v->made_ms = now_ms;
	if (e != NULL) {
		*e = (struct snapshot_event){.refs = 1, .number = ++v->number, .len = len};
		memcpy(e->text, head, (size_t)head_len);
		memcpy(e->text + head_len, json, json_len);
		memcpy(e->text + head_len + json_len, "\n\n", 2);
		event_unref(v->latest);
		v->latest = e;
	}
	free(json);
}

static ssize_t viewer_read(struct stream *s, char *to, size_t room)
{
	struct viewer *w = (struct viewer *)s;
	struct snapshot_event *latest = w->viewers->latest;

	if (w->event == NULL) {
		if (latest == NULL || latest->number == w->seen)
			return STREAM_LATER;
		latest->refs++;
		w->event = latest;
		w->sent = 0;
		w->seen = latest->number;
	}
	if (room > w->event->len - w->sent)
		room = w->event->len - w->sent;
	memcpy(to, w->event->text + w->sent, room);
	w->sent += room;
	if (w->sent == w->event->len) {
		event_unref(w->event);
		w->event = NULL;
	}
	return (ssize_t)room;
}

static void viewer_free(struct stream *s)
{
	struct viewer *w = (struct viewer *)s;

	list_remove(&w->node);
	w->viewers->count--;
	event_unref(w->event);
	free(w);
}

struct viewers *viewers_new(void)
{
	struct viewers *v = calloc(1, sizeof(*v));

	if (v != NULL)
		list_init(&v->all);
	return v;
}

void viewers_free(struct viewers *v)
{
	if (v == NULL)
		return;
	event_unref(v->latest);
	free(v);
}

static bool is_due(const struct viewers *v, uint64_t now_ms)
{
	return v->latest == NULL || now_ms - v->made_ms >= VIEWERS_SNAPSHOT_MS;
}

void viewers_tick(struct viewers *v, const struct core *c, uint64_t now_ms)
{
	if (v->count == 0 || !is_due(v, now_ms))
		return;
	make_event(v, c, now_ms);
	for (struct list *l = v->all.next; l != &v->all; l = l->next)
		stream_wake(&list_entry(l, struct viewer, node)->stream);
}

void viewers_add(struct viewers *v, const struct core *c, struct reply *r)
{
	struct viewer *w;
	uint64_t now_ms = clock_now_ms();

	if (v->count == VIEWERS_MAX) {
		reply_problem(r, 503, NULL, "as many as %d watch already", VIEWERS_MAX);
		r->retry_after_secs = FULL_RETRY_SECS;
		return;
	}
	w = calloc(1, sizeof(*w));
	if (w == NULL) {
		reply_problem(r, 503, NULL, "out of memory");
		return;
	}
	if (is_due(v, now_ms))
		make_event(v, c, now_ms);
	w->stream.read = viewer_read;
	w->stream.free = viewer_free;
	w->viewers = v;
	list_push_back(&v->all, &w->node);
	v->count++;
	r->status = 200;
	r->content_type = EVENT_STREAM;
	r->stream = &w->stream;
}
