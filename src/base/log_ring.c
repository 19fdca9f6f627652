/* A ring of copies, under a lock of its own that no worker ever takes: the log's writer thread
 * and one reader share it. Sessions are told by the third field of a line, where log_begin() puts
 * the event; their lines may be many, and the flight recorder knows of them. */
#include "base/log_ring.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static struct {
	pthread_mutex_t lock;
	char *lines[LOG_RING_LINES];
	size_t first;
	size_t count;
	uint64_t lost;
} ring = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Is this the event of the line? In both formats it comes behind time and level. */
static bool has_event(const char *line, size_t len, const char *text)
{
	const char *at = memmem(line, len, "event", 5);
	size_t n = strlen(text);

	return at != NULL && (size_t)(line + len - at) >= n && memcmp(at, text, n) == 0;
}

static bool is_about_session(const char *line, size_t len)
{
	return has_event(line, len, "event=session ") || has_event(line, len, "event=connect ") ||
	       has_event(line, len, "event\":\"session\"") ||
	       has_event(line, len, "event\":\"connect\"");
}

static void put(const char *line, size_t len)
{
	char *copy = strndup(line, len);
	size_t at;

	pthread_mutex_lock(&ring.lock);
	if (copy == NULL || ring.count == LOG_RING_LINES)
		ring.lost++;
	if (copy != NULL && ring.count == LOG_RING_LINES) {
		free(ring.lines[ring.first]);
		ring.first = (ring.first + 1) % LOG_RING_LINES;
		ring.count--;
	}
	if (copy != NULL) {
		at = (ring.first + ring.count++) % LOG_RING_LINES;
		ring.lines[at] = copy;
	}
	pthread_mutex_unlock(&ring.lock);
}

void log_ring_note(const char *lines, size_t len)
{
	while (len > 0) {
		const char *end = memchr(lines, '\n', len);
		size_t n = end != NULL ? (size_t)(end - lines) : len;

		if (n > 0 && !is_about_session(lines, n))
			put(lines, n);
		n += end != NULL;
		lines += n;
		len -= n;
	}
}

size_t log_ring_take(char **lines, size_t most)
{
	size_t n = 0;

	pthread_mutex_lock(&ring.lock);
	while (n < most && ring.count > 0) {
		lines[n++] = ring.lines[ring.first];
		ring.lines[ring.first] = NULL;
		ring.first = (ring.first + 1) % LOG_RING_LINES;
		ring.count--;
	}
	pthread_mutex_unlock(&ring.lock);
	return n;
}

uint64_t log_ring_lost(void)
{
	uint64_t lost;

	pthread_mutex_lock(&ring.lock);
	lost = ring.lost;
	pthread_mutex_unlock(&ring.lock);
	return lost;
}
