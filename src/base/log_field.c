/* The reverse of log.c: `key=value key="quoted value"` and the one flat JSON object whose values
 * are texts and numbers. Both quote in the same way, so one reader does. The lines come from log.c,
 * so nothing else is understood; but the length is not trusted, and what is malformed ends the
 * line. */
#include "base/log_field.h"

#include <string.h>

struct reader {
	const char *line;
	size_t len;
	size_t at;
};

/* The byte there, or 0 at the end. */
static char look(const struct reader *r)
{
	return r->at < r->len ? r->line[r->at] : '\0';
}

static bool skip(struct reader *r, char c)
{
	if (look(r) != c)
		return false;
	r->at++;
	return true;
}

static bool is_key(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

static bool read_key(struct reader *r, struct log_field *f)
{
	size_t n = 0;

	while (is_key(look(r)) && n < sizeof(f->key) - 1)
		f->key[n++] = r->line[r->at++];
	f->key[n] = '\0';
	return n > 0;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Behind a backslash. -1: not an escape of log.c. */
static int read_escape(struct reader *r)
{
	char c = look(r);

	if (c == '"' || c == '\\') {
		r->at++;
		return c;
	}
	if (c != 'u' || r->len - r->at < 5 || memcmp(r->line + r->at + 1, "00", 2) != 0)
		return -1;

	int high = hex(r->line[r->at + 3]);
	int low = hex(r->line[r->at + 4]);

	r->at += 5;
	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static bool read_quoted(struct reader *r, struct log_field *f)
{
	while (r->at < r->len && r->line[r->at] != '"') {
		int c = (unsigned char)r->line[r->at++];

		if (c == '\\')
			c = read_escape(r);
		if (c < 0 || f->len == sizeof(f->value))
			return false;
		f->value[f->len++] = (char)c;
	}
	return skip(r, '"');
}

/* A number, or text that needs no quotes. */
static bool read_plain(struct reader *r, struct log_field *f, const char *ends)
{
	while (look(r) > ' ' && strchr(ends, look(r)) == NULL && f->len < sizeof(f->value))
		f->value[f->len++] = r->line[r->at++];
	return f->len > 0;
}

bool log_field_next(const char *line, size_t len, size_t *at, struct log_field *ret_field)
{
	struct reader r = {.line = line, .len = len, .at = *at};
	struct log_field *f = ret_field;
	bool json = len > 0 && line[0] == '{';
	bool read;

	f->len = 0;
	if (json) {
		if (!skip(&r, *at == 0 ? '{' : ',') || !skip(&r, '"') || !read_key(&r, f) ||
		    !skip(&r, '"') || !skip(&r, ':'))
			return false;
	} else if ((*at != 0 && !skip(&r, ' ')) || !read_key(&r, f) || !skip(&r, '=')) {
		return false;
	}
	if (skip(&r, '"'))
		read = read_quoted(&r, f);
	else
		read = read_plain(&r, f, json ? ",}" : "");
	*at = r.at;
	return read;
}
