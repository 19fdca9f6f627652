/* Is the proxy up? An abstract Unix socket (one name a network namespace) answers each connect with
 * one line and closes. The name is made of the text of EDGEPROXY_LISTEN_ADDR, so the environment
 * that starts a proxy also finds it. */
#ifndef CONTROL_STATUS_H
#define CONTROL_STATUS_H

#include "base/check.h"

#include <stddef.h>
#include <stdint.h>

/* Of one line, its end included. */
#define STATUS_TEXT_MAX 256
/* Callers answered in one call. */
#define STATUS_BURST 16

/* Listens; epoll tells when somebody has called. 0 or -errno (-EADDRINUSE: another proxy of this
 * network namespace has the same EDGEPROXY_LISTEN_ADDR). The caller closes *ret_fd. */
MUST_CHECK int status_open(const char *listen_text, int *ret_fd);
/* Answers whoever waits with line, such as "ready version=3 …\n" or "stopping …\n". Never blocks.
 */
void status_answer(int fd, const char *line);

/* The other side. Waits at most timeout_ms in all. 0 with the line, without its end; -errno
 * (-ECONNREFUSED: there is no proxy; -ETIMEDOUT: it does not answer). */
MUST_CHECK int status_ask(const char *listen_text, uint32_t timeout_ms,
                          char ret_line[STATUS_TEXT_MAX]);

#endif
