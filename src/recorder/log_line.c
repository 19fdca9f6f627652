/* The other direction of base/log.c. In the text format a value is plain (no space, quote, equals
 * sign or backslash in it) or between quotes and escaped as in JSON, so jansson reads those. */
#include "recorder/log_line.h"

#include <string.h>

/* The length of the quoted text at p, its quotes included; 0: it does not end. */
static size_t quoted_length(const char *p)
{
	for (size_t i = 1; p[i] != '\0'; i++) {
		if (p[i] == '\\' && p[i + 1] != '\0')
			i++;
		else if (p[i] == '"')
			return i + 1;
	}
	return 0;
}

static json_t *value_of(const char *p, size_t len)
{
	if (p[0] == '"')
		return json_loadb(p, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	return json_stringn(p, len);
}

static json_t *from_text(const char *line)
{
	json_t *fields = json_object();

	while (fields != NULL && *line != '\0') {
		size_t key = strcspn(line, "= ");
		const char *value = line + key + 1;
		size_t len;

		if (key == 0 || line[key] != '=')
			break;
		len = *value == '"' ? quoted_length(value) : strcspn(value, " ");
		if ((*value == '"' && len == 0) ||
		    json_object_setn_new(fields, line, key, value_of(value, len)) != 0)
			break;
		line = value + len;
		if (*line == '\0')
			return fields;
		if (*line++ != ' ')
			break;
	}
	json_decref(fields);
	return NULL;
}

json_t *log_line_json(const char *line)
{
	if (line[0] == '{')
		return json_loads(line, JSON_REJECT_DUPLICATES, NULL);
	return from_text(line);
}
