/* Values of a database row, as SQLite would give them. */
#ifndef CONTROL_COLUMN_VALUES_H
#define CONTROL_COLUMN_VALUES_H

#include "control/column_reader.h"

#include <string.h>

static inline struct column_value null(void)
{
	return (struct column_value){.type = VALUE_NULL, .text = ""};
}

static inline struct column_value integer(int64_t i)
{
	return (struct column_value){.type = VALUE_INT, .integer = i, .text = ""};
}

static inline struct column_value real(double d)
{
	return (struct column_value){.type = VALUE_REAL, .real = d, .text = ""};
}

static inline struct column_value text_n(const char *text, size_t len)
{
	return (struct column_value){.type = VALUE_TEXT, .text = text, .len = len};
}

static inline struct column_value text(const char *t)
{
	return text_n(t, strlen(t));
}

static inline struct column_value blob(const char *bytes, size_t len)
{
	return (struct column_value){.type = VALUE_BLOB, .text = bytes, .len = len};
}

#endif
