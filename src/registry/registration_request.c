/* The gate for what comes from the network. Fields are those of registration.def and no others: a
 * misspelt one is an error, not a default that nobody chose. The rules of values are those of the
 * database's columns (control/columns.h), asked by the very function that will read the row back,
 * so that what was accepted here is never quarantined there. On top come the rules for those who
 * are not the operator: they may not point clients at this machine, its link, or any other address
 * that means something special. */
#include "registry/registration_request.h"

#include "control/columns.h"
#include "geo/special.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum kind { KIND_TEXT, KIND_NUMBER };

static const struct field {
	const char *name;
	enum backend_column column;
	enum kind kind;
	bool required;
	int64_t default_number;
} fields[] = {
#define FIELD(name, column, kind, required, default_number) \
	{name, BACKEND_##column, KIND_##kind, required, default_number},
#include "registry/registration.def"
#undef FIELD
};
#define FIELD_COUNT (sizeof(fields) / sizeof(fields[0]))

__attribute__((format(printf, 3, 4))) static int refuse(struct field_error *e, const char *field,
                                                        const char *format, ...)
{
	va_list args;

	snprintf(e->field, sizeof(e->field), "%.*s", FIELD_NAME_MAX, field);
	va_start(args, format);
	vsnprintf(e->why, sizeof(e->why), format, args);
	va_end(args);
	return -EINVAL;
}

static int read_field(const struct field *f, const json_t *body, struct column_value *value,
                      struct field_error *error)
{
	const json_t *v = json_object_get(body, f->name);

	*value = (struct column_value){.type = VALUE_NULL, .text = ""};
	if (v == NULL || (json_is_null(v) && !f->required)) {
		if (f->required)
			return refuse(error, f->name, "is required");
		if (f->kind == KIND_NUMBER) {
			value->type = VALUE_INT;
			value->integer = f->default_number;
		}
		return 0;
	}
	if (f->kind == KIND_TEXT) {
		if (!json_is_string(v))
			return refuse(error, f->name, "must be a string");
		value->type = VALUE_TEXT;
		value->text = json_string_value(v);
		value->len = json_string_length(v);
		return 0;
	}
	if (!json_is_integer(v))
		return refuse(error, f->name, "must be an integer");
	value->type = VALUE_INT;
	value->integer = json_integer_value(v);
	return 0;
}

static const char *field_of_column(const char *column)
{
	for (size_t i = 0; i < FIELD_COUNT; i++)
		if (strcmp(backend_columns[fields[i].column].name, column) == 0)
			return fields[i].name;
	return column;
}

static int refuse_unknown(json_t *body, struct field_error *error)
{
	const char *key;
	json_t *value;

	json_object_foreach(body, key, value)
	{
		bool known = false;

		for (size_t i = 0; i < FIELD_COUNT; i++)
			known |= strcmp(fields[i].name, key) == 0;
		if (!known)
			return refuse(error, key, "is no field of a registration");
	}
	return 0;
}

/* What overlay networks are made of. */
static bool is_overlay(const struct special_range *range)
{
	static const char *const names[] = {"Private-Use", "Shared Address Space", "Unique-Local"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(range->name, names[i]) == 0)
			return true;
	return false;
}

static int check_address(const struct ip *ip, const struct prefix_map *allow,
                         struct field_error *error)
{
	const struct special_range *range = special_find(ip);

	if (allow != NULL && prefix_map_size(allow) > 0) {
		if (prefix_map_find(allow, ip) != NULL)
			return 0;
		return refuse(error, "ip", "is not in EDGEPROXY_API_ALLOW_ADDRS");
	}
	if (range == NULL || is_overlay(range))
		return 0;
	return refuse(error, "ip", "is a special-purpose address (%s, %s)", range->name,
	              range->rfc);
}

static void take(const struct backend_row *row, struct registration_request *ret)
{
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->id, row->id, strlen(row->id));
	memcpy(ret->app, row->app, strlen(row->app));
	memcpy(ret->region, row->region, strlen(row->region));
	memcpy(ret->country, row->country, sizeof(ret->country));
	ip_format(&row->addr.ip, ret->ip);
	ret->port = row->addr.port;
	ret->weight = row->weight;
	ret->soft_limit = row->soft_limit;
	ret->hard_limit = row->hard_limit;
}

static int check_body(json_t *body, const struct registration_rules *rules,
                      struct registration_request *ret, struct field_error *error)
{
	struct column_value values[BACKEND_COLUMNS] = {0};
	struct backend_row row;
	struct row_error bad;

	for (int i = 0; i < BACKEND_COLUMNS; i++)
		values[i] = (struct column_value){.type = VALUE_NULL, .text = ""};
	values[BACKEND_HEALTHY] = (struct column_value){.type = VALUE_INT, .integer = 1};
	values[BACKEND_DELETED] = (struct column_value){.type = VALUE_INT, .integer = 0};
	if (refuse_unknown(body, error) != 0)
		return -EINVAL;
	if (rules->path_id != NULL && json_object_get(body, "id") == NULL &&
	    json_object_set_new(body, "id", json_string(rules->path_id)) != 0)
		return refuse(error, "id", "is not UTF-8");
	for (size_t i = 0; i < FIELD_COUNT; i++)
		if (read_field(&fields[i], body, &values[fields[i].column], error) != 0)
			return -EINVAL;
	if (columns_backend(values, &row, &bad) != ROW_GOOD)
		return refuse(error, field_of_column(bad.column), "%s", bad.why);
	if (rules->path_id != NULL && strcmp(row.id, rules->path_id) != 0)
		return refuse(error, "id", "is not the one of the path");
	if (rules->app != NULL && rules->app[0] != '\0' && strcmp(row.app, rules->app) != 0)
		return refuse(error, "app", "is not the one that this proxy serves");
	if (check_address(&row.addr.ip, rules->allow, error) != 0)
		return -EINVAL;
	take(&row, ret);
	return 0;
}

int registration_request_parse(const char *json, size_t len, const struct registration_rules *rules,
                               struct registration_request *ret, struct field_error *ret_error)
{
	json_error_t why;
	json_t *body = json_loadb(json, len, JSON_REJECT_DUPLICATES, &why);
	int err;

	if (body == NULL)
		return refuse(ret_error, "", "not JSON: %s (line %d, column %d)", why.text,
		              why.line, why.column);
	if (!json_is_object(body))
		err = refuse(ret_error, "", "must be a JSON object");
	else
		err = check_body(body, rules, ret, ret_error);
	json_decref(body);
	return err;
}
