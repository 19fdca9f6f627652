/* edgeproxy events: the running proxy's flight recorder. Exit statuses of cli/control.h. */
#ifndef CLI_EVENTS_H
#define CLI_EVENTS_H

#include "cli/arguments.h"

extern const struct command_option events_options[];
int events_main(int argc, char **argv);

#endif
