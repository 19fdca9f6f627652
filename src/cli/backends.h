/* `edgeproxy backends`, and what an operator does to one: `drain`, `ready`, `maint`. */
#ifndef CLI_BACKENDS_H
#define CLI_BACKENDS_H

#include "cli/arguments.h"

extern const struct command_option backends_options[];
extern const struct command_option backend_state_options[];

/* argv[0] is the command's own name. The exit status: of cli/control.h. */
int backends_main(int argc, char **argv);
/* `drain`, `ready` or `maint`, as argv[0] says. */
int backend_state_main(int argc, char **argv);

#endif
