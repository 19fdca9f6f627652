/* The memory of connection counts. One layout for all: the counts of one process are private pages,
 * those that processes share are a memfd, which lives as long as somebody has it open or mapped.
 *
 * Another process is trusted to be an edgeProxy, not to be this one: before anything is counted,
 * size and magic must be those of this layout. Whoever changes the layout changes the magic.
 *
 * Who counts what, and in which order, is live.c's. */
#include "route/connection_counts.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* "epCNT", and the version of the layout. */
#define MAGIC UINT64_C(0x6570434e54000001)

/* The balancer scans the counts with vector instructions, as plain numbers. */
_Static_assert(sizeof(_Atomic uint32_t) == sizeof(uint32_t), "a count is laid out as a number");

/* NULL: errno says why. */
static struct connection_counts *map(int fd, int flags)
{
	void *p = mmap(NULL, sizeof(struct connection_counts), PROT_READ | PROT_WRITE, flags, fd,
	               0);

	return p == MAP_FAILED ? NULL : p;
}

struct connection_counts *connection_counts_new(void)
{
	struct connection_counts *c = map(-1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);

	/* A huge page would be filled at once. */
	if (c != NULL)
		(void)madvise(c, sizeof(*c), MADV_NOHUGEPAGE);
	return c;
}

int connection_counts_share(const char *name, int *ret_fd, struct connection_counts **ret_counts)
{
	int fd = memfd_create(name, MFD_CLOEXEC);
	struct connection_counts *c = NULL;
	int err;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, sizeof(*c)) == 0)
		c = map(fd, MAP_SHARED);
	if (c == NULL) {
		err = -errno;
		close(fd);
		return err;
	}
	c->magic = MAGIC;
	*ret_fd = fd;
	*ret_counts = c;
	return 0;
}

int connection_counts_map(int fd, struct connection_counts **ret_counts)
{
	struct connection_counts *c;
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -errno;
	if (st.st_size != sizeof(*c))
		return -EPROTO;
	c = map(fd, MAP_SHARED);
	if (c == NULL)
		return -errno;
	if (c->magic != MAGIC) {
		connection_counts_free(c);
		return -EPROTO;
	}
	*ret_counts = c;
	return 0;
}

void connection_counts_free(struct connection_counts *c)
{
	if (c != NULL)
		munmap(c, sizeof(*c));
}

uint32_t connection_counts_subtract(struct connection_counts *c,
                                    const struct connection_counts *part)
{
	uint32_t total = atomic_load_explicit(&part->total, memory_order_relaxed);

	atomic_fetch_sub_explicit(&c->total, total, memory_order_release);
	for (uint32_t i = 0; i < LIVE_SLOTS_MAX; i++) {
		uint32_t n = atomic_load_explicit(&part->by_slot[i], memory_order_relaxed);

		if (n != 0)
			atomic_fetch_sub_explicit(&c->by_slot[i], n, memory_order_release);
	}
	return total;
}
