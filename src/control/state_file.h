/* The state of the process (control/state.h) as a file in the state directory, for the next start.
 * Written a slice a tick, so that the control thread has time for everything else. The control
 * thread only. */
#ifndef CONTROL_STATE_FILE_H
#define CONTROL_STATE_FILE_H

#include "base/check.h"
#include "control/state.h"

#include <stdbool.h>
#include <stdint.h>

#define STATE_FILE_NAME "state.bin"
/* One tick may work on the file for so long. */
#define STATE_FILE_SLICE_MS 5
/* The same failure is logged again after so long, and a save that failed is tried again. */
#define STATE_FILE_REPEAT_MS 60000

struct state_file_options {
	const char *state_dir;  /* "": nothing is kept */
	uint64_t save_every_ms; /* 0: only at the end */
	struct live *live;
	struct affinity *affinity;
	uint64_t ttl_ms;
	struct fault_watch *faults;
};

struct state_file;

/* What options points to outlives it. 0 or -ENOMEM. */
MUST_CHECK int state_file_new(const struct state_file_options *options, struct state_file **ret);
/* Gives up a save that is under way. NULL-safe. */
void state_file_free(struct state_file *f);

/* Takes over what the last process left, if there is something; logs what came of it. */
void state_file_load(struct state_file *f);
/* Saves when it is time, and something has changed. */
void state_file_tick(struct state_file *f, uint64_t now_ms);
/* Gives up a save that is under way: another process is about to write. */
void state_file_cancel(struct state_file *f);
/* Saves now, to the end; logs a failure. */
void state_file_save(struct state_file *f);

#endif
