/* What the handlers of backends work on: who has registered, and the database that says so. Others
 * may read it. The API thread only. */
#ifndef REGISTRY_REGISTRAR_H
#define REGISTRY_REGISTRAR_H

#include "config/config.h"
#include "registry/registry.h"
#include "registry/writer.h"
#include "route/table.h"

#include <stdbool.h>

struct registrar {
	const struct config *config;
	struct registry *registry;
	struct writer *writer;
	const struct table *table; /* the latest that was published; NULL: none yet. Not owned */
	bool database_failed;      /* has been said in the log */
};

/* Opens nothing yet. 0 or -ENOMEM; registrar_done() is due in either case. */
MUST_CHECK int registrar_init(struct registrar *g, const struct config *config);
void registrar_done(struct registrar *g);

#endif
