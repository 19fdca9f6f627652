/* A gRPC health check, grpc.health.v1.Health/Check over HTTP/2 in the clear (h2c, prior knowledge),
 * as bytes: what is to be sent, and a reader of what comes back. Without I/O; the owner thread
 * only.
 */
#ifndef HEALTH_GRPC_H
#define HEALTH_GRPC_H

#include "base/check.h"

#include <stddef.h>
#include <stdint.h>

/* More of a reply than this is not read: frames, headers and message together. */
#define GRPC_REPLY_MAX 65536
/* The message itself; a real one has two bytes. */
#define GRPC_MESSAGE_MAX 256
#define GRPC_REASON_MAX 96

enum grpc_verdict {
	GRPC_MORE, /* correct so far */
	GRPC_SERVING,
	GRPC_FAILED, /* with a reason */
};

struct grpc_check;

/* service: "" for the server as a whole, at most CHECK_SERVICE_MAX bytes. authority: the value of
 * :authority. 0 or -ENOMEM. */
MUST_CHECK int grpc_check_new(const char *service, const char *authority,
                              struct grpc_check **ret_check);
void grpc_check_free(struct grpc_check *g); /* NULL-safe */

/* The next bytes to send, at most size; returns how many, 0: nothing for now. */
size_t grpc_check_send(struct grpc_check *g, uint8_t *buf, size_t size);
/* The next bytes that came. Once it is not GRPC_MORE it is final. */
enum grpc_verdict grpc_check_recv(struct grpc_check *g, const uint8_t *data, size_t len);
/* To be asked when everything is sent: GRPC_FAILED once the library has given up the connection,
 * for instance because the server does not speak HTTP/2. */
enum grpc_verdict grpc_check_sent(struct grpc_check *g);
/* The connection has ended: GRPC_SERVING where that was known already, else GRPC_FAILED. */
enum grpc_verdict grpc_check_end(struct grpc_check *g);
/* Why it is GRPC_FAILED, in words; "" before. */
const char *grpc_check_reason(const struct grpc_check *g);

#endif
