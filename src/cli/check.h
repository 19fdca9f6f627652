/* `edgeproxy check`: is everything in order for a start? Looks at the environment, the country
 * database, the routing database and the state directory; starts nothing, changes nothing. */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H

/* Prints every problem with what to do about it, then a summary, on standard output. The exit
 * status: 0, or 1 when there is a problem. A problem is what keeps the proxy from starting or some
 * client or row from being served; a warning is what may well be meant, and does not count. */
int check_main(void);

#endif
