/* The parameters of the list of backends: each at most once, none that is unknown, and none that is
 * taken for something else. */
#include "registry/list_query.h"

#include "http/query.h"

#include <string.h>

/* Where a parameter of this name goes; NULL: there is none. */
static char *list_parameter(struct list_query *l, const char *key, size_t *ret_room)
{
	const struct {
		const char *key;
		char *to;
		size_t room;
	} all[] = {
		{"app", l->app, sizeof(l->app)},       {"region", l->region, sizeof(l->region)},
		{"state", l->state, sizeof(l->state)}, {"after", l->after, sizeof(l->after)},
		{"limit", l->limit, sizeof(l->limit)}, {"healthy", l->healthy, sizeof(l->healthy)},
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (strcmp(all[i].key, key) == 0) {
			*ret_room = all[i].room - 1;
			return all[i].to;
		}
	}
	return NULL;
}

static bool read_limit(const char *text, int *ret)
{
	int limit = 0;

	if (text[0] == '\0') {
		*ret = QUERY_PAGE_DEFAULT;
		return true;
	}
	for (const char *p = text; *p != '\0'; p++) {
		if (*p < '0' || *p > '9' || limit > QUERY_PAGE_MAX)
			return false;
		limit = limit * 10 + (*p - '0');
	}
	*ret = limit;
	return limit >= 1 && limit <= QUERY_PAGE_MAX;
}

bool list_query_parse(const struct request *q, struct list_query *l, struct backend_filter *f,
                      struct reply *r)
{
	for (size_t i = 0; i < q->query_count; i++) {
		const char *key = q->query[i].key;
		size_t room = 0;
		char *to = list_parameter(l, key, &room);

		if (to == NULL || to[0] != '\0') {
			reply_problem(r, 400, key, "%.40s %s", key,
			              to == NULL ? "is no parameter of this list" : "comes twice");
			return false;
		}
		if (percent_decode(q->query[i].value, strlen(q->query[i].value), to, room) != 0 ||
		    to[0] == '\0') {
			reply_problem(r, 400, key, "%s must be 1..%zu bytes, percent-encoded", key,
			              room);
			return false;
		}
	}
	f->healthy = strcmp(l->healthy, "true") == 0    ? 1
	             : strcmp(l->healthy, "false") == 0 ? 0
	                                                : -1;
	if (l->healthy[0] != '\0' && f->healthy < 0) {
		reply_problem(r, 400, "healthy", "healthy must be true or false");
		return false;
	}
	if (l->state[0] != '\0' && strcmp(l->state, "ready") != 0 &&
	    strcmp(l->state, "drain") != 0 && strcmp(l->state, "maint") != 0) {
		reply_problem(r, 400, "state", "state must be ready, drain or maint");
		return false;
	}
	if (!read_limit(l->limit, &f->limit)) {
		reply_problem(r, 400, "limit", "limit must be 1..%d", QUERY_PAGE_MAX);
		return false;
	}
	f->app = l->app[0] != '\0' ? l->app : NULL;
	f->region = l->region[0] != '\0' ? l->region : NULL;
	f->state = l->state[0] != '\0' ? l->state : NULL;
	f->after = l->after[0] != '\0' ? l->after : NULL;
	return true;
}
