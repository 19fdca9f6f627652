/* What `edgeproxy explain` prints for people. */
#ifndef CLI_EXPLAIN_TEXT_H
#define CLI_EXPLAIN_TEXT_H

#include <jansson.h>

/* e: an explanation as JSON (explain/explanation_json.h). asked: what was asked for it, one line.
 * Standard output; fits 80 columns where the ids do. */
void explain_print(const json_t *e, const char *asked);

#endif
