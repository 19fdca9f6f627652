/* From rows to a published table: its services with their open sockets, the table itself, and those
 * before it until nobody has them. The control thread only. */
#ifndef CONTROL_PUBLISHER_H
#define CONTROL_PUBLISHER_H

#include "base/check.h"
#include "base/counter.h"
#include "base/log.h"
#include "config/config.h"
#include "control/services.h"
#include "route/live.h"
#include "route/table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Tables that workers may still have while newer ones are published. */
#define PUBLISHER_RETIRED_MAX 16

struct publisher_options {
	const struct config *config; /* outlives the publisher */
	struct live *live;           /* the same */
	/* A new table, for those who want it: they take references of their own. */
	void (*publish)(void *arg, struct table *t);
	void *arg;
	struct counter *published;  /* tables */
	struct gauge *published_at; /* the last one; seconds since 1970 */
};

struct publisher {
	struct publisher_options options;
	struct services services;
	struct table *table;                          /* published last; NULL: none yet */
	struct route_rows rows;                       /* of that table */
	size_t quarantined;                           /* bad rows beside those; set by the reload */
	struct table *retired[PUBLISHER_RETIRED_MAX]; /* published before, still in use */
	size_t retired_count;
};

/* Touches nothing yet. */
void publisher_init(struct publisher *p, const struct publisher_options *options);
/* Sockets live on in the tables that others hold. */
void publisher_done(struct publisher *p);

/* Takes rows over when they make a table, and publishes that. 0 or -errno: nothing has changed, and
 * rows are still the caller's. */
MUST_CHECK int publisher_adopt(struct publisher *p, struct route_rows *rows, uint64_t now_ms);
/* Frees tables that nobody has any more, and closes sockets that no table has. due: what is worth
 * an effort now and then is worth it now; where some service had no socket and has one now, the
 * same rows make another table. There must be a table. */
void publisher_tick(struct publisher *p, bool due, uint64_t now_ms);

/* Says which table is in use, where its rows came from, and how many beside them were bad. */
void publisher_log(const struct publisher *p, enum log_level level, const char *source);

#endif
