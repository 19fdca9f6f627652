/* Says once what is wrong with each bad row, however often the database is read. The control thread
 * only. */
#ifndef CONTROL_QUARANTINE_LOG_H
#define CONTROL_QUARANTINE_LOG_H

#include "control/row_reader.h"

#include <stddef.h>
#include <stdint.h>

/* Lines for one read; the rest is one line with their number. */
#define QUARANTINE_LOG_MAX 100
/* Complaints that are remembered from one read to the next. */
#define QUARANTINE_REMEMBER_MAX 4096

struct quarantine_log {
	uint64_t *old;   /* hashes of the complaints of the read before, sorted */
	uint64_t *fresh; /* of this one */
	size_t old_count;
	size_t fresh_count;
	size_t bad;      /* rows of this read */
	size_t old_bad;  /* of the read before */
	size_t lines;    /* written for this read */
	size_t unlogged; /* new complaints of this read that got none */
};

/* 0 or -ENOMEM. */
MUST_CHECK int quarantine_log_init(struct quarantine_log *q);
void quarantine_log_done(struct quarantine_log *q);

void quarantine_log_begin(struct quarantine_log *q);
/* For store_read(): arg is the struct quarantine_log. */
void quarantine_log_row(void *arg, const struct bad_row *bad);
/* The read is over, well or not. */
void quarantine_log_end(struct quarantine_log *q);

#endif
