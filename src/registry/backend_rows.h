/* Reading the rows of backends that a database has, with what its registrations say of them,
 * whichever of the optional columns and tables there are. Within a transaction; one thread. */
#ifndef REGISTRY_BACKEND_ROWS_H
#define REGISTRY_BACKEND_ROWS_H

#include "base/check.h"
#include "registry/backend_record.h"
#include "registry/database.h"
#include "route/limits.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct backend_rows {
	struct database *database;  /* the caller's */
	char pop[POP_NAME_MAX + 1]; /* ours; "": none */
	bool has_country;           /* columns and tables that may be missing */
	bool has_state;
	bool has_registrations;
	bool has_pop;
};

struct backend_filter {
	const char *app;         /* NULL: any */
	const char *region;      /* NULL: any */
	const char *state;       /* NULL: any */
	int healthy;             /* 0, 1, or -1: any */
	const char *const *apps; /* only of these, where app_count > 0 */
	size_t app_count;
	const char *after; /* ids that come behind this; NULL: from the first */
	int limit;
};
/* Which of them are there, as of this transaction. 0 or -errno, as all below. */
MUST_CHECK int backend_rows_look(struct backend_rows *t);
/* 0, -ENOENT or another. */
MUST_CHECK int backend_rows_find(struct backend_rows *t, const char *id,
                                 struct backend_record *ret);
/* Rows that are not deleted, by id. row() gets at most limit of them; *ret_total is how many there
 * are without after and limit. */
MUST_CHECK int backend_rows_list(struct backend_rows *t, const struct backend_filter *filter,
                                 void (*row)(void *arg, const struct backend_record *record),
                                 void *arg, int64_t *ret_total);
/* Every registration of this POP that is not deleted. row() returns 0, or an error that ends it. */
MUST_CHECK int backend_rows_registered(struct backend_rows *t,
                                       int (*row)(void *arg, const char *id, const char *app,
                                                  bool late),
                                       void *arg);

#endif
