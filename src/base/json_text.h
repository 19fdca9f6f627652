/* Texts of any bytes as JSON, which is UTF-8. Ids come from a database that may hold anything but
 * control characters; an answer must be well-formed all the same. For those who link jansson. */
#ifndef BASE_JSON_TEXT_H
#define BASE_JSON_TEXT_H

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* What is no UTF-8 is shown with "?" for every byte that is not ASCII: to be recognised, not to be
 * read back. NULL and "" become null. NULL: out of memory. */
static inline json_t *json_text(const char *s)
{
	json_t *value;
	char *ascii;

	if (s == NULL || *s == '\0')
		return json_null();
	value = json_string(s);
	if (value != NULL)
		return value;
	ascii = strdup(s);
	if (ascii == NULL)
		return NULL;
	for (char *p = ascii; *p != '\0'; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	value = json_string(ascii);
	free(ascii);
	return value;
}

#endif
