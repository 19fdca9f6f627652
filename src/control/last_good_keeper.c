/* A file of rows costs a write to the disk, which the control thread waits for, so tables that
 * follow each other quickly share one. A disk that fails stops nothing: it is said once, with what
 * it means, and tried again later.
 *
 * What is in the file and how it is written is last_good.c's. */
#include "control/last_good_keeper.h"

#include "base/log.h"
#include "control/last_good.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void last_good_keeper_init(struct last_good_keeper *k, const char *state_dir)
{
	memset(k, 0, sizeof(*k));
	k->state_dir = state_dir;
}

void last_good_keeper_changed(struct last_good_keeper *k)
{
	k->behind = true;
}

void last_good_keeper_save(struct last_good_keeper *k, const struct route_rows *rows,
                           uint64_t now_ms)
{
	char error[STORE_ERROR_MAX];
	struct log_line l;

	k->behind = k->paused;
	if (k->paused || k->state_dir[0] == '\0')
		return;
	k->save_at_ms = now_ms + LAST_GOOD_EVERY_MS;
	if (last_good_save(k->state_dir, rows, error) == 0) {
		k->failure[0] = '\0';
		return;
	}
	k->behind = true;
	k->save_at_ms = now_ms + LAST_GOOD_RETRY_MS;
	if (strcmp(k->failure, error) == 0)
		return;
	snprintf(k->failure, sizeof(k->failure), "%s", error);
	log_begin(&l, LOG_ERROR, "last_good_failed");
	log_str(&l, "error", error);
	log_str(&l, "advice", "a restart without the database would have no table");
	log_end(&l);
}

void last_good_keeper_tick(struct last_good_keeper *k, const struct route_rows *rows,
                           uint64_t now_ms)
{
	if (k->behind && now_ms >= k->save_at_ms)
		last_good_keeper_save(k, rows, now_ms);
}

const char *last_good_keeper_recall(const struct last_good_keeper *k, const char *app,
                                    struct route_rows *ret_rows)
{
	char error[STORE_ERROR_MAX];
	struct log_line l;
	int rc = -ENOENT;

	if (k->state_dir[0] != '\0')
		rc = last_good_load(k->state_dir, app, ret_rows, error);
	if (rc == 0)
		return "last-good";
	if (rc != -ENOENT) {
		log_begin(&l, LOG_ERROR, "last_good_failed");
		log_str(&l, "error", error);
		log_end(&l);
	}
	route_rows_init(ret_rows);
	return "none";
}
