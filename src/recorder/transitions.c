/* One byte a slot remembers each backend's word. The table that was looked at is kept: while it is,
 * none of its slots can be given to another backend, so a slot in both tables means the same one,
 * and the ids of those that are gone can still be read. */
#include "recorder/transitions.h"

#include "route/balancer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NOT_KNOWN 0

struct transitions {
	struct table *table; /* NULL: never looked */
	uint32_t fault_version;
	uint8_t *words; /* by slot: NOT_KNOWN, or one more than an enum exclusion */
	uint32_t word_end;
	uint64_t count;
	struct transition kept[TRANSITIONS_KEPT];
};

static enum exclusion status_of(const struct table *t, const struct backend *b)
{
	unsigned faults = live_faults(t->live, b->slot);

	if (b->deleted)
		return EXCLUDED_DELETED;
	if (!b->healthy)
		return EXCLUDED_UNHEALTHY;
	if (b->state != STATE_READY)
		return b->state == STATE_MAINT ? EXCLUDED_MAINT : EXCLUDED_DRAIN;
	if (b->weight == 0)
		return EXCLUDED_WEIGHT;
	if ((faults & LIVE_AGENT_MAINT) != 0)
		return EXCLUDED_AGENT_MAINT;
	if ((faults & LIVE_AGENT_DRAIN) != 0)
		return EXCLUDED_AGENT_DRAIN;
	if ((faults & LIVE_CHECK_DOWN) != 0)
		return EXCLUDED_CHECK_DOWN;
	if ((faults & LIVE_AGENT_DOWN) != 0)
		return EXCLUDED_AGENT_DOWN;
	return (faults & LIVE_EJECTED) != 0 ? EXCLUDED_EJECTED : EXCLUDED_NOT;
}

static const char *word(enum exclusion e)
{
	return e == EXCLUDED_NOT ? "up" : exclusion_word(e);
}

const char *backend_status(const struct table *t, const struct backend *b)
{
	return word(status_of(t, b));
}

struct transitions *transitions_new(void)
{
	return calloc(1, sizeof(struct transitions));
}

void transitions_free(struct transitions *t)
{
	if (t == NULL)
		return;
	table_unref(t->table);
	free(t->words);
	free(t);
}

static void keep(struct transitions *t, const struct backend *b, const char *from, const char *to,
                 uint64_t wall_ms)
{
	struct transition *k = &t->kept[t->count++ % TRANSITIONS_KEPT];

	k->at_ms = wall_ms;
	strncpy(k->backend, b->id, BACKEND_ID_MAX);
	k->backend[BACKEND_ID_MAX] = '\0';
	k->from = from;
	k->to = to;
}

static bool grow(struct transitions *t, uint32_t end)
{
	uint8_t *words;

	if (end <= t->word_end)
		return true;
	words = realloc(t->words, end);
	if (words == NULL)
		return false; /* seen at the next look, perhaps */
	memset(words + t->word_end, NOT_KNOWN, end - t->word_end);
	t->words = words;
	t->word_end = end;
	return true;
}

static void look_at(struct transitions *t, const struct table *table, const struct backend *b,
                    uint64_t wall_ms)
{
	uint8_t was = t->words[b->slot];
	enum exclusion now = status_of(table, b);

	t->words[b->slot] = now == EXCLUDED_DELETED ? NOT_KNOWN : (uint8_t)(now + 1);
	if (t->table == NULL || t->words[b->slot] == was)
		return;
	keep(t, b, was == NOT_KNOWN ? "new" : word((enum exclusion)(was - 1)),
	     now == EXCLUDED_DELETED ? "gone" : word(now), wall_ms);
}

/* Those whose rows have been taken away. */
static void look_for_gone(struct transitions *t, const struct table *table, uint64_t wall_ms)
{
	for (uint32_t i = 0; i < t->table->backend_count; i++) {
		const struct backend *b = &t->table->backends[i];

		if (t->words[b->slot] == NOT_KNOWN || table_backend_in_slot(table, b->slot) != NULL)
			continue;
		keep(t, b, word((enum exclusion)(t->words[b->slot] - 1)), "gone", wall_ms);
		t->words[b->slot] = NOT_KNOWN;
	}
}

void transitions_look(struct transitions *t, struct table *table, uint64_t wall_ms)
{
	/* Read before the faults: a later change has a later version. */
	uint32_t version = live_fault_version(table->live);

	if (t->table == table && t->fault_version == version)
		return;
	if (!grow(t, table->slot_end))
		return;
	if (t->table != NULL && t->table != table)
		look_for_gone(t, table, wall_ms);
	for (uint32_t i = 0; i < table->backend_count; i++)
		look_at(t, table, &table->backends[i], wall_ms);
	t->fault_version = version;
	if (t->table != table) {
		table_unref(t->table);
		t->table = table_ref(table);
	}
}

const struct transition *transitions_find(const struct transitions *t, size_t n)
{
	if (n >= t->count || n >= TRANSITIONS_KEPT)
		return NULL;
	return &t->kept[(t->count - 1 - n) % TRANSITIONS_KEPT];
}
