/* Runs the scripts of custom checks.
 *
 * What may be run is what the operator has put into one folder; the routing database, which others
 * write, can only name a file there. There is no shell: the file is executed with four arguments.
 * It inherits nothing: no descriptor but /dev/null three times, no variable but those below, no
 * blocked signal. Nothing that it prints is read. It is the leader of a process group, and when it
 * ends, or when its time is over, the whole group is killed, so that what it started does not stay.
 * Only a process that leaves the group on purpose gets away.
 *
 * The group outlives its leader until the leader is reaped, and its number cannot be given to
 * anybody else before: so it is killed first and reaped then. */
#include "health/script.h"

#include "base/spawn.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define VALUE_MAX 160
#define VARIABLES_MAX 12

/* The environment of a script: HAProxy's names. */
struct variables {
	char text[VARIABLES_MAX][VALUE_MAX];
	char *list[VARIABLES_MAX + 1];
	size_t count;
};

__attribute__((format(printf, 2, 3))) static void add(struct variables *v, const char *format, ...)
{
	va_list args;

	CHECK(v->count < VARIABLES_MAX);
	va_start(args, format);
	vsnprintf(v->text[v->count], VALUE_MAX, format, args);
	va_end(args);
	v->list[v->count] = v->text[v->count];
	v->list[++v->count] = NULL;
}

static void fill_variables(struct variables *v, const struct script_about *about, const char *ip)
{
	add(v, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	add(v, "HAPROXY_PROXY_NAME=%s", about->app);
	add(v, "HAPROXY_PROXY_ADDR=NOT_USED");
	add(v, "HAPROXY_PROXY_PORT=NOT_USED");
	add(v, "HAPROXY_SERVER_NAME=%s", about->backend);
	add(v, "HAPROXY_SERVER_ADDR=%s", ip);
	add(v, "HAPROXY_SERVER_PORT=%u", about->addr.port);
	add(v, "HAPROXY_SERVER_CURCONN=%u", about->connections);
	add(v, "HAPROXY_SERVER_MAXCONN=%u", about->hard_limit);
	add(v, "HAPROXY_SERVER_SSL=0");
	add(v, "HAPROXY_SERVER_PROTO=tcp");
}

int script_start(const char *dir, const char *name, const struct script_about *about,
                 struct script *ret_script)
{
	struct script s = {.fd = -1};
	struct variables variables = {.count = 0};
	char path[PATH_MAX];
	char ip[IP_TEXT_MAX];
	char port[8];
	char unused[] = "NOT_USED";
	char *argv[] = {path, unused, unused, ip, port, NULL};
	int err;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	ip_format(&about->addr.ip, ip);
	snprintf(port, sizeof(port), "%u", about->addr.port);
	fill_variables(&variables, about, ip);
	err = spawn_start(&(struct spawn){.path = path,
	                                  .argv = argv,
	                                  .env = variables.list,
	                                  .link = -1,
	                                  .apart = true},
	                  &s.pid);
	if (err != 0)
		return err;
	s.fd = (int)syscall(SYS_pidfd_open, s.pid, 0);
	if (s.fd < 0) {
		err = -errno;
		(void)kill(-s.pid, SIGKILL);
		(void)waitpid(s.pid, NULL, 0);
		return err;
	}
	*ret_script = s;
	return 0;
}

void script_kill(struct script *s)
{
	s->killed = true;
	(void)kill(-s->pid, SIGKILL);
}

bool script_reap(struct script *s, int *ret_wait_status)
{
	siginfo_t info = {.si_pid = 0};

	/* Has it ended? Left unreaped: its group must not change hands before it is killed. */
	if (waitid(P_PID, (id_t)s->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	    info.si_pid == 0)
		return false;
	(void)kill(-s->pid, SIGKILL);
	if (waitpid(s->pid, ret_wait_status, 0) != s->pid)
		*ret_wait_status =
			0xff00; /* somebody else took it: nothing is known, so it failed */
	close(s->fd);
	s->fd = -1;
	return true;
}
