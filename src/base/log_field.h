/* Reads the lines of the log back, field by field, in either format: for writers that send fields
 * apart. Pure; any thread. */
#ifndef BASE_LOG_FIELD_H
#define BASE_LOG_FIELD_H

#include "base/log.h"

#include <stdbool.h>
#include <stddef.h>

#define LOG_KEY_MAX 48

struct log_field {
	char key[LOG_KEY_MAX]; /* lower case, digits, underscores */
	size_t len;
	char value[LOG_LINE_BYTES]; /* without its escapes; any bytes, no end */
};

/* A finished line of len bytes, with or without its end. *at is 0 at first and is moved on. False:
 * no more fields, or something that log_end() does not write. */
bool log_field_next(const char *line, size_t len, size_t *at, struct log_field *ret_field);

#endif
