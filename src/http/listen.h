/* Where the API listens: a TCP address or a Unix socket. */
#ifndef HTTP_LISTEN_H
#define HTTP_LISTEN_H

#include "base/check.h"
#include "net/addr.h"

#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

#define LISTEN_UNIX_PREFIX "unix:"

struct http_listen {
	bool is_unix;
	struct endpoint addr;     /* TCP; port 0: the kernel picks one */
	struct sockaddr_un local; /* Unix */
	dev_t dev;                /* of the socket's file, once it is open */
	ino_t ino;
	int lock_fd; /* of path_lock.h, while it is open; Unix only */
};

#define LISTEN_ERROR_MAX 320

/* "127.0.0.1:8081", "[::1]:8081", ":8081" or "unix:/run/edgeproxy/api.sock". 0 or -EINVAL. */
MUST_CHECK int http_listen_parse(const char *text, struct http_listen *ret);
/* The same for a path alone. 0 or -EINVAL. */
MUST_CHECK int http_listen_unix(const char *path, struct http_listen *ret);
/* Can only this machine connect there? */
bool http_listen_is_local(const struct http_listen *l);
/* Binds and listens, non-blocking; resolves port 0 in l->addr. A socket's file that nobody listens
 * at any more is replaced, by one process if several try at once; the new one has mode 0660. 0,
 * -EADDRINUSE: it is somebody else's, or another -errno. */
MUST_CHECK int http_listen_open(struct http_listen *l, int *ret_fd);
/* Why http_listen_open() failed with err (-errno), and what helps. */
void http_listen_explain(const struct http_listen *l, int err, char ret_text[LISTEN_ERROR_MAX]);
/* Closes fd, after its file was removed if it is still this socket's. */
void http_listen_close(struct http_listen *l, int fd);

#endif
