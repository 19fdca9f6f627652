/* SQLite takes some names for other things than files: ":memory:", "", "file:...". A path that
 * begins with / or ./ is none of them. Whoever shows a path to people shows it as it was given. */
#include "control/db_path.h"

#include <stdio.h>

char *db_path_new(const char *path)
{
	char *made;

	return asprintf(&made, "%s%s", path[0] == '/' ? "" : "./", path) >= 0 ? made : NULL;
}
