/* Countries: what geo/country_region.def says, made searchable.
 *
 * Trusts nothing about the text that it is asked about: a code comes from a database file or from
 * an operator's table. Never guesses: a code that is not a row has neither a region nor a name, so
 * that an unknown client stays one without a region. Whether two letters are a code at all
 * (country_index) is kept apart from whether that code is assigned (country_known), because an
 * operator may give a region to a code of his own, such as those from XA to XZ. */
#include "geo/country.h"

#include <stddef.h>

struct country {
	char code[3];
	const char *name;
	const char *region;
};

static const struct country countries[] = {
#define COUNTRY(code, name, region) {#code, name, region},
#include "geo/country_region.def"
#undef COUNTRY
};

/* 0..25, or -1. Not isalpha(): that one asks the locale. */
static int letter_index(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a';
	return -1;
}

int country_index(const char *code)
{
	int first = letter_index(code[0]);
	int second = first < 0 ? -1 : letter_index(code[1]);

	if (second < 0 || code[2] != '\0')
		return COUNTRY_INDEX_NONE;
	return first * 26 + second;
}

static const struct country *country_find(const char *code)
{
	int index = country_index(code);
	size_t low = 0, high = sizeof(countries) / sizeof(countries[0]);

	if (index == COUNTRY_INDEX_NONE)
		return NULL;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int here = country_index(countries[middle].code);

		if (here == index)
			return &countries[middle];
		if (here < index)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

bool country_known(const char *code)
{
	return country_find(code) != NULL;
}

const char *country_default_region(const char *code)
{
	const struct country *c = country_find(code);

	return c ? c->region : NULL;
}

const char *country_name(const char *code)
{
	const struct country *c = country_find(code);

	return c ? c->name : NULL;
}
