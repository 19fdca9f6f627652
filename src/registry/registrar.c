/* The registrar's parts, made and freed together. */
#include "registry/registrar.h"

#include <errno.h>

int registrar_init(struct registrar *g, const struct config *config)
{
	g->config = config;
	g->registry = registry_new(config->heartbeat_ttl_secs * 1000,
	                           config->api_forget_secs * 1000);
	return g->registry != NULL ? writer_new(config->db_path, config->pop, &g->writer) : -ENOMEM;
}

void registrar_done(struct registrar *g)
{
	registry_free(g->registry);
	writer_free(g->writer);
}
