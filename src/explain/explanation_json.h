/* An explanation for programs, and for what prints it for people. */
#ifndef EXPLAIN_EXPLANATION_JSON_H
#define EXPLAIN_EXPLANATION_JSON_H

#include "explain/explanation.h"

#include <jansson.h>
#include <stddef.h>

/* What an explanation does not know of where its table and database came from. */
struct explain_sources {
	const char *db_path;
	const char *geoip_path; /* "": the one inside the binary */
	json_t *quarantined;    /* an array of rows; NULL: not known. Borrowed */
	size_t most;            /* backends that are shown, the best first */
};

/* The caller's to json_decref(); NULL: out of memory. */
json_t *explanation_json(const struct explanation *e, const struct explain_sources *s);

#endif
