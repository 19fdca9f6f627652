/* The latest lines of the log that are not about one session, for whoever shows what has happened.
 * The log's writer thread puts them in, whole lines at a time; one reader takes them out. What
 * nobody takes gives way to what is newer. */
#ifndef BASE_LOG_RING_H
#define BASE_LOG_RING_H

#include <stddef.h>
#include <stdint.h>

#define LOG_RING_LINES 2048

/* Lines as they are written, each with its end. Lines of sessions are left out. */
void log_ring_note(const char *lines, size_t len);
/* The oldest lines, at most `most`, without their ends; each is the caller's to free(). Returns how
 * many. Any thread, one at a time. */
size_t log_ring_take(char **lines, size_t most);
/* Lines that gave way, or that there was no memory for. Any thread. */
uint64_t log_ring_lost(void);

#endif
