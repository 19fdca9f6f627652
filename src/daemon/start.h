/* Starting the running proxy; see run.c for what it does then. */
#ifndef DAEMON_START_H
#define DAEMON_START_H

#include "base/check.h"
#include "daemon/runner.h"

#include <stdint.h>

/* Makes every part of r, whose configuration has been read, and takes over from a predecessor where
 * there is one. started_ns is for the log. 0: clients are accepted; -errno: what is wrong has been
 * logged, and what was made is in r. The control thread, before anything else runs. */
MUST_CHECK int start_proxy(struct runner *r, uint64_t started_ns);

#endif
