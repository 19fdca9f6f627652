/* A row of backends, as the routing database has it. Pure; any thread. */
#ifndef REGISTRY_BACKEND_RECORD_H
#define REGISTRY_BACKEND_RECORD_H

#include "net/addr.h"
#include "route/limits.h"

#include <stdbool.h>
#include <stdint.h>

/* A row of backends as it stands, whoever wrote it: texts are cut to fit, numbers may be anything.
 */
struct backend_record {
	char id[BACKEND_ID_MAX + 1];
	char app[APP_NAME_MAX + 1];
	char region[REGION_NAME_MAX + 1];
	char ip[IP_TEXT_MAX];
	char country[8];
	char state[16]; /* "": ready */
	int64_t port;
	int64_t weight;
	int64_t soft_limit;
	int64_t hard_limit;
	bool healthy;
	bool deleted;
	bool registered;            /* by the API; otherwise it is an operator's */
	bool late;                  /* unhealthy because it fell silent */
	int64_t registered_at;      /* UNIX seconds */
	char pop[POP_NAME_MAX + 1]; /* where it registered; "": at a proxy without EDGEPROXY_POP */
	bool own;                   /* registered, and that was here */
};

/* What the first of several is hashed behind: so that a list of none has a hash, too. */
#define BACKEND_RECORD_HASH_BEGIN 0x6564676550726f78u

/* The hash of what is behind `before` and of this row as somebody has written it: an entity tag
 * (etag.h) rests on it. What is merely observed beside the row does not change it. */
uint64_t backend_record_hash(uint64_t before, const struct backend_record *b);

#endif
