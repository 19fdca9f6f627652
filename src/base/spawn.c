/* As posix_spawn() does it, the child runs on memory of its parent, which waits until the program
 * has begun. Unlike there it also has the parent's very table of descriptors, not a copy, and
 * leaves it for one of its own that has only the lowest: close_range() makes that in one step.
 *
 * So a link must be among the lowest: for a moment it is the parent's standard input, which nobody
 * reads.
 *
 * The child asks the kernel directly: functions of the C library keep books (sanitizers do), and
 * its memory is not its own. */
#include "base/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_BYTES (64u << 10)
#define OWN_FD 3 /* and whatever is above it is not the program's */

#define UNWATCHED __attribute__((no_sanitize("address", "thread", "undefined")))

/* The kernel's sigset_t. */
typedef uint64_t signal_mask;

struct child {
	const struct spawn *what;
	unsigned descriptors; /* there may be */
	signal_mask mask;     /* of the program */
	int err;              /* positive, where the program has not begun */
};

UNWATCHED static int own_descriptors(const struct child *c)
{
	if (syscall(SYS_close_range, OWN_FD, UINT_MAX, CLOSE_RANGE_UNSHARE) == 0)
		return 0;
	/* An older kernel (before Linux 5.9): there are copies for a moment. */
	if (syscall(SYS_unshare, CLONE_FILES) != 0)
		return -1;
	for (unsigned fd = OWN_FD; fd < c->descriptors; fd++)
		(void)syscall(SYS_close, fd);
	return 0;
}

UNWATCHED static int open_nothing(int fd)
{
	int flags = fd == STDIN_FILENO ? O_RDONLY : O_WRONLY;
	int nothing;

	(void)syscall(SYS_close, fd);
	nothing = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", flags, 0);
	if (nothing < 0 || nothing == fd) /* the lowest that is free */
		return nothing;
	return (int)syscall(SYS_dup3, nothing, fd, 0);
}

UNWATCHED static int set_descriptors(const struct spawn *what)
{
	if (what->link >= 0 && syscall(SYS_dup3, STDIN_FILENO, SPAWN_LINK_FD, 0) < 0)
		return -1;
	if (what->link >= 0 || what->apart)
		if (open_nothing(STDIN_FILENO) < 0)
			return -1;
	if (!what->apart)
		return 0;
	return open_nothing(STDOUT_FILENO) < 0 ? -1 : open_nothing(STDERR_FILENO);
}

/* What the parent handles is handled by default from the exec on; what it ignores would stay so. */
UNWATCHED static void set_signals(const struct child *c)
{
	static const uint64_t by_default[8]; /* as the kernel has a struct sigaction */

	for (int number = 1; number < _NSIG; number++)
		if (c->what->apart || number == SIGPIPE || number == SIGXFSZ)
			(void)syscall(SYS_rt_sigaction, number, by_default, NULL, sizeof(c->mask));
	(void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &c->mask, NULL, sizeof(c->mask));
}

UNWATCHED static int prepare(const struct child *c)
{
	if (own_descriptors(c) != 0)
		return -1;
	if (c->what->apart && (syscall(SYS_setpgid, 0, 0) != 0 || syscall(SYS_chdir, "/") != 0))
		return -1;
	return set_descriptors(c->what) < 0 ? -1 : 0;
}

UNWATCHED static int run_child(void *arg)
{
	struct child *c = arg;

	if (prepare(c) == 0) {
		set_signals(c);
		(void)syscall(SYS_execve, c->what->path, c->what->argv, c->what->env);
	}
	c->err = errno;
	(void)syscall(SYS_exit, 1);
	return 1;
}

/* clone(), by the other name that the C library has for it: for the first one the thread sanitizer
 * puts its own, which takes every child for a process with memory of its own. */
int __clone(int (*run)(void *), void *stack, int flags, void *arg, ...);

static unsigned descriptors_max(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < 1u << 20
	               ? (unsigned)limit.rlim_max
	               : 1u << 20;
}

static int start(const struct spawn *what, pid_t *ret_pid)
{
	static const signal_mask all = ~UINT64_C(0);
	struct child c = {.what = what, .descriptors = descriptors_max()};
	signal_mask before;
	pid_t pid;
	uint8_t *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
	                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	if (stack == MAP_FAILED)
		return -errno;
	(void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof(all));
	c.mask = what->apart ? 0 : before;
	pid = __clone(run_child, stack + STACK_BYTES,
	              CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, &c);
	if (pid < 0)
		c.err = errno;
	(void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(before));
	munmap(stack, STACK_BYTES);
	if (c.err == 0) {
		*ret_pid = pid;
		return 0;
	}
	if (pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			continue;
	return -c.err;
}

int spawn_start(const struct spawn *what, pid_t *ret_pid)
{
	int saved, err;

	if (what->link < 0)
		return start(what, ret_pid);
	saved = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, OWN_FD);
	if (saved < 0)
		return -errno;
	err = dup2(what->link, STDIN_FILENO) < 0 ? -errno : start(what, ret_pid);
	(void)dup2(saved, STDIN_FILENO);
	close(saved);
	return err;
}
