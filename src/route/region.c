/* Region names are few and come back with every table, so each gets a number once and for all: a
 * session may then outlive its table and still say where it went.
 *
 * The names lie in one static array that only ever grows; a number is handed out after its name is
 * written, and reaches other threads only inside a published table, which is the order that they
 * need. The index from hash to number is the control thread's alone. Nothing is ever freed: at most
 * REGIONS_MAX names. */
#include "route/region.h"

#include "base/hash.h"
#include "route/limits.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Twice the names, so that a probe always ends at a free place. */
#define INDEX_SIZE ((size_t)2 * REGIONS_MAX)

_Static_assert((INDEX_SIZE & (INDEX_SIZE - 1)) == 0, "the index is masked");
_Static_assert(REGIONS_MAX < UINT16_MAX, "a region_id holds every number");

static char names[REGIONS_MAX + 1][REGION_NAME_MAX + 1]; /* [REGION_NONE] is "" */
static region_id name_count;
static region_id name_index[INDEX_SIZE]; /* REGION_NONE: free */

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '-';
}

bool region_name_valid(const char *name)
{
	size_t len = 0;

	while (len <= REGION_NAME_MAX && name_char(name[len]))
		len++;
	return len > 0 && len <= REGION_NAME_MAX && name[len] == '\0';
}

int region_intern(const char *name, region_id *ret_region)
{
	size_t len, i;

	if (!region_name_valid(name))
		return -EINVAL;
	len = strlen(name);
	i = hash_bytes(name, len, 0) & (INDEX_SIZE - 1);
	while (name_index[i] != REGION_NONE) {
		if (strcmp(names[name_index[i]], name) == 0) {
			*ret_region = name_index[i];
			return 0;
		}
		i = (i + 1) & (INDEX_SIZE - 1);
	}
	if (name_count == REGIONS_MAX)
		return -ENOSPC;
	name_index[i] = ++name_count;
	memcpy(names[name_count], name, len + 1);
	*ret_region = name_count;
	return 0;
}

const char *region_name(region_id region)
{
	CHECK(region <= REGIONS_MAX);
	return names[region];
}
