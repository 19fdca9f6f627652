/* `edgeproxy sessions`: who is connected, and `edgeproxy sessions end`: an end for some. */
#ifndef CLI_SESSIONS_H
#define CLI_SESSIONS_H

#include "cli/arguments.h"

extern const struct command_option sessions_options[];

/* argv[0] is the command's own name. The exit status: of cli/control.h. */
int sessions_main(int argc, char **argv);

#endif
