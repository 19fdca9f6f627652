/* Who watches: the streams of GET /api/v1/live. Once a second, and only while somebody is there,
 * one snapshot is made for all of them. A viewer who is slow misses snapshots; each holds on to one
 * at most. The API thread. */
#ifndef API_VIEWERS_H
#define API_VIEWERS_H

#include <stddef.h>
#include <stdint.h>

/* More are turned away. */
#define VIEWERS_MAX 32
#define VIEWERS_SNAPSHOT_MS 1000
/* What a browser is told to wait before it comes back. */
#define VIEWERS_RETRY_MS 2000

struct core;
struct reply;
struct viewers;

/* NULL: out of memory. */
struct viewers *viewers_new(void);
/* After every stream has ended. NULL-safe. */
void viewers_free(struct viewers *v);
/* Makes the next snapshot when it is due. */
void viewers_tick(struct viewers *v, const struct core *c, uint64_t now_ms);
/* Answers with a stream, or says why not. */
void viewers_add(struct viewers *v, const struct core *c, struct reply *r);

#endif
