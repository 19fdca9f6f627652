/* Rows of health_checks: copies, order, digest. The most specific row for a backend counts, and
 * counts whole: it is not mixed with the others that would also apply, so that one look at one row
 * says how a backend is checked. */
#include "route/health_check.h"

#include "base/hash.h"

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

/* ---- digest ---- */

static uint64_t digest_number(uint64_t digest, uint64_t value)
{
	return hash_mix(digest * 0x9e3779b97f4a7c15u + value + 1);
}

static uint64_t digest_text(uint64_t digest, const char *text)
{
	size_t len;

	if (text == NULL)
		return digest_number(digest, UINT64_MAX);
	len = strlen(text);
	return hash_bytes(text, len, digest_number(digest, len));
}

uint64_t health_check_digest(uint64_t digest, const struct health_check_row *row)
{
	const uint64_t numbers[] = {
		row->type,
		row->port,
		(uint64_t)row->send_proxy,
		row->inter_ms,
		row->fastinter_ms,
		row->downinter_ms,
		row->timeout_ms,
		row->rise,
		row->fall,
		(uint64_t)row->grace_ms,
		row->agent_port,
		row->agent_inter_ms,
	};
	const char *const texts[] = {row->backend, row->app,         row->method,  row->path,
	                             row->host,    row->expect_body, row->service, row->script};
	char statuses[STATUS_SET_TEXT_MAX];

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		digest = digest_number(digest, numbers[i]);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		digest = digest_text(digest, texts[i]);
	return digest_text(digest, status_set_format(&row->expect_status, statuses));
}
