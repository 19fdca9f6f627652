/* One value of a database row, read as what its column must be: a number in range, a short
 * printable text, a country, a prefix. Pure, allocates nothing; any thread.
 *
 * Values are hostile. A reader returns true with *ret written, or false after it has filled the
 * row's error; texts that it returns are those of the values. What a whole row must be is
 * control/columns.h. */
#ifndef CONTROL_COLUMN_READER_H
#define CONTROL_COLUMN_READER_H

#include "base/check.h"
#include "net/prefix.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct column {
	const char *name;
	bool needed;
};

enum column_type { VALUE_NULL, VALUE_INT, VALUE_REAL, VALUE_TEXT, VALUE_BLOB };

struct column_value {
	enum column_type type;
	int64_t integer;  /* VALUE_INT */
	double real;      /* VALUE_REAL */
	const char *text; /* VALUE_TEXT: len bytes and a NUL behind them; VALUE_BLOB: len bytes */
	size_t len;
};

#define ROW_VALUE_MAX 80
#define ROW_WHY_MAX 96

/* What is wrong with a row: the first column at fault. */
struct row_error {
	const char *column;        /* static */
	char value[ROW_VALUE_MAX]; /* as text, cut to fit; any bytes but NUL */
	char why[ROW_WHY_MAX];     /* "must be 1..65535" */
};

/* Fills an error about a value, for callers with reasons of their own (a key that came before). */
void row_error_set(struct row_error *e, const char *column, const struct column_value *value,
                   const char *why);

/* One row being read; column is an index into columns and values. */
struct column_reader {
	const struct column *columns;
	const struct column_value *values;
	struct row_error *error;
};

/* Fills the row's error. False, for a reader to return. */
bool column_refuse(const struct column_reader *r, int column, const char *why);

bool column_is_null(const struct column_reader *r, int column);
/* NULL or ''. */
bool column_is_empty(const struct column_reader *r, int column);
/* Exactly this text. */
bool column_is_word(const struct column_reader *r, int column, const char *word);

/* A whole number, least..most, whatever type it was written as. */
MUST_CHECK bool column_read_number(const struct column_reader *r, int column, int64_t least,
                                   int64_t most, int64_t *ret);
MUST_CHECK bool column_read_u32(const struct column_reader *r, int column, uint32_t least,
                                uint32_t most, uint32_t *ret);
MUST_CHECK bool column_read_bool(const struct column_reader *r, int column, bool *ret);
/* 1..65535. */
MUST_CHECK bool column_read_port(const struct column_reader *r, int column, uint16_t *ret);

/* 1..longest bytes, none of them a control character (nor, so, a NUL). */
MUST_CHECK bool column_read_text(const struct column_reader *r, int column, size_t longest,
                                 const char **ret);
/* A text of visible ASCII characters, which can stand in a request line or a header. */
MUST_CHECK bool column_read_visible(const struct column_reader *r, int column, size_t longest,
                                    const char **ret);
MUST_CHECK bool column_read_region(const struct column_reader *r, int column, const char **ret);
/* Upper case, whatever the value's. */
MUST_CHECK bool column_read_country(const struct column_reader *r, int column, char ret[3]);
MUST_CHECK bool column_read_prefix(const struct column_reader *r, int column, struct prefix *ret);

/* The same for columns that may be absent: NULL (for a country also '') is good, and leaves *ret as
 * it is. */
MUST_CHECK bool column_number_or_none(const struct column_reader *r, int column, int64_t least,
                                      int64_t most, int64_t *ret);
MUST_CHECK bool column_u32_or_none(const struct column_reader *r, int column, uint32_t least,
                                   uint32_t most, uint32_t *ret);
MUST_CHECK bool column_port_or_none(const struct column_reader *r, int column, uint16_t *ret);
MUST_CHECK bool column_visible_or_none(const struct column_reader *r, int column, size_t longest,
                                       const char **ret);
MUST_CHECK bool column_country_or_none(const struct column_reader *r, int column, char ret[3]);

#endif
