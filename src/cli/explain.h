/* `edgeproxy explain <client-ip>`: where would this client go, and why? Asks the proxy
 * that runs, or the same functions (explain/explanation.h) in a process of its own. */
#ifndef CLI_EXPLAIN_H
#define CLI_EXPLAIN_H

#include "cli/arguments.h"

extern const struct command_option explain_options[];

/* argv[0] is the command's own name, "explain". Reads the environment as `run` does; flags override
 * it. The exit status: 0 (also when no backend takes the client), 1 (the environment, the database
 * or the memory is at fault), 2 (the arguments are). */
int explain_main(int argc, char **argv);

#endif
