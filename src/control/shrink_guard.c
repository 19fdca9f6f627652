/* A valid database may still be the wrong one, half restored, or emptied by a mistake. The sign of
 * that is a sudden loss: whoever means to lose most of his backends can wait, or say so.
 *
 * What is compared is only how many backends are usable. A hold is a claim that is repeated: each
 * read that still proposes the loss keeps it, one that does not, or fails, ends it. */
#include "control/shrink_guard.h"

#include "base/log.h"

static bool shrinks(size_t before, size_t after)
{
	return after * 2 < before;
}

void shrink_guard_init(struct shrink_guard *g, uint64_t hold_secs, struct counter *count)
{
	*g = (struct shrink_guard){.hold_secs = hold_secs, .count = count};
}

bool shrink_guard_is_over(const struct shrink_guard *g, uint64_t now_ms)
{
	return g->holds && now_ms - g->since_ms >= g->hold_secs * 1000;
}

static void hold(struct shrink_guard *g, const struct table *t, size_t usable, uint64_t now_ms)
{
	struct log_line l;

	if (g->holds && usable >= g->usable)
		return;
	if (!g->holds)
		counter_add(g->count, 1);
	g->holds = true;
	g->since_ms = now_ms;
	g->usable = usable;
	log_begin(&l, LOG_ERROR, "reload_held");
	log_uint(&l, "usable_now", t->usable_count);
	log_uint(&l, "usable_new", usable);
	log_uint(&l, "kept_version", t->version);
	log_uint(&l, "accepted_in_secs", g->hold_secs);
	log_str(&l, "advice",
	        "more than half of the usable backends would go; SIGHUP accepts it now");
	log_end(&l);
}

bool shrink_guard_holds(struct shrink_guard *g, const struct table *t, size_t usable,
                        enum accept accept, uint64_t now_ms)
{
	/* The hold was of a smaller loss. */
	if (accept == ACCEPT_HOLD && usable < g->usable)
		accept = ACCEPT_NOBODY;
	if (!shrinks(t->usable_count, usable) || accept != ACCEPT_NOBODY || g->hold_secs == 0)
		return false;
	hold(g, t, usable, now_ms);
	return true;
}

void shrink_guard_release(struct shrink_guard *g)
{
	g->holds = false;
}

void shrink_guard_passed(struct shrink_guard *g, size_t usable_before, size_t usable,
                         enum accept accept)
{
	struct log_line l;

	shrink_guard_release(g);
	if (!shrinks(usable_before, usable) || accept == ACCEPT_NOBODY)
		return;
	log_begin(&l, LOG_WARN, "reload_accepted");
	log_str(&l, "by", accept == ACCEPT_OPERATOR ? "sighup" : "hold");
	log_uint(&l, "usable_now", usable_before);
	log_uint(&l, "usable_new", usable);
	log_end(&l);
}
