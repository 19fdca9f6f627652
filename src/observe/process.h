/* What the kernel says of this process, in the units of Prometheus' standard process metrics. Any
 * thread. */
#ifndef OBSERVE_PROCESS_H
#define OBSERVE_PROCESS_H

#include <stdint.h>

/* 0 for what could not be found out. */
struct process_figures {
	uint64_t cpu_us;
	uint64_t resident_bytes;
	uint64_t virtual_bytes;
	uint64_t open_fds;
	uint64_t max_fds;
};

void process_read(struct process_figures *ret);
/* When it started, in microseconds since 1970; 0: unknown. Ask once: it is found by clocks, so two
 * answers differ a little. */
uint64_t process_start_us(void);

#endif
