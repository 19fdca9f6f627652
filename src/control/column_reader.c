/* The gate for single values, whatever row they stand in.
 *
 * It trusts nothing but the lengths of the values. It never repairs: a value is taken as it stands
 * or refused with a reason that an operator can act upon. The two things that it does forgive are
 * none of the writer's choice: a column without a type keeps numbers as texts or reals, and a
 * country's letters have no case. */
#include "control/column_reader.h"

#include "geo/country.h"
#include "route/limits.h"
#include "route/region.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void value_describe(const struct column_value *v, char buf[ROW_VALUE_MAX])
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0;

	switch (v->type) {
	case VALUE_NULL:
		snprintf(buf, ROW_VALUE_MAX, "NULL");
		return;
	case VALUE_INT:
		snprintf(buf, ROW_VALUE_MAX, "%lld", (long long)v->integer);
		return;
	case VALUE_REAL:
		snprintf(buf, ROW_VALUE_MAX, "%.17g", v->real);
		return;
	case VALUE_TEXT:
		/* A NUL inside would hide the rest. */
		for (; n < v->len && n < ROW_VALUE_MAX - 1; n++)
			buf[n] = v->text[n] != '\0' ? v->text[n] : '?';
		buf[n] = '\0';
		return;
	case VALUE_BLOB:
		n = (size_t)snprintf(buf, ROW_VALUE_MAX, "x'");
		for (size_t i = 0; i < v->len && n < ROW_VALUE_MAX - 4; i++) {
			buf[n++] = digits[(unsigned char)v->text[i] >> 4];
			buf[n++] = digits[(unsigned char)v->text[i] & 15];
		}
		snprintf(buf + n, ROW_VALUE_MAX - n, "'");
		return;
	}
	CHECK(false);
}

void row_error_set(struct row_error *e, const char *column, const struct column_value *value,
                   const char *why)
{
	e->column = column;
	value_describe(value, e->value);
	snprintf(e->why, sizeof(e->why), "%s", why);
}

bool column_refuse(const struct column_reader *r, int column, const char *why)
{
	row_error_set(r->error, r->columns[column].name, &r->values[column], why);
	return false;
}

bool column_is_null(const struct column_reader *r, int column)
{
	return r->values[column].type == VALUE_NULL;
}

bool column_is_empty(const struct column_reader *r, int column)
{
	const struct column_value *v = &r->values[column];

	return v->type == VALUE_NULL || (v->type == VALUE_TEXT && v->len == 0);
}

bool column_is_word(const struct column_reader *r, int column, const char *word)
{
	const struct column_value *v = &r->values[column];

	return v->type == VALUE_TEXT && v->len == strlen(word) &&
	       memcmp(v->text, word, v->len) == 0;
}

/* ---- numbers ---- */

/* A text that is exactly a number as SQLite would print it: a column without a type keeps '8080' as
 * the text it was written as. */
static bool text_to_integer(const char *text, size_t len, int64_t *ret)
{
	size_t at = len > 0 && text[0] == '-' ? 1 : 0;
	int64_t value = 0;

	/* 18 digits cannot overflow. */
	if (at == len || len - at > 18 || (text[at] == '0' && len != 1))
		return false;
	for (; at < len; at++) {
		if (text[at] < '0' || text[at] > '9')
			return false;
		value = value * 10 + (text[at] - '0');
	}
	*ret = text[0] == '-' ? -value : value;
	return true;
}

bool column_read_number(const struct column_reader *r, int column, int64_t least, int64_t most,
                        int64_t *ret)
{
	const struct column_value *v = &r->values[column];
	char why[ROW_WHY_MAX];
	int64_t value = 0;
	bool whole = false;

	if (v->type == VALUE_INT) {
		value = v->integer;
		whole = true;
	} else if (v->type == VALUE_REAL && v->real >= -1e15 && v->real <= 1e15) {
		value = (int64_t)v->real;
		whole = (double)value == v->real;
	} else if (v->type == VALUE_TEXT) {
		whole = text_to_integer(v->text, v->len, &value);
	}
	if (whole && value >= least && value <= most) {
		*ret = value;
		return true;
	}
	snprintf(why, sizeof(why), "must be a whole number, %lld..%lld", (long long)least,
	         (long long)most);
	return column_refuse(r, column, why);
}

bool column_read_bool(const struct column_reader *r, int column, bool *ret)
{
	int64_t value;

	if (!column_read_number(r, column, 0, 1, &value))
		return false;
	*ret = value == 1;
	return true;
}

bool column_read_u32(const struct column_reader *r, int column, uint32_t least, uint32_t most,
                     uint32_t *ret)
{
	int64_t value;

	if (!column_read_number(r, column, least, most, &value))
		return false;
	*ret = (uint32_t)value;
	return true;
}

bool column_read_port(const struct column_reader *r, int column, uint16_t *ret)
{
	uint32_t port;

	if (!column_read_u32(r, column, 1, UINT16_MAX, &port))
		return false;
	*ret = (uint16_t)port;
	return true;
}

/* ---- texts ---- */

/* U+0000 to U+001F, U+007F, and in UTF-8 U+0080 to U+009F: a terminal may obey any of them. */
static bool is_control(const char *text, size_t i)
{
	unsigned char c = (unsigned char)text[i];

	return c < 0x20 || c == 0x7f ||
	       ((c & 0xe0) == 0x80 && i > 0 && (unsigned char)text[i - 1] == 0xc2);
}

bool column_read_text(const struct column_reader *r, int column, size_t longest, const char **ret)
{
	const struct column_value *v = &r->values[column];
	char why[ROW_WHY_MAX];

	if (v->type != VALUE_TEXT)
		return column_refuse(r, column, "must be a text");
	if (v->len == 0)
		return column_refuse(r, column, "must not be empty");
	if (v->len > longest) {
		snprintf(why, sizeof(why), "must have at most %zu bytes", longest);
		return column_refuse(r, column, why);
	}
	for (size_t i = 0; i < v->len; i++) {
		if (is_control(v->text, i))
			return column_refuse(r, column, "must not hold control characters");
	}
	*ret = v->text;
	return true;
}

bool column_read_visible(const struct column_reader *r, int column, size_t longest,
                         const char **ret)
{
	const char *text;

	if (!column_read_text(r, column, longest, &text))
		return false;
	for (const char *p = text; *p != '\0'; p++)
		if (*p <= ' ' || *p > '~')
			return column_refuse(r, column,
			                     "must be of visible ASCII characters, no spaces");
	*ret = text;
	return true;
}

/* A name that region_intern() refused would cost the whole table. */
bool column_read_region(const struct column_reader *r, int column, const char **ret)
{
	const char *text;

	if (!column_read_text(r, column, REGION_NAME_MAX, &text))
		return false;
	if (!region_name_valid(text))
		return column_refuse(r, column, "must be of letters, digits, '-' and '_'");
	*ret = text;
	return true;
}

bool column_read_country(const struct column_reader *r, int column, char ret[3])
{
	const struct column_value *v = &r->values[column];

	if (v->type != VALUE_TEXT || v->len != 2 || country_index(v->text) == COUNTRY_INDEX_NONE)
		return column_refuse(r, column, "must be a country code of two letters");
	if (!country_known(v->text))
		return column_refuse(r, column, "is not an assigned ISO 3166-1 code");
	for (int i = 0; i < 2; i++)
		ret[i] = (char)(v->text[i] & ~0x20);
	ret[2] = '\0';
	return true;
}

bool column_read_prefix(const struct column_reader *r, int column, struct prefix *ret)
{
	const char *text;
	int rc;

	if (!column_read_text(r, column, PREFIX_TEXT_MAX - 1, &text))
		return false;
	rc = prefix_parse(text, ret);
	if (rc == 0)
		return true;
	return column_refuse(r, column,
	                     rc == -EDOM ? "has bits set behind the prefix length"
	                                 : "must be an address or address/length");
}

/* ---- what may be absent ---- */

bool column_number_or_none(const struct column_reader *r, int column, int64_t least, int64_t most,
                           int64_t *ret)
{
	return column_is_null(r, column) || column_read_number(r, column, least, most, ret);
}

bool column_u32_or_none(const struct column_reader *r, int column, uint32_t least, uint32_t most,
                        uint32_t *ret)
{
	return column_is_null(r, column) || column_read_u32(r, column, least, most, ret);
}

bool column_port_or_none(const struct column_reader *r, int column, uint16_t *ret)
{
	return column_is_null(r, column) || column_read_port(r, column, ret);
}

bool column_visible_or_none(const struct column_reader *r, int column, size_t longest,
                            const char **ret)
{
	return column_is_null(r, column) || column_read_visible(r, column, longest, ret);
}

bool column_country_or_none(const struct column_reader *r, int column, char ret[3])
{
	return column_is_empty(r, column) || column_read_country(r, column, ret);
}
