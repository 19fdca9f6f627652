/* Rows of health_checks: copies, order, differences. The most specific row for a backend counts,
 * and counts whole: it is not mixed with the others that would also apply, so that one look at one
 * row says how a backend is checked. */
#include "route/health_check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *check_type_word(enum check_type type)
{
	static const char *const words[] = {
		[CHECK_NONE] = "none", [CHECK_TCP] = "tcp",       [CHECK_HTTP] = "http",
		[CHECK_GRPC] = "grpc", [CHECK_SCRIPT] = "script",
	};

	CHECK((size_t)type < sizeof(words) / sizeof(words[0]));
	return words[type];
}

static int copy_text(struct arena *arena, const char *text, const char **ret_copy)
{
	*ret_copy = text != NULL ? arena_strdup(arena, text) : NULL;
	return text != NULL && *ret_copy == NULL ? -ENOMEM : 0;
}

int health_check_copy(struct arena *arena, const struct health_check_row *row,
                      struct health_check_row *ret_copy)
{
	struct health_check_row copy = *row;

	if (copy_text(arena, row->backend, &copy.backend) != 0 ||
	    copy_text(arena, row->app, &copy.app) != 0 ||
	    copy_text(arena, row->method, &copy.method) != 0 ||
	    copy_text(arena, row->path, &copy.path) != 0 ||
	    copy_text(arena, row->host, &copy.host) != 0 ||
	    copy_text(arena, row->expect_body, &copy.expect_body) != 0 ||
	    copy_text(arena, row->service, &copy.service) != 0 ||
	    copy_text(arena, row->script, &copy.script) != 0)
		return -ENOMEM;
	*ret_copy = copy;
	return 0;
}

char *health_check_target(const struct health_check_row *row, char buf[CHECK_TARGET_MAX + 1])
{
	if (row->backend != NULL)
		snprintf(buf, CHECK_TARGET_MAX + 1, CHECK_TARGET_BACKEND "%s", row->backend);
	else if (row->app != NULL)
		snprintf(buf, CHECK_TARGET_MAX + 1, CHECK_TARGET_APP "%s", row->app);
	else
		snprintf(buf, CHECK_TARGET_MAX + 1, "%s", CHECK_TARGET_ALL);
	return buf;
}

/* ---- which row ---- */

static int compare_texts(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return (a != NULL) - (b != NULL);
	return strcmp(a, b);
}

static int compare(const void *a, const void *b)
{
	const struct health_check_row *x = a;
	const struct health_check_row *y = b;
	int order = compare_texts(x->backend, y->backend);

	return order != 0 ? order : compare_texts(x->app, y->app);
}

void health_checks_sort(struct health_check_row *rows, size_t count)
{
	if (count > 0)
		qsort(rows, count, sizeof(*rows), compare);
}

const struct health_check_row *health_check_find(const struct health_check_row *rows, size_t count,
                                                 const char *backend, const char *app)
{
	const struct health_check_row keys[] = {{.backend = backend}, {.app = app}, {.app = NULL}};

	for (size_t i = 0; count > 0 && i < sizeof(keys) / sizeof(keys[0]); i++) {
		const struct health_check_row *found = bsearch(&keys[i], rows, count, sizeof(*rows),
		                                               compare);

		if (found != NULL)
			return found;
	}
	return NULL;
}

/* ---- differences ---- */

static bool same_target(const struct health_check_row *a, const struct health_check_row *b)
{
	return compare(a, b) == 0;
}

static bool same_timing(const struct health_check_row *a, const struct health_check_row *b)
{
	return a->inter_ms == b->inter_ms && a->fastinter_ms == b->fastinter_ms &&
	       a->downinter_ms == b->downinter_ms && a->timeout_ms == b->timeout_ms &&
	       a->rise == b->rise && a->fall == b->fall && a->grace_ms == b->grace_ms;
}

static bool same_request(const struct health_check_row *a, const struct health_check_row *b)
{
	return compare_texts(a->method, b->method) == 0 && compare_texts(a->path, b->path) == 0 &&
	       compare_texts(a->host, b->host) == 0 &&
	       status_set_equal(&a->expect_status, &b->expect_status) &&
	       compare_texts(a->expect_body, b->expect_body) == 0 &&
	       compare_texts(a->service, b->service) == 0 &&
	       compare_texts(a->script, b->script) == 0;
}

bool health_check_equal(const struct health_check_row *a, const struct health_check_row *b)
{
	return same_target(a, b) && a->type == b->type && a->port == b->port &&
	       a->send_proxy == b->send_proxy && same_timing(a, b) && same_request(a, b) &&
	       a->agent_port == b->agent_port && a->agent_inter_ms == b->agent_inter_ms;
}
