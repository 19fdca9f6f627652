/* Region names as small numbers that stay valid for the life of the process, so that tables,
 * sessions and log lines can keep one without owning text. Bounded: REGIONS_MAX names.
 *
 * region_intern() is for the control thread (or before threads start); region_name() for any thread
 * that got the number from a published table. */
#ifndef ROUTE_REGION_H
#define ROUTE_REGION_H

#include "base/check.h"

#include <stdbool.h>
#include <stdint.h>

typedef uint16_t region_id; /* a number with a name of its own: the one typedef of the tree */

#define REGION_NONE 0

/* 1..REGION_NAME_MAX letters, digits, '_' and '-'. Any thread. */
bool region_name_valid(const char *name);
/* 0, -EINVAL (not valid) or -ENOSPC. Names differ by case. */
MUST_CHECK int region_intern(const char *name, region_id *ret_region);
/* "" for REGION_NONE. */
const char *region_name(region_id region);

#endif
