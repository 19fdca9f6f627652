/* `edgeproxy bindings`: which clients have which backend, and `edgeproxy bindings clear`. */
#ifndef CLI_BINDINGS_H
#define CLI_BINDINGS_H

#include "cli/arguments.h"

extern const struct command_option bindings_options[];

/* argv[0] is the command's own name. The exit status: of cli/control.h. */
int bindings_main(int argc, char **argv);

#endif
