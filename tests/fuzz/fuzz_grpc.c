/* What servers answer to a gRPC check. The input is all that the server sends; its first byte says
 * how long the pieces are. What must hold for every input: it ends with a verdict, a failure has a
 * reason, and the client never sends without bound. */
#include "base/check.h"
#include "fuzz.h"
#include "health/grpc.h"

#include <stdlib.h>
#include <string.h>

#define SENT_MAX (4u << 20)

static void send_all(struct grpc_check *g, size_t *sent)
{
	uint8_t buf[512];
	size_t n;

	while ((n = grpc_check_send(g, buf, sizeof(buf))) > 0) {
		CHECK(n <= sizeof(buf));
		*sent += n;
		CHECK(*sent < SENT_MAX);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum grpc_verdict v = GRPC_MORE;
	struct grpc_check *g;
	size_t sent = 0;
	size_t piece;

	if (size == 0 || grpc_check_new("shop.Cart", "127.0.0.1:1", &g) != 0)
		return 0;
	piece = (size_t)data[0] + 1;
	send_all(g, &sent);
	for (size_t at = 1; at < size && v == GRPC_MORE; at += piece) {
		size_t n = size - at < piece ? size - at : piece;
		uint8_t *copy = malloc(n);

		CHECK(copy != NULL);
		memcpy(copy, data + at, n);
		v = grpc_check_recv(g, copy, n);
		free(copy);
		send_all(g, &sent);
		if (v == GRPC_MORE)
			v = grpc_check_sent(g);
	}
	if (v == GRPC_MORE)
		v = grpc_check_end(g);
	CHECK(v != GRPC_MORE);
	CHECK((v == GRPC_FAILED) == (grpc_check_reason(g)[0] != '\0'));
	grpc_check_free(g);
	return 0;
}
