/* What a worker is told by other threads: by the control thread through the crew, and by other
 * workers. It reads its mail between two batches of events. */
#ifndef PROXY_MAIL_H
#define PROXY_MAIL_H

#include "base/check.h"
#include "geo/geo_db.h"
#include "net/addr.h"
#include "net/mailbox.h"
#include "route/service.h"
#include "route/table.h"

struct census_part;
struct worker;

enum mail_kind {
	MAIL_TABLE,
	MAIL_GEO,
	MAIL_CLIENT,
	MAIL_SWEEP,
	MAIL_CENSUS,
	MAIL_PLACES,
	MAIL_STOP,
	MAIL_PAUSE,
	MAIL_RESUME,
	MAIL_LEAVE,
};

/* One letter, which its reader frees; of the fields it has those of its kind. */
struct mail {
	struct message message;
	struct table *table;
	struct geo_db *geo;
	struct service *service;
	struct census_part *part;
	struct endpoint peer;
	int fd;
};

/* Any thread. 0 or -ENOMEM. */

/* A reference is taken. */
MUST_CHECK int mail_table(struct worker *w, struct table *table);
MUST_CHECK int mail_geo(struct worker *w, struct geo_db *geo);
/* Another worker hands over a client, with its reference to the service; where that fails, both are
 * still the caller's. */
MUST_CHECK int mail_client(struct worker *w, int fd, const struct endpoint *peer,
                           struct service *service);
/* Look over the sessions: backends are gone or down. */
MUST_CHECK int mail_sweep(struct worker *w);
/* A part of a census, finished in any case. */
MUST_CHECK int mail_census(struct worker *w, struct census_part *part);
/* Sessions of this worker have been given places in the queue. */
MUST_CHECK int mail_places(struct worker *w);
/* Accept what is queued and then no more; sessions go on. */
MUST_CHECK int mail_stop(struct worker *w);
/* Accept no more, at once; what is queued is left to others. Accept again. */
MUST_CHECK int mail_pause(struct worker *w);
MUST_CHECK int mail_resume(struct worker *w);
/* Close what is left and end the thread. */
MUST_CHECK int mail_leave(struct worker *w);

#endif
