/* The query of the list of backends. Pure; any thread. */
#ifndef API_LIST_QUERY_H
#define API_LIST_QUERY_H

#include "api/reply.h"
#include "api/request.h"
#include "api/writer.h"

/* What a filter points into: "" where a parameter is not given. */
struct list_query {
	char app[APP_NAME_MAX + 1];
	char region[REGION_NAME_MAX + 1];
	char state[8];
	char after[BACKEND_ID_MAX + 1];
	char healthy[8];
	char limit[8];
};

/* l must be zeroes. False after it has answered; *f gets its texts from l. */
MUST_CHECK bool list_query_parse(const struct request *q, struct list_query *l,
                                 struct writer_filter *f, struct reply *r);

#endif
