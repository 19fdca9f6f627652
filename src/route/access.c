/* Access rules in the shape that decisions want: a set for each app that has rules, and one for
 * every app, each with its prefixes in a map, its countries in an array and its rule for everybody.
 * A client is looked up in two sets, so a rule for every app is not copied to each of them.
 *
 * Rows are trusted to be valid, with a cidr or a country and not both. */
#include "route/access.h"

#include "base/arena.h"
#include "geo/country.h"
#include "net/prefix.h"

#include <stdlib.h>
#include <string.h>

/* The rules of one app. Numbers are of access.rules. */
struct set {
	const char *app; /* "": every app */
	struct prefix_map *prefixes;
	uint32_t of_country[COUNTRY_INDEX_MAX];
	uint32_t of_all;
};

#define NO_RULE UINT32_MAX

struct access {
	struct arena arena;
	struct access_rule_row *rules;
	struct set *sets; /* by app */
	uint32_t set_count;
};

static const char *app_of(const struct access_rule_row *row)
{
	return row->app != NULL ? row->app : "";
}

/* By app, and so that of rules for the same clients the stronger one comes later. */
static int compare_rules(const void *a, const void *b)
{
	const struct access_rule_row *x = a;
	const struct access_rule_row *y = b;
	int order = strcmp(app_of(x), app_of(y));

	if (order != 0)
		return order;
	if (x->allow != y->allow)
		return x->allow ? -1 : 1;
	return strcmp(x->id, y->id);
}

static bool copy_rules(struct access *a, const struct access_rule_row *rows, size_t n)
{
	a->rules = arena_alloc(&a->arena, n * sizeof(*a->rules));
	if (a->rules == NULL)
		return false;
	memcpy(a->rules, rows, n * sizeof(*rows));
	for (size_t i = 0; i < n; i++) {
		struct access_rule_row *rule = &a->rules[i];

		rule->id = arena_strdup(&a->arena, rule->id);
		rule->app = arena_strdup(&a->arena, app_of(rule));
		if (rule->id == NULL || rule->app == NULL)
			return false;
	}
	qsort(a->rules, n, sizeof(*a->rules), compare_rules);
	return true;
}

/* Makes a set of the rules from..to-1, which are all of one app. entries has room for them. */
static bool add_set(struct access *a, size_t from, size_t to, struct prefix_entry *entries)
{
	struct set *s = &a->sets[a->set_count++];
	size_t n = 0;

	s->app = a->rules[from].app;
	s->of_all = NO_RULE;
	memset(s->of_country, 0xff, sizeof(s->of_country)); /* NO_RULE */
	for (size_t i = from; i < to; i++) {
		const struct access_rule_row *rule = &a->rules[i];

		switch (rule->match) {
		case ACCESS_CIDR:
			entries[n++] = (struct prefix_entry){rule->prefix, (uint32_t)i};
			break;
		case ACCESS_COUNTRY:
			s->of_country[country_index(rule->country)] = (uint32_t)i;
			break;
		case ACCESS_ALL:
			s->of_all = (uint32_t)i;
			break;
		}
	}
	s->prefixes = prefix_map_new(entries, n);
	return s->prefixes != NULL;
}

static bool add_sets(struct access *a, size_t n)
{
	struct prefix_entry *entries = calloc(n, sizeof(*entries));
	size_t sets = 1;
	bool good;

	for (size_t i = 1; i < n; i++)
		sets += strcmp(a->rules[i].app, a->rules[i - 1].app) != 0;
	a->sets = arena_alloc(&a->arena, sets * sizeof(*a->sets));
	good = entries != NULL && a->sets != NULL;
	for (size_t from = 0, to; good && from < n; from = to) {
		to = from + 1;
		while (to < n && strcmp(a->rules[to].app, a->rules[from].app) == 0)
			to++;
		good = add_set(a, from, to, entries);
	}
	free(entries);
	return good;
}

struct access *access_new(const struct access_rule_row *rows, size_t n)
{
	struct access *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	arena_init(&a->arena);
	if (n > 0 && (!copy_rules(a, rows, n) || !add_sets(a, n))) {
		access_free(a);
		return NULL;
	}
	return a;
}

void access_free(struct access *a)
{
	if (a == NULL)
		return;
	for (uint32_t i = 0; i < a->set_count; i++)
		prefix_map_free(a->sets[i].prefixes);
	arena_done(&a->arena);
	free(a);
}

static int compare_set(const void *key, const void *set)
{
	return strcmp(key, ((const struct set *)set)->app);
}

static const struct set *find_set(const struct access *a, const char *app)
{
	return bsearch(app, a->sets, a->set_count, sizeof(*a->sets), compare_set);
}

/* What a set says of a client. */
struct opinion {
	const struct prefix_entry *prefix; /* NULL: none holds it */
	uint32_t of_country;
	uint32_t of_all;
};

static struct opinion ask(const struct set *s, const struct ip *client, int country)
{
	struct opinion o = {.of_country = NO_RULE, .of_all = NO_RULE};

	if (s == NULL)
		return o;
	o.prefix = prefix_map_find(s->prefixes, client);
	if (country != COUNTRY_INDEX_NONE)
		o.of_country = s->of_country[country];
	o.of_all = s->of_all;
	return o;
}

static uint32_t stronger(const struct opinion *own, const struct opinion *every)
{
	if (own->prefix != NULL &&
	    (every->prefix == NULL || own->prefix->prefix.bits >= every->prefix->prefix.bits))
		return own->prefix->value;
	if (every->prefix != NULL)
		return every->prefix->value;
	if (own->of_country != NO_RULE)
		return own->of_country;
	if (every->of_country != NO_RULE)
		return every->of_country;
	return own->of_all != NO_RULE ? own->of_all : every->of_all;
}

const struct access_rule_row *access_find(const struct access *a, const char *app,
                                          const struct ip *client, const char *country)
{
	struct opinion own, every;
	int index;
	uint32_t rule;

	if (a->set_count == 0)
		return NULL;
	index = country_index(country);
	own = ask(app[0] != '\0' ? find_set(a, app) : NULL, client, index);
	every = ask(find_set(a, ""), client, index);
	rule = stronger(&own, &every);
	return rule != NO_RULE ? &a->rules[rule] : NULL;
}
