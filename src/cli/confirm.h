/* The question before something that cannot be taken back. */
#ifndef CLI_CONFIRM_H
#define CLI_CONFIRM_H

#include <stdbool.h>
#include <stdint.h>

/* "231 sessions will be reset. Go on? [y/N]" on standard error, answered at standard input. Without
 * a terminal it asks nobody, says that --yes is needed, and is false. */
bool confirm(const char *command, uint64_t count, const char *what);

#endif
