/* Descriptors from 3 on, as many as LISTEN_FDS says, when LISTEN_PID is this process. The manager
 * goes on listening there itself, so these sockets are borrowed: this process never ends one, it
 * lets go of them, and clients queue for the next process meanwhile. */
#include "control/activation.h"

#include "base/log.h"

#include <stdlib.h>
#include <unistd.h>

#define FIRST_FD 3
#define SOCKETS_MAX 1024

static long number(const char *variable)
{
	const char *text = getenv(variable);
	char *end;
	long n = text != NULL ? strtol(text, &end, 10) : 0;

	return text != NULL && *text != '\0' && *end == '\0' ? n : 0;
}

unsigned activation_offer(struct listeners *l)
{
	long count = number("LISTEN_FDS");
	unsigned taken = 0;

	if (number("LISTEN_PID") != (long)getpid() || count < 0 || count > SOCKETS_MAX)
		count = 0;
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	for (int fd = FIRST_FD; fd < FIRST_FD + count; fd++) {
		int err = listeners_offer(l, NULL, fd, true);
		struct log_line line;

		taken += err == 0;
		if (err == 0)
			continue;
		log_begin(&line, LOG_WARN, "socket_unusable");
		log_int(&line, "fd", fd);
		log_errno(&line, err);
		log_str(&line, "advice",
		        "only TCP sockets that listen can be passed (ListenStream=)");
		log_end(&line);
		close(fd);
	}
	return taken;
}
