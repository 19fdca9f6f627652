/* `edgeproxy status`: the running proxy at a glance. */
#ifndef CLI_STATUS_H
#define CLI_STATUS_H

/* argv[0] is the command's own name. The exit status: of cli/control.h. */
int status_main(int argc, char **argv);

#endif
