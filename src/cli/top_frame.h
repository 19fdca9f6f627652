/* One frame of `edgeproxy top`: from what is to be shown and the size of the screen to text. Pure.
 */
#ifndef CLI_TOP_FRAME_H
#define CLI_TOP_FRAME_H

#include "cli/top_model.h"

#include <stdbool.h>
#include <stddef.h>

#define TOP_COLUMNS_MAX 1000
#define TOP_ROWS_MAX 500
#define TOP_FILTER_MAX 64

struct top_view {
	unsigned columns; /* more than TOP_COLUMNS_MAX count as that; rows alike */
	unsigned rows;
	bool colours;
	bool keys; /* there is somebody to press them: the last line tells which */
	enum top_sort sort;
	const char *filter;
	bool typing;         /* the filter is being typed */
	const char *message; /* in place of the keys; NULL: none */
};

/* Lines separated by '\n', none behind the last; each at most view->columns wide, at most
 * view->rows of them, and without control characters but those of colours. Sorts and filters the
 * model. The caller's to free(); NULL: out of memory. */
char *top_frame_new(struct top_model *m, const struct top_view *view);

#endif
