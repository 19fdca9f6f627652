/* Text in Prometheus' exposition format 0.0.4, family by family: names, types and labels are the
 * rows of metrics.def, so no sample can have others. Pure; one thread at a time. */
#ifndef OBSERVE_EXPOSITION_H
#define OBSERVE_EXPOSITION_H

#include "base/histogram.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPOSITION_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
/* No text is longer. */
#define EXPOSITION_MAX_BYTES ((size_t)512 << 20)
#define METRIC_LABELS_MAX 4

enum metric {
#define METRIC(id, name, type, unit, labels, help) METRIC_##id,
#include "observe/metrics.def"
#undef METRIC
	METRIC_COUNT
};

struct exposition_label {
	const char *name;
	size_t len;
};

/* Zeroed: empty. */
struct exposition {
	char *text; /* malloc'd: the owner's to free() */
	size_t len;
	size_t size;
	bool failed; /* no memory, or too long: the text is not whole */

	const char *name; /* of the metric whose samples come */
	size_t name_len;
	struct exposition_label labels[METRIC_LABELS_MAX];
	size_t label_count;
};

/* HELP and TYPE of a metric, whose samples follow. Each metric once. */
void exposition_metric(struct exposition *e, enum metric metric);

/* A sample of it. values: one for each of its labels; NULL: the sample lacks that label. Values may
 * hold any bytes: what is no UTF-8 comes as U+FFFD and two hexadecimal digits a byte, and so does
 * U+FFFD itself, so that different values stay different. */
void exposition_uint(struct exposition *e, const char *const *values, uint64_t value);
/* Microseconds, written as seconds. */
void exposition_us(struct exposition *e, const char *const *values, uint64_t us);
/* All series of a histogram. */
void exposition_histogram(struct exposition *e, const char *const *values,
                          const struct histogram_sum *sum);

#endif
