/* A bad row stays bad through a hundred reloads; its line is worth writing once, and again when
 * something about it changes. A complaint is remembered by a hash of everything that its line says.
 * What is remembered and what is written are bounded, so a database full of rubbish costs a fixed
 * number of lines and bytes. */
#include "control/quarantine_log.h"

#include "base/hash.h"
#include "base/log.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int quarantine_log_init(struct quarantine_log *q)
{
	memset(q, 0, sizeof(*q));
	q->old = calloc(QUARANTINE_REMEMBER_MAX, sizeof(*q->old));
	q->fresh = calloc(QUARANTINE_REMEMBER_MAX, sizeof(*q->fresh));
	if (q->old != NULL && q->fresh != NULL)
		return 0;
	quarantine_log_done(q);
	return -ENOMEM;
}

void quarantine_log_done(struct quarantine_log *q)
{
	free(q->old);
	free(q->fresh);
	memset(q, 0, sizeof(*q));
}

static uint64_t complaint_hash(const struct bad_row *bad)
{
	const char *const texts[] = {bad->table, bad->row, bad->error.column, bad->error.value,
	                             bad->error.why};
	uint64_t hash = 0;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		hash = hash_bytes(texts[i], strlen(texts[i]) + 1, hash);
	return hash;
}

static int compare_hashes(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

void quarantine_log_begin(struct quarantine_log *q)
{
	q->fresh_count = 0;
	q->bad = 0;
	q->lines = 0;
	q->unlogged = 0;
}

void quarantine_log_row(void *arg, const struct bad_row *bad)
{
	struct quarantine_log *q = arg;
	uint64_t hash = complaint_hash(bad);
	struct log_line l;

	q->bad++;
	if (q->fresh_count == QUARANTINE_REMEMBER_MAX)
		return;
	q->fresh[q->fresh_count++] = hash;
	if (bsearch(&hash, q->old, q->old_count, sizeof(hash), compare_hashes) != NULL)
		return;
	if (q->lines == QUARANTINE_LOG_MAX) {
		q->unlogged++;
		return;
	}
	q->lines++;
	log_begin(&l, LOG_WARN, "row_quarantined");
	log_str(&l, "table", bad->table);
	log_str(&l, "row", bad->row);
	log_str(&l, "column", bad->error.column);
	log_str(&l, "value", bad->error.value);
	log_str(&l, "why", bad->error.why);
	log_end(&l);
}

void quarantine_log_end(struct quarantine_log *q)
{
	uint64_t *swap = q->old;
	bool forgotten = q->bad > q->fresh_count && q->bad != q->old_bad;
	struct log_line l;

	if (q->unlogged > 0 || forgotten) {
		log_begin(&l, LOG_WARN, "rows_quarantined");
		log_uint(&l, "rows", q->bad);
		log_uint(&l, "logged", q->lines);
		log_str(&l, "advice", "edgeproxy check prints them all");
		log_end(&l);
	}
	qsort(q->fresh, q->fresh_count, sizeof(*q->fresh), compare_hashes);
	q->old = q->fresh;
	q->old_count = q->fresh_count;
	q->old_bad = q->bad;
	q->fresh = swap;
}
