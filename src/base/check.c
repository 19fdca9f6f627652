/* The end of a program that found a bug in itself: say where, then abort so that a core is left. */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *condition, const char *file, int line)
{
	fprintf(stderr, "CHECK failed: %s (%s:%d)\n", condition, file, line);
	abort();
}
