/* A failure lasts until a read succeeds, however often it is tried. It is logged once, again when
 * it is another one, after a moment when the database has changed and fails as before, and now and
 * then while nothing changes. So neither a database that is gone for a night nor one that is
 * written each second fills the log, and whoever has just mended it in vain is told.
 *
 * A writer's lock is part of a database's life: it is no failure unless it lasts. */
#include "control/reload_failure.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

void reload_failure_init(struct reload_failure *f, struct counter *count)
{
	memset(f, 0, sizeof(*f));
	f->count = count;
}

static void log_failure(struct reload_failure *f, const struct table *kept, uint64_t now_ms)
{
	struct log_line l;

	log_begin(&l, LOG_ERROR, "reload_failed");
	log_str(&l, "error", f->text);
	if (kept != NULL) {
		log_uint(&l, "kept_version", kept->version);
		log_uint(&l, "kept_usable", kept->usable_count);
	}
	log_end(&l);
	f->logged_ms = now_ms;
	f->changed_since = false;
}

void reload_failure_note(struct reload_failure *f, const char *error, const struct table *kept,
                         uint64_t now_ms)
{
	bool same = f->lasts && strcmp(f->text, error) == 0;

	f->lasts = true;
	if (same)
		return;
	counter_add(f->count, 1);
	snprintf(f->text, sizeof(f->text), "%s", error);
	log_failure(f, kept, now_ms);
}

void reload_failure_repeat(struct reload_failure *f, const struct table *kept, uint64_t now_ms)
{
	uint64_t quiet_ms = f->changed_since ? RELOAD_REPEAT_CHANGED_MS : RELOAD_REPEAT_MS;

	if (f->lasts && now_ms - f->logged_ms >= quiet_ms)
		log_failure(f, kept, now_ms);
}

void reload_failure_forget(struct reload_failure *f)
{
	f->text[0] = '\0';
}

void reload_failure_end(struct reload_failure *f, const struct table *t)
{
	struct log_line l;

	if (!f->lasts)
		return;
	f->lasts = false;
	log_begin(&l, LOG_INFO, "reload_recovered");
	log_uint(&l, "version", t->version);
	log_end(&l);
}

bool reload_failure_busy(struct reload_failure *f, uint64_t now_ms)
{
	if (!f->busy) {
		f->busy = true;
		f->busy_since_ms = now_ms;
	}
	return now_ms - f->busy_since_ms >= RELOAD_BUSY_QUIET_MS;
}

void reload_failure_idle(struct reload_failure *f)
{
	f->busy = false;
}
