/* `edgeproxy run`: the proxy itself, from its environment to its last session. */
#ifndef DAEMON_RUN_H
#define DAEMON_RUN_H

/* Exit status: 0 after a stop that was asked for; 1 when the start fails, with a line on standard
 * error that says what is wrong and what to do. */
int run_main(void);

#endif
