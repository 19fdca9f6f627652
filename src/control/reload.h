/* Route changes: from the routing database to a published table. The control thread only.
 *
 * A table that routes is worth more than news that are wrong. A database that is missing, locked or
 * broken never replaces it; one that would take away more than half of the usable backends at once
 * has to go on saying so for a while, or be accepted by an operator. `now` is an argument. */
#ifndef CONTROL_RELOAD_H
#define CONTROL_RELOAD_H

#include "base/check.h"
#include "base/counter.h"
#include "config/config.h"
#include "control/store.h"
#include "route/live.h"
#include "route/table.h"

#include <stdint.h>

/* How often reload_tick() wants to be called: a change of the database is seen at the next one. */
#define RELOAD_TICK_MS 50
/* How long the first read, and one that an operator asks for, waits for a writer. */
#define RELOAD_PATIENCE_MS 1000
/* After a read that took a while, the next one waits for so many times as long. */
#define RELOAD_READ_SHARE 4

struct reload_options {
	const struct config *config; /* outlives the reload */
	struct live *live;           /* the same */
	/* A new table, for those who want it: they take references of their own. */
	void (*publish)(void *arg, struct table *t);
	void *arg;
};

struct reload;

/* What the control thread has counted; any thread may read. */
struct reload_counters {
	struct counter published; /* tables */
	struct counter failed;    /* reads, each failure once while it lasts */
	struct counter held;      /* by the shrink guard */
	struct gauge is_failing;  /* 0 or 1 */
	struct gauge is_held;
	struct gauge quarantined;  /* rows, beside the table in use */
	struct gauge published_at; /* the last table; seconds since 1970 */
};

/* Touches nothing yet. 0 or -ENOMEM. */
MUST_CHECK int reload_new(const struct reload_options *options, struct reload **ret_reload);
/* Saves what has not been saved. Sockets live on in the tables that others hold. NULL-safe. */
void reload_free(struct reload *r);

/* Where sockets that listen already are offered before reload_start(), and asked for in an upgrade.
 */
struct listeners *reload_listeners(struct reload *r);
/* The state directory is another process's, or no more: files are left alone meanwhile. */
void reload_leave_files(struct reload *r, bool leave);
/* Another process serves new clients: from now on only what the database says of backends that
 * are known already is followed, nothing listens, and files are left alone. */
void reload_retire(struct reload *r);

/* The first table, from the database, or else from the last good file, or else empty, and its
 * listeners. Returns after it is published. 0; -errno with one line in error when
 * EDGEPROXY_LISTEN_ADDR cannot be listened on, or no table can be made at all. */
MUST_CHECK int reload_start(struct reload *r, uint64_t now_ms, char error[STORE_ERROR_MAX]);
/* Looks for a change and acts on it; also does what is due by the clock. */
void reload_tick(struct reload *r, uint64_t now_ms);
/* SIGHUP: reads the database afresh and accepts what it says, even if it loses most backends. */
void reload_now(struct reload *r, uint64_t now_ms);

/* Valid as long as r is. */
const struct reload_counters *reload_counters(const struct reload *r);
/* The table published last; borrowed, until the next call. NULL before reload_start(). */
struct table *reload_table(const struct reload *r);

#endif
