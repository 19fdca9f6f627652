/* A connection whose congestion control cannot be had is made with the kernel's own, so nothing
 * here fails: it is said once for each table that names it. */
#include "control/congestion.h"

#include "base/log.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What new sockets get. */
static void kernel_default(char name[CONGESTION_NAME_MAX + 1])
{
	socklen_t len = CONGESTION_NAME_MAX;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memset(name, 0, CONGESTION_NAME_MAX + 1);
	if (fd < 0)
		return;
	(void)getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len);
	close(fd);
}

void congestion_apply(const struct listen_socket *socket, const char *of_row,
                      const char *of_environment)
{
	char own[CONGESTION_NAME_MAX + 1];
	const char *name = of_row[0] != '\0' ? of_row : of_environment;

	/* Set even where nothing is asked for: the row may have asked before. */
	if (name == NULL || name[0] == '\0' || socket_set_congestion(socket->fd, name) != 0) {
		kernel_default(own);
		(void)socket_set_congestion(socket->fd, own);
	}
}

struct seen {
	const char *names[CONGESTION_NAMES_MAX];
	size_t count;
};

static void check_name(struct seen *seen, const char *name)
{
	struct log_line l;
	int err;

	if (name[0] == '\0')
		return;
	for (size_t i = 0; i < seen->count; i++)
		if (strcmp(seen->names[i], name) == 0)
			return;
	if (seen->count == CONGESTION_NAMES_MAX)
		return;
	seen->names[seen->count++] = name;
	err = socket_congestion_usable(name);
	if (err == 0)
		return;
	log_begin(&l, LOG_WARN, "congestion_unusable");
	log_str(&l, "name", name);
	log_errno(&l, err);
	log_str(&l, "effect", "the kernel's own congestion control is used");
	log_str(&l, "advice",
	        "see net.ipv4.tcp_available_congestion_control and "
	        "net.ipv4.tcp_allowed_congestion_control");
	log_end(&l);
}

void congestion_check(const struct route_rows *rows)
{
	struct seen seen = {.count = 0};

	for (size_t i = 0; i < rows->service_count; i++)
		check_name(&seen, rows->services[i].congestion);
	for (size_t i = 0; i < rows->backend_count; i++)
		check_name(&seen, rows->backends[i].congestion);
}
