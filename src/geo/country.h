/* Countries (ISO 3166-1 alpha-2) and the region that each belongs to unless the operator says
 * otherwise. The facts are rows of geo/country_region.def. Pure; any thread. */
#ifndef GEO_COUNTRY_H
#define GEO_COUNTRY_H

#include <stdbool.h>

/* Every pair of capital letters has an index, so a table over countries is an array. */
#define COUNTRY_INDEX_MAX (26 * 26)
#define COUNTRY_INDEX_NONE (-1)

/* 0..COUNTRY_INDEX_MAX-1, or COUNTRY_INDEX_NONE unless two ASCII letters (either case). */
int country_index(const char *code);
/* Is it a row of country_region.def: an assigned ISO 3166-1 code, AN or XK? */
bool country_known(const char *code);
/* The default region ("sa", "us", "eu", "ap"), or NULL where the code is no row. */
const char *country_default_region(const char *code);
/* The English short name, or NULL. */
const char *country_name(const char *code);

#endif
