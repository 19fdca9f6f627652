/* `edgeproxy status`: the running proxy at a glance. */
#ifndef CLI_STATUS_H
#define CLI_STATUS_H

#include "cli/arguments.h"

extern const struct command_option status_options[];

/* argv[0] is the command's own name. The exit status: of cli/control.h. */
int status_main(int argc, char **argv);

#endif
