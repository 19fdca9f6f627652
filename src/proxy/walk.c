/* A place is a node among those of the sessions, told from them by where it lies. Sessions that
 * begin during a walk join at the end of the list and are seen too, which does no harm. */
#include "proxy/walk.h"

#include "base/check.h"

#include <stddef.h>

void walks_init(struct walks *w)
{
	for (int i = 0; i < WALK_KINDS; i++)
		list_init(&w->place[i]);
}

static bool is_place(const struct walks *w, const struct list *node)
{
	for (int i = 0; i < WALK_KINDS; i++)
		if (node == &w->place[i])
			return true;
	return false;
}

void walk_start(struct walks *w, enum walk_kind kind, struct list *sessions)
{
	walk_stop(w, kind);
	list_push_back(sessions->next, &w->place[kind]); /* before the first */
}

bool walk_active(const struct walks *w, enum walk_kind kind)
{
	return !list_empty(&w->place[kind]);
}

struct list *walk_next(struct walks *w, enum walk_kind kind, struct list *sessions)
{
	struct list *place = &w->place[kind];
	struct list *node = place->next;

	CHECK(walk_active(w, kind));
	while (node != sessions && is_place(w, node))
		node = node->next;
	list_remove(place);
	if (node == sessions)
		return NULL;
	list_push_back(node->next, place); /* behind the node */
	return node;
}

void walk_stop(struct walks *w, enum walk_kind kind)
{
	list_remove(&w->place[kind]);
}
