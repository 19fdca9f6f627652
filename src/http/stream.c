/* Streams on top of libmicrohttpd: a response with a callback, of a connection that is suspended
 * while there is nothing to send. A suspended connection is not polled, so that a client has left
 * is seen only when the next bytes are for it. */
#include "http/stream.h"

#include "base/clock.h"

#include <microhttpd.h>
#include <sys/socket.h>

/* Asked for at once. */
#define STREAM_BLOCK 8192
/* What the kernel may keep of it: who is slow should see what is new late, not all that is old. */
#define STREAM_SEND_BUFFER 65536

void stream_wake(struct stream *s)
{
	if (!s->asleep)
		return;
	s->asleep = false;
	s->moved_ms = clock_now_ms();
	MHD_resume_connection(s->connection);
}

static ssize_t on_read(void *arg, uint64_t at, char *to, size_t room)
{
	struct stream *s = arg;
	ssize_t n = s->read(s, to, room);

	(void)at;
	s->moved_ms = clock_now_ms();
	if (n == STREAM_END)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (n == STREAM_LATER) {
		s->asleep = true;
		MHD_suspend_connection(s->connection);
	}
	return n;
}

static void on_free(void *arg)
{
	struct stream *s = arg;

	*s->held = NULL;
	s->free(s);
}

static void keep_buffer_small(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	int bytes = STREAM_SEND_BUFFER;

	if (info != NULL) /* without it there is just more of the past */
		(void)setsockopt(info->connect_fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

struct MHD_Response *stream_response(struct stream *s, struct MHD_Connection *connection,
                                     struct stream **held)
{
	struct MHD_Response *response;

	s->connection = connection;
	s->held = held;
	s->asleep = false;
	s->moved_ms = clock_now_ms();
	*held = s;
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_read, s,
	                                             on_free);
	if (response == NULL)
		on_free(s);
	else
		keep_buffer_small(connection);
	return response;
}
