/* The protocol is one datagram to the Unix socket that NOTIFY_SOCKET names; "@" stands for the NUL
 * of an abstract name. */
#include "control/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define TEXT_MAX 512

/* False: there was no room in time. Where nobody listens, nothing is missed. */
static bool send_within(const char *text, int wait_ms)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t len = path != NULL ? strlen(path) : 0;
	struct timeval wait = {.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000};
	bool heard;
	int fd;

	if (len < 2 || len >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
		return true;
	memcpy(to.sun_path, path, len);
	if (path[0] == '@')
		to.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return true;
	/* Without a limit of time a send would wait for ever: then it does not wait at all. */
	if (wait_ms > 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) != 0)
		wait_ms = 0;
	heard = sendto(fd, text, strlen(text), MSG_NOSIGNAL | (wait_ms == 0 ? MSG_DONTWAIT : 0),
	               (struct sockaddr *)&to,
	               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) >= 0 ||
	        errno != EAGAIN;
	close(fd);
	return heard;
}

void notify_send(const char *format, ...)
{
	char text[TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	(void)send_within(text, NOTIFY_WAIT_MS);
}

bool notify_try(const char *text)
{
	return send_within(text, 0);
}

void notify_alive(void)
{
	(void)send_within("WATCHDOG=1", 0);
}

uint64_t notify_watchdog_ms(void)
{
	const char *usec = getenv("WATCHDOG_USEC");
	const char *pid = getenv("WATCHDOG_PID");
	unsigned long long n;

	if (usec == NULL || (pid != NULL && strtol(pid, NULL, 10) != (long)getpid()))
		return 0;
	n = strtoull(usec, NULL, 10) / 2000;
	return n == 0 && *usec != '\0' && *usec != '0' ? 1 : (uint64_t)n;
}
