/* Texts of a database in JSON, where text must be UTF-8. Any thread. */
#ifndef API_JSON_TEXT_H
#define API_JSON_TEXT_H

#include <jansson.h>

/* NULL, "" and what is no UTF-8 become null. */
static inline json_t *json_text(const char *text)
{
	json_t *j = text != NULL && text[0] != '\0' ? json_string(text) : NULL;

	return j != NULL ? j : json_null();
}

#endif
