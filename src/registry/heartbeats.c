/* Who is still there. A heartbeat of a backend that is alive touches memory only; a silence is
 * written once, and so is its end; and what others have changed in the database is taken over. All
 * of it concerns registrations of this POP only: those of others are heard elsewhere. */
#include "registry/heartbeats.h"

#include "base/clock.h"
#include "registry/answer.h"
#include "registry/change.h"

#include <errno.h>
#include <time.h>

/* Silences that one transaction writes. */
#define DUE_BATCH 256

/* Within a transaction: is it still this POP's, or has it been removed, or moved to another one,
 * since the database was last looked at? 0, -ENOENT or another error. */
static int still_ours(struct registrar *g, const struct registration *e)
{
	struct backend_record b;
	int err = writer_find(g->writer, e->id, &b);

	return err == 0 && (b.deleted || !b.own) ? -ENOENT : err;
}

/* One that had fallen silent is heard again: the database must say so before clients come. -ENOENT:
 * it is not ours any more. */
static int revive(struct registrar *g, struct registration *e)
{
	int err = writer_begin(g->writer, WRITER_WRITE);

	if (err != 0)
		return err;
	err = still_ours(g, e);
	if (err == 0)
		err = writer_set_late(g->writer, e->id, false);
	if (err == 0)
		err = writer_commit(g->writer);
	else
		writer_rollback(g->writer);
	if (err == 0)
		registry_set_late(g->registry, e, false);
	return err;
}

static void answer_unregistered(struct reply *r)
{
	reply_problem(r, 404, NULL, "this backend is not registered here: register it");
}

void heartbeats_beat(struct registrar *g, const struct request *q, struct reply *r)
{
	struct registration *e = registry_find(g->registry, q->match.id);
	int err = 0;

	if (e == NULL) {
		answer_unregistered(r);
		return;
	}
	if (!token_covers(q->token, e->app)) {
		answer_scope(r, NULL);
		return;
	}
	registry_beat(g->registry, e, clock_now_ms());
	if (e->late) {
		err = revive(g, e);
		if (err == 0)
			change_log(q, "heartbeat_resumed", e->id, e->app);
	}
	if (err == -ENOENT)
		answer_unregistered(r);
	else if (err != 0)
		answer_database(g, r, err);
	else
		reply_json(r, 200,
		           json_pack("{s:s, s:s, s:I}", "id", e->id, "status", "ok", "ttl_secs",
		                     (json_int_t)g->config->heartbeat_ttl_secs));
}

/* ---- the clock ---- */

struct sync {
	struct registry *registry;
	uint64_t now_ms;
};

static int sync_row(void *arg, const char *id, const char *app, bool late)
{
	struct sync *s = arg;

	return registry_sync(s->registry, id, app, late, s->now_ms);
}

/* Takes over what the database has of registrations. 0 or -errno, which is logged once. */
static int synchronise(struct registrar *g, uint64_t now_ms)
{
	struct sync s = {.registry = g->registry, .now_ms = now_ms};
	int err = writer_begin(g->writer, WRITER_READ);

	if (err == 0) {
		registry_sync_begin(g->registry);
		err = writer_registrations(g->writer, sync_row, &s);
		if (err == 0) {
			registry_sync_end(g->registry);
			writer_seen(g->writer);
		}
		writer_rollback(g->writer);
	}
	answer_database_state(g, err);
	return err;
}

/* Writes down all that is due in one transaction; what is no longer ours becomes NULL. */
static int write_due(struct registrar *g, struct registration **due, size_t count)
{
	int err = writer_begin(g->writer, WRITER_WRITE);

	if (err != 0)
		return err;
	for (size_t i = 0; err == 0 && i < count; i++) {
		err = still_ours(g, due[i]);
		if (err == -ENOENT) {
			/* The next synchronisation removes it. */
			due[i] = NULL;
			err = 0;
		} else if (err == 0) {
			err = due[i]->late
			              ? writer_delete(g->writer, due[i]->id, (int64_t)time(NULL))
			              : writer_set_late(g->writer, due[i]->id, true);
		}
	}
	if (err == 0)
		err = writer_purge(g->writer, (int64_t)time(NULL));
	if (err == 0)
		return writer_commit(g->writer);
	writer_rollback(g->writer);
	return err;
}

void heartbeats_tick(struct registrar *g, uint64_t now_ms)
{
	struct registration *due[DUE_BATCH];
	size_t count;
	int err;

	if (writer_changed(g->writer) && synchronise(g, now_ms) != 0)
		return;
	count = registry_due(g->registry, now_ms, due, DUE_BATCH);
	if (count == 0)
		return;
	err = write_due(g, due, count);
	answer_database_state(g, err);
	if (err != 0)
		return;
	for (size_t i = 0; i < count; i++) {
		struct registration *e = due[i];

		if (e == NULL)
			continue;
		change_log(NULL, e->late ? "registration_forgotten" : "heartbeat_missed", e->id,
		           e->app);
		if (e->late)
			registry_remove(g->registry, e);
		else
			registry_set_late(g->registry, e, true);
	}
}
