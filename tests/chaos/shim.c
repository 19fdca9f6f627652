/* The faults of a machine, for the fault suite: preloaded (LD_PRELOAD), it stands between the proxy
 * and libc and makes calls fail or come up short by a schedule, and steps the wall clock. The proxy
 * knows nothing of it.
 *
 * The schedule is in a file that CHAOS_SHIM names and that is mapped by both sides: the suite
 * writes rates at any time and reads what was done. At the beginning all rates are 0. Each thread
 * draws from a generator of its own, from the seed and the order in which threads first call.
 *
 * It does only what a kernel may do. Where a socket that is watched by its edges is said to have
 * come up short though there is more, its edge is raised again, as if the rest had come later; and
 * bytes that have been peeked at are there when they are fetched. It trusts its caller to be single
 * threaded for each descriptor. It never changes a byte. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX 65536
#define MILLION 1000000u

/* As CALLS in shim.py. */
enum call { ACCEPT, RECV, SEND, SPLICE, EPOLL_CTL, SOCKET, PIPE, MALLOC, CALLS };

struct schedule {
	uint32_t calls; /* the shim says how many there are, so that both sides mean the same */
	uint32_t seed;
	_Atomic int64_t wall_step_ns;
	struct {
		_Atomic uint32_t fail;  /* of a million calls */
		_Atomic uint32_t scant; /* come up short, or with EAGAIN */
		_Atomic uint64_t failed;
		_Atomic uint64_t scanted;
	} call[CALLS];
};

static struct schedule *schedule;
static atomic_uint threads;
static _Thread_local uint64_t state __attribute__((tls_model("initial-exec")));

/* How a descriptor is watched, and bytes of it that were seen and not yet fetched. */
static struct {
	int epoll;
	struct epoll_event event;
	size_t peeked;
} watch[FDS_MAX];

__attribute__((constructor)) static void map_schedule(void)
{
	const char *path = getenv("CHAOS_SHIM");
	int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p;

	if (fd < 0)
		return;
	p = mmap(NULL, sizeof(*schedule), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return;
	schedule = p;
	schedule->calls = CALLS;
}

/* splitmix64 */
static uint64_t draw(void)
{
	uint64_t z;

	if (state == 0)
		state = ((uint64_t)schedule->seed << 32) + atomic_fetch_add(&threads, 1) + 1;
	z = state += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static bool hit(_Atomic uint32_t *rate, _Atomic uint64_t *count)
{
	uint32_t of_million = atomic_load_explicit(rate, memory_order_relaxed);

	if (of_million == 0 || draw() % MILLION >= of_million)
		return false;
	atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
	return true;
}

/* Sets errno to one of the errors and returns true when this call is to fail. */
static bool fails(enum call call, const int *errors, size_t count)
{
	if (schedule == NULL || !hit(&schedule->call[call].fail, &schedule->call[call].failed))
		return false;
	errno = errors[draw() % count];
	return true;
}
#define FAILS(call, ...) \
	fails(call, (const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

static bool scant(enum call call)
{
	return schedule != NULL && hit(&schedule->call[call].scant, &schedule->call[call].scanted);
}

static bool watched(int fd)
{
	return fd >= 0 && fd < FDS_MAX && watch[fd].epoll > 0;
}

/* Less than len, and at least one byte. */
static size_t less(size_t len)
{
	return len > 1 ? 1 + draw() % (len - 1) : len;
}

#define REAL(name) \
	static __typeof__(&name) real; \
	if (real == NULL) \
	real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static void raise_edge(int fd)
{
	REAL(epoll_ctl);
	int kept = errno;

	real(watch[fd].epoll, EPOLL_CTL_MOD, fd, &watch[fd].event);
	errno = kept;
}

int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	REAL(epoll_ctl);
	int result;

	if (op == EPOLL_CTL_ADD && FAILS(EPOLL_CTL, ENOMEM, ENOSPC))
		return -1;
	result = real(epoll, op, fd, event);
	if (result != 0 || fd < 0 || fd >= FDS_MAX)
		return result;
	/* EPOLLEXCLUSIVE cannot be modified, and level-triggered ones need nothing. */
	watch[fd].epoll = 0;
	if (op != EPOLL_CTL_DEL && (event->events & EPOLLET) && !(event->events & EPOLLEXCLUSIVE)) {
		watch[fd].event = *event;
		watch[fd].epoll = epoll;
	}
	return 0;
}

/* The number may have been another socket's. */
static int fresh(int fd)
{
	if (fd >= 0 && fd < FDS_MAX) {
		watch[fd].epoll = 0;
		watch[fd].peeked = 0;
	}
	return fd;
}

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	REAL(accept4);

	if (FAILS(ACCEPT, EMFILE, ENFILE, ENOBUFS, ENOMEM, EINTR))
		return -1;
	return fresh(real(fd, addr, len, flags));
}

static ssize_t fetched(int fd, ssize_t n, int flags)
{
	if (n <= 0 || fd < 0 || fd >= FDS_MAX)
		return n;
	if (flags & MSG_PEEK)
		watch[fd].peeked = (size_t)n;
	else
		watch[fd].peeked -= (size_t)n < watch[fd].peeked ? (size_t)n : watch[fd].peeked;
	return n;
}

ssize_t recv(int fd, void *buffer, size_t len, int flags)
{
	REAL(recv);
	size_t sure;
	ssize_t n;

	if (!watched(fd))
		return fetched(fd, real(fd, buffer, len, flags), flags);
	sure = watch[fd].peeked;
	if (sure == 0 && FAILS(RECV, ENOMEM))
		return -1;
	if (len <= sure || !scant(RECV))
		return fetched(fd, real(fd, buffer, len, flags), flags);
	if (sure == 0 && draw() % 4 == 0) {
		raise_edge(fd);
		errno = EAGAIN;
		return -1;
	}
	/* An end is no shorter, and what is seen of it is told once. */
	n = fetched(fd, real(fd, buffer, sure + less(len - sure < 4096 ? len - sure : 4096), flags),
	            flags);
	raise_edge(fd);
	return n;
}

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
	REAL(send);
	ssize_t n;

	if (!watched(fd))
		return real(fd, bytes, len, flags);
	if (FAILS(SEND, ENOMEM, ENOBUFS))
		return -1;
	if (!scant(SEND))
		return real(fd, bytes, len, flags);
	if (draw() % 4 == 0) {
		errno = EAGAIN;
		n = -1;
	} else {
		n = real(fd, bytes, less(len), flags);
	}
	raise_edge(fd);
	return n;
}

ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t len, unsigned flags)
{
	REAL(splice);
	int fd = watched(from) ? from : to;
	ssize_t n;

	if (FAILS(SPLICE, ENOMEM))
		return -1;
	if (!watched(fd) || !scant(SPLICE))
		return real(from, from_at, to, to_at, len, flags);
	if (fd == to && draw() % 4 == 0) {
		errno = EAGAIN;
		n = -1;
	} else {
		n = real(from, from_at, to, to_at, less(len), flags);
	}
	raise_edge(fd);
	return n;
}

int socket(int domain, int type, int protocol)
{
	REAL(socket);

	if (FAILS(SOCKET, EMFILE, ENFILE, ENOBUFS, ENOMEM))
		return -1;
	return fresh(real(domain, type, protocol));
}

int pipe2(int fd[2], int flags)
{
	REAL(pipe2);

	if (FAILS(PIPE, EMFILE, ENFILE))
		return -1;
	return real(fd, flags);
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	REAL(clock_gettime);
	int result = real(clock, ret);
	int64_t ns;

	if (result != 0 || clock != CLOCK_REALTIME || schedule == NULL)
		return result;
	ns = (int64_t)ret->tv_sec * 1000000000 + ret->tv_nsec +
	     atomic_load_explicit(&schedule->wall_step_ns, memory_order_relaxed);
	ret->tv_sec = ns / 1000000000;
	ret->tv_nsec = ns % 1000000000;
	return 0;
}

/* ---- memory; a sanitizer has its own, which is asked before this one ---- */

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

void *malloc(size_t size)
{
	return FAILS(MALLOC, ENOMEM) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return FAILS(MALLOC, ENOMEM) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *p, size_t size)
{
	return FAILS(MALLOC, ENOMEM) ? NULL : __libc_realloc(p, size);
}
