/* edgeproxy plan FILE.sql: what a change of the routing database would move. */
#ifndef CLI_PLAN_H
#define CLI_PLAN_H

#include "cli/arguments.h"

#define PLAN_FINE 0    /* nobody is worse off */
#define PLAN_HARM 1    /* somebody would be, and the output says who */
#define PLAN_TROUBLE 2 /* there is no plan: arguments, SQL, proxy */

extern const struct command_option plan_options[];
int plan_main(int argc, char **argv);

#endif
