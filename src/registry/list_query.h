/* The query of the list of backends. Pure; any thread. */
#ifndef REGISTRY_LIST_QUERY_H
#define REGISTRY_LIST_QUERY_H

#include "http/reply.h"
#include "http/request.h"
#include "registry/writer.h"

/* What a filter points into: "" where a parameter is not given. */
struct list_query {
	char app[APP_NAME_MAX + 1];
	char region[REGION_NAME_MAX + 1];
	char state[8];
	char after[BACKEND_ID_MAX + 1];
	char healthy[8];
	char limit[8];
};

/* False after it has answered; *f gets its texts from l. */
MUST_CHECK bool list_query_parse(const struct request *q, struct list_query *l,
                                 struct backend_filter *f, struct reply *r);

#endif
