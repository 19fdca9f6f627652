/* The kernel does the work: pages come at the first write to them, and madvise() takes them away.
 */
#include "base/lazy_memory.h"

#include <sys/mman.h>
#include <unistd.h>

void *lazy_memory_init(struct lazy_memory *m, size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	*m = (struct lazy_memory){0};
	if (p == MAP_FAILED)
		return NULL;
	/* A huge page would be filled at once. */
	(void)madvise(p, bytes, MADV_NOHUGEPAGE);
	m->start = p;
	m->mapped = bytes;
	return p;
}

void lazy_memory_done(struct lazy_memory *m)
{
	if (m->start != NULL)
		munmap(m->start, m->mapped);
	*m = (struct lazy_memory){0};
}

void lazy_memory_used(struct lazy_memory *m, size_t bytes)
{
	CHECK(bytes <= m->mapped);
	if (bytes > m->filled)
		m->filled = bytes;
}

bool lazy_memory_give_back(struct lazy_memory *m, size_t used)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t keep = (used + page - 1) / page * page;
	size_t from = keep;

	if (m->filled <= keep * 2)
		return false;
	if (m->filled - keep > LAZY_MEMORY_STEP)
		from = (m->filled - LAZY_MEMORY_STEP) / page * page;
	if (madvise(m->start + from, m->filled - from, MADV_DONTNEED) < 0)
		return false;
	m->filled = from;
	return m->filled > keep * 2;
}
