/* `edgeproxy healthcheck`: is the proxy of this environment up? For container and service managers.
 */
#ifndef CLI_HEALTHCHECK_H
#define CLI_HEALTHCHECK_H

/* How long the proxy may take to answer. */
#define HEALTHCHECK_TIMEOUT_MS 2000

/* The exit status: 0 only when the proxy says that it is ready; 1 when it says something else or
 * nothing, or when the environment is wrong. */
int healthcheck_main(void);

#endif
