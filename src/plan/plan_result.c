/* The backends of a plan are those that have a row on either side: a change may bring some and take
 * some away. They are sorted by id, so that a decision can name one by its index and both sides
 * mean the same. */
#include "plan/plan_result.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int backend_compare(const void *a, const void *b)
{
	return strcmp(((const struct plan_backend *)a)->id, ((const struct plan_backend *)b)->id);
}

struct plan_backend *plan_result_backend(const struct plan_result *r, const char *id)
{
	const struct plan_backend key = {.id = id};

	return r->backend_count == 0
	               ? NULL
	               : bsearch(&key, r->backends, r->backend_count, sizeof(key), backend_compare);
}

/* Every id of either side, once. */
int plan_result_init(struct plan_result *r, const struct plan_input *in)
{
	size_t most = in->rows[PLAN_NOW]->backend_count + in->rows[PLAN_THEN]->backend_count;
	size_t n = 0, kept = 0;

	*r = (struct plan_result){0};
	r->backends = calloc(most + 1, sizeof(*r->backends));
	if (r->backends == NULL)
		return -ENOMEM;
	for (int side = 0; side < PLAN_SIDES; side++) {
		for (size_t i = 0; i < in->rows[side]->backend_count; i++, n++) {
			const struct backend_row *row = &in->rows[side]->backends[i];

			r->backends[n] = (struct plan_backend){.id = row->id};
			r->backends[n].row[side] = row;
		}
	}
	qsort(r->backends, n, sizeof(*r->backends), backend_compare);
	for (size_t i = 0; i < n; i++) {
		struct plan_backend *b = &r->backends[i];

		if (kept == 0 || strcmp(r->backends[kept - 1].id, b->id) != 0) {
			r->backends[kept++] = *b;
			continue;
		}
		for (int side = 0; side < PLAN_SIDES; side++)
			if (b->row[side] != NULL)
				r->backends[kept - 1].row[side] = b->row[side];
	}
	r->backend_count = kept;
	for (size_t i = 0; i < kept; i++) {
		struct plan_backend *b = &r->backends[i];

		b->region =
			(b->row[PLAN_THEN] != NULL ? b->row[PLAN_THEN] : b->row[PLAN_NOW])->region;
	}
	for (size_t i = 0; i < in->live_count; i++) {
		struct plan_backend *b = plan_result_backend(r, in->live[i].id);

		if (b != NULL)
			b->connections = in->live[i].connections;
	}
	return 0;
}

double plan_result_connections(const struct plan_result *r, const char *app)
{
	double sum = 0;

	for (size_t i = 0; i < r->backend_count; i++) {
		const struct plan_backend *b = &r->backends[i];

		if (b->row[PLAN_NOW] != NULL &&
		    (app == NULL || strcmp(b->row[PLAN_NOW]->app, app) == 0))
			sum += b->connections;
	}
	return sum;
}

void plan_result_done(struct plan_result *r)
{
	free(r->backends);
	free(r->moves);
	free(r->countries);
	*r = (struct plan_result){0};
}
