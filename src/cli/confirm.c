/* Asks. Anything but y is no. */
#include "cli/confirm.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

bool confirm(const char *command, uint64_t count, const char *what)
{
	char line[16] = "";

	if (!isatty(STDIN_FILENO)) {
		fprintf(stderr, "edgeproxy %s: %" PRIu64 " %s; say --yes to do so\n", command,
		        count, what);
		return false;
	}
	fprintf(stderr, "%" PRIu64 " %s. Go on? [y/N] ", count, what);
	return fgets(line, sizeof(line), stdin) != NULL && (line[0] == 'y' || line[0] == 'Y');
}
