/* A table of rows that a test adds, and the table before it, for tests of what happens from one to
 * the next. */
#ifndef ROUTE_TABLES_FIXTURE_H
#define ROUTE_TABLES_FIXTURE_H

#include "route/table.h"
#include "rows_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
	struct live *live;
	struct route_rows rows;
	struct table *table;
	struct table *was;
};

static inline int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){.live = live_new()};
	route_rows_init(&f.rows);
	*state = &f;
	return f.live == NULL;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	table_unref(f->table);
	table_unref(f->was);
	route_rows_done(&f->rows);
	live_free(f->live);
	return 0;
}

static inline struct backend_row *add(struct fixture *f, const char *id, const char *app)
{
	struct backend_row row = fixture_backend(id, app, "sa");

	assert_int_equal(route_rows_add_backend(&f->rows, &row), 0);
	return &f->rows.backends[f->rows.backend_count - 1];
}

static inline void make(struct fixture *f)
{
	const struct table_options options = {.local_region = "sa"};

	table_unref(f->was);
	f->was = f->table;
	assert_int_equal(table_new(&f->rows, &options, f->live, &f->table), 0);
}

static inline uint32_t slot(const struct fixture *f, const char *id)
{
	for (uint32_t i = 0; i < f->table->backend_count; i++)
		if (strcmp(f->table->backends[i].id, id) == 0)
			return f->table->backends[i].slot;
	fail_msg("no backend %s", id);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
