/* Read from /proc/self and clocks, which may block for a moment: not for workers. Descriptors are
 * counted by the size of /proc/self/fd where the kernel (6.2 and later) tells it so, since walking
 * through hundreds of thousands of them takes a while. */
#include "observe/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Fields of proc_pid_stat(5) from the end of the name on: the start is number 22, the state 3. */
#define FIELDS_TO_START 19

static uint64_t clock_us(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts) != 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static uint64_t count_fds(void)
{
	struct stat st;
	uint64_t count = 0;
	DIR *dir;

	if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
		return (uint64_t)st.st_size;
	dir = opendir("/proc/self/fd");
	if (dir == NULL)
		return 0;
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count > 3 ? count - 3 : 0; /* ".", ".." and the folder's own */
}

static void read_memory(struct process_figures *ret)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	unsigned long long all, resident;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f == NULL)
		return;
	if (fscanf(f, "%llu %llu", &all, &resident) == 2) {
		ret->virtual_bytes = all * page;
		ret->resident_bytes = resident * page;
	}
	fclose(f);
}

/* Clock ticks after the boot; 0: unknown. The name may hold anything, a bracket too. */
static uint64_t start_ticks(void)
{
	unsigned long long ticks = 0;
	char text[1024];
	FILE *f = fopen("/proc/self/stat", "re");
	size_t len;
	char *p;

	if (f == NULL)
		return 0;
	len = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[len] = '\0';
	p = strrchr(text, ')');
	for (int i = 0; p != NULL && i <= FIELDS_TO_START; i++)
		p = strchr(p + 1, ' ');
	if (p == NULL || sscanf(p, "%llu", &ticks) != 1)
		return 0;
	return ticks;
}

void process_read(struct process_figures *ret)
{
	struct rlimit limit;

	*ret = (struct process_figures){
		.cpu_us = clock_us(CLOCK_PROCESS_CPUTIME_ID),
		.open_fds = count_fds(),
	};
	read_memory(ret);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		ret->max_fds = limit.rlim_cur;
}

uint64_t process_start_us(void)
{
	uint64_t ticks = start_ticks();

	if (ticks == 0)
		return 0;
	return clock_us(CLOCK_REALTIME) - clock_us(CLOCK_BOOTTIME) +
	       ticks * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
}
