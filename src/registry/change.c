/* A change of one backend's row: found and changed within one transaction, so that no decision
 * rests on what somebody else has changed since. A token touches only the apps that it covers. */
#include "registry/change.h"

#include "base/log.h"
#include "registry/answer.h"

#include <errno.h>

void change_log(const struct request *q, const char *event, const char *id, const char *app)
{
	struct log_line l;

	log_begin(&l, LOG_INFO, event);
	log_str(&l, "backend", id);
	log_str(&l, "app", app);
	log_str(&l, "by", q != NULL && q->token != NULL ? q->token->name : NULL);
	log_end(&l);
}

bool change_begin(struct registrar *g, const struct request *q, struct backend_record *ret,
                  struct reply *r)
{
	int err = writer_begin(g->writer, WRITER_WRITE);

	if (err == 0) {
		err = writer_find(g->writer, q->match.id, ret);
		if (err == 0 && !ret->deleted && token_covers(q->token, ret->app))
			return true;
		writer_rollback(g->writer);
	}
	if (err == -ENOENT || (err == 0 && ret->deleted))
		answer_unknown(r);
	else if (err == 0)
		answer_scope(r, NULL);
	else
		answer_database(g, r, err);
	return false;
}

bool change_end(struct registrar *g, int err, struct reply *r)
{
	if (err == 0)
		err = writer_commit(g->writer);
	else
		writer_rollback(g->writer);
	if (err != 0)
		answer_database(g, r, err);
	else
		answer_database_state(g, 0);
	return err == 0;
}
