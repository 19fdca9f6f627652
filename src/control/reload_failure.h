/* That the database cannot be read, or makes no table: said at once, and again while it lasts. The
 * control thread only; `now` is an argument. */
#ifndef CONTROL_RELOAD_FAILURE_H
#define CONTROL_RELOAD_FAILURE_H

#include "base/counter.h"
#include "control/db_error.h"
#include "route/table.h"

#include <stdbool.h>
#include <stdint.h>

/* A writer may keep the database locked for so long before anybody is told. */
#define RELOAD_BUSY_QUIET_MS 1000
/* The same failure is logged again after so long. */
#define RELOAD_REPEAT_MS 60000
/* The same, when the database has changed in between. */
#define RELOAD_REPEAT_CHANGED_MS 1000

struct reload_failure {
	struct counter *count; /* of failures, each once while it lasts */
	bool lasts;
	uint64_t logged_ms;
	bool changed_since; /* the database, since then */
	char text[STORE_ERROR_MAX];
	bool busy; /* a writer has the database locked */
	uint64_t busy_since_ms;
};

void reload_failure_init(struct reload_failure *f, struct counter *count);

/* A read has failed, and kept (NULL: there is none) stays in use. Logs it when it is another
 * failure than before. */
void reload_failure_note(struct reload_failure *f, const char *error, const struct table *kept,
                         uint64_t now_ms);
/* Logs it again where that is due. */
void reload_failure_repeat(struct reload_failure *f, const struct table *kept, uint64_t now_ms);
/* Whatever fails next is news. */
void reload_failure_forget(struct reload_failure *f);
/* A read has succeeded. t is in use now. */
void reload_failure_end(struct reload_failure *f, const struct table *t);

/* The database is locked now. True: for so long that it is a failure. */
bool reload_failure_busy(struct reload_failure *f, uint64_t now_ms);
/* It is not locked any more. */
void reload_failure_idle(struct reload_failure *f);

#endif
