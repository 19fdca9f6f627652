/* The sweep's place is a node in the list of sessions itself, so sessions may end on either side of
 * it; whoever else walks that list stops the sweep first. Sessions that begin meanwhile join behind
 * it and are looked at too, which does no harm.
 *
 * What each session has to do is session_reconsider()'s to say; here is only the walk. */
#include "proxy/sweep.h"

#include "proxy/session.h"
#include "proxy/worker.h"

void sweep_init(struct sweep *s)
{
	list_init(&s->place);
}

void sweep_start(struct worker *w)
{
	sweep_stop(w);
	list_push_back(w->sessions.next, &w->sweep.place); /* before the first */
}

bool sweep_active(const struct worker *w)
{
	return !list_empty(&w->sweep.place);
}

void sweep_turn(struct worker *w)
{
	struct list *place = &w->sweep.place;
	unsigned ended = 0;

	for (unsigned i = 0; i < SWEEP_LOOKS_A_TURN && ended < SWEEP_ENDS_A_TURN; i++) {
		struct list *node = place->next;

		list_remove(place);
		if (node == &w->sessions)
			return;
		list_push_back(node->next, place); /* behind the node */
		ended += session_reconsider(list_entry(node, struct session, node));
	}
}

void sweep_stop(struct worker *w)
{
	list_remove(&w->sweep.place);
}
