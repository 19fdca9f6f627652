/* What may be asked of the list of backends, and what it means. That each parameter is known, comes
 * once and is short enough is http/query.c's; here is what the values may be. */
#include "registry/list_query.h"

#include "http/query.h"
#include "route/rows.h"

#include <string.h>

bool list_query_parse(const struct request *q, struct list_query *l, struct backend_filter *f,
                      struct reply *r)
{
	const struct query_field fields[] = {
		{"app", l->app, sizeof(l->app)},       {"region", l->region, sizeof(l->region)},
		{"state", l->state, sizeof(l->state)}, {"after", l->after, sizeof(l->after)},
		{"limit", l->limit, sizeof(l->limit)}, {"healthy", l->healthy, sizeof(l->healthy)},
	};
	unsigned long limit = QUERY_PAGE_DEFAULT;
	enum admin_state state;

	if (!query_read(q, fields, sizeof(fields) / sizeof(fields[0]), r))
		return false;
	f->healthy = strcmp(l->healthy, "true") == 0    ? 1
	             : strcmp(l->healthy, "false") == 0 ? 0
	                                                : -1;
	if (l->healthy[0] != '\0' && f->healthy < 0) {
		reply_problem(r, 400, "healthy", "healthy must be true or false");
		return false;
	}
	if (l->state[0] != '\0' && admin_state_parse(l->state, &state) != 0) {
		reply_problem(r, 400, "state", "state must be ready, drain or maint");
		return false;
	}
	if (!query_number("limit", l->limit, 1, QUERY_PAGE_MAX, &limit, r))
		return false;
	f->limit = (int)limit;
	f->app = l->app[0] != '\0' ? l->app : NULL;
	f->region = l->region[0] != '\0' ? l->region : NULL;
	f->state = l->state[0] != '\0' ? l->state : NULL;
	f->after = l->after[0] != '\0' ? l->after : NULL;
	return true;
}
