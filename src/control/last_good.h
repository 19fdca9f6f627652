/* The last good routing table as a file: a routing database like any other, which `sqlite3` can
 * open, in the state directory. It is what a start without a readable database routes by. The
 * control thread only. */
#ifndef CONTROL_LAST_GOOD_H
#define CONTROL_LAST_GOOD_H

#include "base/check.h"
#include "control/store.h"
#include "route/rows.h"

#include <stddef.h>

#define LAST_GOOD_NAME "last-good.db"

/* Replaces the file in one step: whoever reads it, at any time and after any crash, sees the old
 * rows or the new ones. Blocks for a write to the disk. 0, or -errno with one line in error. */
MUST_CHECK int last_good_save(const char *state_dir, const struct route_rows *rows,
                              char error[STORE_ERROR_MAX]);

/* What was saved, rows of other apps left out. 0; -ENOENT (nothing was saved); another -errno with
 * one line in error. */
MUST_CHECK int last_good_load(const char *state_dir, const char *app, struct route_rows *ret_rows,
                              char error[STORE_ERROR_MAX]);

#endif
