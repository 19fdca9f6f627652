/* A census: somebody asks all workers for their sessions, or for some of them to end. Each worker
 * looks over its own, a few in each turn of its loop, so that nobody else waits; what fits is
 * copied into one array, and who is done last wakes who asked.
 *
 * Made and read by one thread (the API's), worked on by the workers; whoever lets go last frees it,
 * so who asked need not wait. */
#ifndef PROXY_CENSUS_H
#define PROXY_CENSUS_H

#include "base/check.h"
#include "base/list.h"
#include "net/addr.h"
#include "net/prefix.h"
#include "proxy/session.h"
#include "route/limits.h"
#include "route/region.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct worker;

/* In one turn of a worker so many sessions are looked at, or so many copied or ended. */
#define CENSUS_LOOKS_A_TURN 256
#define CENSUS_DEEDS_A_TURN 32
/* Records of one census. */
#define CENSUS_RECORDS_MAX 10000

/* "3-1f2e3d4c5b": number of the worker and time of the accept. Names one session of this process
 * for ever. */
struct session_id {
	unsigned worker;
	uint64_t accept_ns;
};
#define SESSION_ID_TEXT_MAX 32
char *session_id_format(const struct session_id *id, char buf[SESSION_ID_TEXT_MAX]);
/* 0 or -EINVAL. */
MUST_CHECK int session_id_parse(const char *text, struct session_id *ret_id);

/* Which sessions are meant: those for which everything that is set holds. */
struct census_filter {
	bool by_id, by_client;
	struct session_id id;
	struct prefix client;
	char backend[BACKEND_ID_MAX + 1]; /* "": any, as below */
	char app[APP_NAME_MAX + 1];       /* the service's, or the backend's where that has none */
	char country[3];
};

struct census_record {
	struct session_id id;
	struct endpoint client;
	struct endpoint backend_addr;
	char backend[BACKEND_ID_MAX + 1]; /* "": none yet */
	char service[sizeof(((struct service *)0)->name)];
	char app[APP_NAME_MAX + 1]; /* "": none yet */
	char country[3];
	region_id region;
	uint8_t state; /* enum session_state */
	uint8_t region_score;
	bool connected; /* connect_us, region_score and from_affinity hold */
	bool from_affinity;
	bool ending;
	uint64_t age_ms;
	uint64_t idle_ms;  /* since a byte last moved */
	uint64_t bytes[2]; /* [CLIENT]: from the client */
	uint32_t connect_us;
	uint32_t queue_us;
	uint16_t retries;
};

struct census;

/* One worker's share. */
struct census_part {
	struct list node; /* in the worker's censuses */
	struct census *census;
};

/* most: records that are kept, 0..CENSUS_RECORDS_MAX. end: those that match are ended (close
 * reason operator) and recorded as they were. wake_fd: an eventfd, which is written to when all
 * workers are done; it is duplicated. 0, -ENOMEM or another -errno. */
MUST_CHECK int census_new(const struct census_filter *filter, bool end, size_t most, int wake_fd,
                          unsigned workers, struct census **ret_census);
/* The one who asked lets go, whether it is done or not. NULL-safe. */
void census_unref(struct census *c);
/* Have all workers looked? Then the next ones hold. */
bool census_is_done(const struct census *c);
const struct census_record *census_records(const struct census *c, size_t *ret_count);
/* How many matched, kept or not; how many were looked at. */
size_t census_matched(const struct census *c);
size_t census_seen(const struct census *c);

/* ---- for the crew and the workers ---- */

/* Worker number n's part; each is finished exactly once, by census_leave() or by the worker. */
struct census_part *census_part(struct census *c, unsigned n);
/* This part is not looked at any more. */
void census_leave(struct census_part *part);
/* One turn's share of the first part in w->censuses. */
void census_turn(struct worker *w);
/* A part has come by mail. */
void census_join(struct worker *w, struct census_part *part);
/* The worker ends: leaves all. */
void census_stop(struct worker *w);

#endif
