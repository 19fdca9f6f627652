/* edgeproxy top: the running proxy, live. Exit statuses of cli/control.h. */
#ifndef CLI_TOP_H
#define CLI_TOP_H

#include "cli/arguments.h"

extern const struct command_option top_options[];
int top_main(int argc, char **argv);

#endif
