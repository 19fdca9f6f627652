/* Admission: whether a client may come in at all, before anything is done for it. The worker's
 * thread only. */
#ifndef PROXY_ADMISSION_H
#define PROXY_ADMISSION_H

#include "base/check.h"
#include "route/policy.h"

#include <stdbool.h>

struct session;

/* At most one line about a full table of clients a worker and this long. */
#define ADMISSION_COMPLAIN_MS 5000

/* May this client come in, from this place? False: the session has been closed. */
MUST_CHECK bool admission_enter(struct session *s, const struct place *place);
/* The session is being closed. */
void admission_leave(struct session *s);

#endif
