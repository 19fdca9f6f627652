/* Paths are put together from what somebody typed and from what a proxy has sent, so each piece is
 * encoded as if it held the worst: whatever an id is, it stays one segment, and a value one value.
 * One that does not fit is marked and never sent: half of an id would be another backend's. */
#include "cli/control_path.h"

#include <stdio.h>
#include <string.h>

static void append(struct control_path *p, const char *text, size_t len)
{
	if (p->len + len >= sizeof(p->text)) {
		p->too_long = true;
		return;
	}
	memcpy(p->text + p->len, text, len);
	p->len += len;
	p->text[p->len] = '\0';
}

static void append_encoded(struct control_path *p, const char *text)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789-._~";
	char code[4];

	for (; *text != '\0'; text++) {
		if (strchr(plain, *text) != NULL) {
			append(p, text, 1);
			continue;
		}
		snprintf(code, sizeof(code), "%%%02X", (unsigned char)*text);
		append(p, code, 3);
	}
}

void control_path_init(struct control_path *p, const char *begin)
{
	*p = (struct control_path){0};
	append(p, begin, strlen(begin));
}

/* A path of "." or ".." would be another one to HTTP, so the whole of such an id is encoded. */
void control_path_segment(struct control_path *p, const char *segment)
{
	append(p, "/", 1);
	if (strcmp(segment, ".") == 0)
		append(p, "%2E", 3);
	else if (strcmp(segment, "..") == 0)
		append(p, "%2E%2E", 6);
	else
		append_encoded(p, segment);
}

void control_path_parameter(struct control_path *p, const char *key, const char *value)
{
	if (value == NULL)
		return;
	append(p, p->has_query ? "&" : "?", 1);
	p->has_query = true;
	append_encoded(p, key);
	append(p, "=", 1);
	append_encoded(p, value);
}
