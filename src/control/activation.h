/* Listening sockets that a service manager opened (socket activation: sd_listen_fds(3)). */
#ifndef CONTROL_ACTIVATION_H
#define CONTROL_ACTIVATION_H

#include "control/listeners.h"

/* Offers them, each for the service of the address that it is bound to, and takes the variables out
 * of the environment. One that is no listening TCP socket is logged and closed. Control thread, at
 * the start, before anything opened a descriptor without close-on-exec. Returns how many. */
unsigned activation_offer(struct listeners *l);

#endif
