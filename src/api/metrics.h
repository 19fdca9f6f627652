/* Everything that is measured, as one text for Prometheus: the one reader of what the other threads
 * count. It takes no lock that they take, but for that of the log, so a scrape makes nobody wait.
 * The metrics are the rows of observe/metrics.def. The API thread. */
#ifndef API_METRICS_H
#define API_METRICS_H

#include "observe/exposition.h"

struct core;
struct metrics;

/* NULL: out of memory. */
struct metrics *metrics_new(void);
void metrics_free(struct metrics *m); /* NULL-safe */
/* The whole text. The caller looks at e->failed, and frees e->text. */
void metrics_write(struct core *c, struct exposition *e);
/* Before core->table goes: what was counted of its backends stays counted where series of backends
 * are summed up. */
void metrics_table_goes(struct core *c);

#endif
