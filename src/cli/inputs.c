/* The common ground of the commands that only look. They must see what the proxy would see, so
 * nothing here interprets: config_read(), geo_db_open() and store_read() do, and this file keeps
 * what they report. It writes nothing and prints nothing. */
#include "cli/inputs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUARANTINED_FIRST 16

struct collector {
	struct inputs *in;
	size_t capacity;
	bool out_of_memory;
};

void inputs_init(struct inputs *in)
{
	*in = (struct inputs){0};
	route_rows_init(&in->rows);
	arena_init(&in->arena);
}

void inputs_done(struct inputs *in)
{
	config_done(&in->config);
	geo_db_unref(in->geo);
	route_rows_done(&in->rows);
	arena_done(&in->arena);
	free(in->quarantined);
}

int inputs_open_geo(struct inputs *in, char error[GEO_ERROR_MAX])
{
	if (*in->config.geoip_path == '\0')
		return geo_db_open_embedded(&in->geo, error);
	return geo_db_open(in->config.geoip_path, &in->geo, error);
}

/* Twice the room whenever it is used up. */
static int make_room(struct collector *c)
{
	size_t capacity = c->capacity > 0 ? c->capacity * 2 : QUARANTINED_FIRST;
	struct quarantined *more;

	if (c->in->quarantined_count < c->capacity)
		return 0;
	more = reallocarray(c->in->quarantined, capacity, sizeof *more);
	if (more == NULL)
		return -ENOMEM;
	c->in->quarantined = more;
	c->capacity = capacity;
	return 0;
}

static void collect(void *arg, const struct bad_row *bad)
{
	struct collector *c = arg;
	struct arena *a = &c->in->arena;
	struct quarantined q = {.table = arena_strdup(a, bad->table),
	                        .row = arena_strdup(a, bad->row),
	                        .column = arena_strdup(a, bad->error.column),
	                        .value = arena_strdup(a, bad->error.value),
	                        .why = arena_strdup(a, bad->error.why)};

	if (q.table == NULL || q.row == NULL || q.column == NULL || q.value == NULL ||
	    q.why == NULL || make_room(c) != 0) {
		c->out_of_memory = true;
		return;
	}
	c->in->quarantined[c->in->quarantined_count++] = q;
}

int inputs_read_routes(struct inputs *in, char error[STORE_ERROR_MAX])
{
	struct collector c = {.in = in};
	struct store_read_options options = {.bad_row = collect, .arg = &c};
	struct store *store = NULL;
	struct route_rows rows;
	size_t quarantined;
	int r = store_new(in->config.db_path, &store);

	*error = '\0';
	if (r == 0) {
		store_set_patience(store, INPUTS_PATIENCE_MS);
		r = store_read(store, &options, &rows, &quarantined, error);
	}
	if (r == 0) {
		route_rows_done(&in->rows);
		in->rows = rows;
	}
	store_free(store);
	if (r == 0 && c.out_of_memory)
		r = -ENOMEM;
	if (r == -EBUSY)
		snprintf(error, STORE_ERROR_MAX, "%s: another process keeps it locked",
		         in->config.db_path);
	else if (r != 0 && *error == '\0')
		snprintf(error, STORE_ERROR_MAX, "%s: %s", in->config.db_path, strerror(-r));
	return r;
}

char *quarantined_format(const struct quarantined *q, char buf[QUARANTINED_TEXT_MAX])
{
	snprintf(buf, QUARANTINED_TEXT_MAX, "%s %s: %s = %s: %s", q->table, q->row, q->column,
	         q->value, q->why);
	for (char *p = buf; *p != '\0'; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	}
	return buf;
}
