/* Are there places for what the environment says is to be opened at the start: the access log, and
 * the sockets of the API, of metrics and of the command line? Nothing is opened or made. */
#ifndef CLI_CHECK_PLACES_H
#define CLI_CHECK_PLACES_H

#include "config/config.h"

/* Called for each fault: what is wrong, and what to do. Not fatal: a service manager may yet make
 * the folder. */
struct places_report {
	void (*fault)(void *arg, bool fatal, const char *advice, const char *text);
	void *arg;
};

/* Doors whose option cannot be read are left to api_check(). */
void check_places(const struct config *c, const struct places_report *report);

#endif
