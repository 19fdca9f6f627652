/* Keeps the last good file up to date: when it is written, and what a start takes from it. The
 * control thread only; `now` is an argument. */
#ifndef CONTROL_LAST_GOOD_KEEPER_H
#define CONTROL_LAST_GOOD_KEEPER_H

#include "control/db_error.h"
#include "route/rows.h"

#include <stdbool.h>
#include <stdint.h>

/* A table that follows another is saved no sooner than this after the one before. */
#define LAST_GOOD_EVERY_MS 1000
/* What could not be written is tried again after so long. */
#define LAST_GOOD_RETRY_MS 60000

struct last_good_keeper {
	const char *state_dir; /* "": nothing is kept */
	bool behind;           /* there are rows that the file does not have */
	bool paused;           /* the files are another process's, or no more */
	uint64_t save_at_ms;   /* not before */
	char failure[STORE_ERROR_MAX];
};

/* state_dir outlives it. */
void last_good_keeper_init(struct last_good_keeper *k, const char *state_dir);
/* Other rows are in use. */
void last_good_keeper_changed(struct last_good_keeper *k);
/* Writes them now, if they may be written at all. */
void last_good_keeper_save(struct last_good_keeper *k, const struct route_rows *rows,
                           uint64_t now_ms);
/* Writes them where they are not written and that is due. */
void last_good_keeper_tick(struct last_good_keeper *k, const struct route_rows *rows,
                           uint64_t now_ms);
/* Rows for the case that the database gives none: those of the last time, or none. Returns which:
 * "last-good" or "none". *ret_rows is the caller's to route_rows_done(). */
const char *last_good_keeper_recall(const struct last_good_keeper *k, const char *app,
                                    struct route_rows *ret_rows);

#endif
