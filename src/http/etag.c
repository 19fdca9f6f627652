/* Tags are compared as texts, and lists of them read as RFC 9110 has them. */
#include "http/etag.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void etag_format(uint64_t hash, bool weak, char to[REPLY_ETAG_MAX])
{
	snprintf(to, REPLY_ETAG_MAX, "%s\"%016" PRIx64 "\"", weak ? "W/" : "", hash);
}

static bool is_weak(const char *tag)
{
	return strncmp(tag, "W/", 2) == 0;
}

/* What is between the quotes, with them. */
static const char *opaque(const char *tag)
{
	return is_weak(tag) ? tag + 2 : tag;
}

/* The length of the tag that text begins with, or 0. */
static size_t tag_len(const char *text)
{
	const char *p = opaque(text);

	if (*p++ != '"')
		return 0;
	while ((unsigned char)*p > ' ' && *p != '"' && *p != 0x7f)
		p++;
	return *p == '"' ? (size_t)(p + 1 - text) : 0;
}

static bool same(const char *one, size_t len, const char *tag, bool strong)
{
	size_t prefix = is_weak(one) ? 2 : 0;

	if (strong && (prefix > 0 || is_weak(tag)))
		return false;
	return strlen(opaque(tag)) == len - prefix &&
	       strncmp(one + prefix, opaque(tag), len - prefix) == 0;
}

int etag_named(const char *list, const char *tag, bool strong, bool *ret_named)
{
	const char *p = list + strspn(list, " \t");
	bool named = false;
	bool any = false;

	if (*p == '*' && p[1 + strspn(p + 1, " \t")] == '\0') {
		*ret_named = tag != NULL;
		return 0;
	}
	for (;;) {
		size_t len;

		p += strspn(p, " \t,"); /* empty elements are allowed: RFC 9110, 5.6.1 */
		if (*p == '\0')
			break;
		len = tag_len(p);
		if (len == 0)
			return -EINVAL;
		named |= tag != NULL && same(p, len, tag, strong);
		any = true;
		p += len;
		p += strspn(p, " \t");
		if (*p != '\0' && *p != ',')
			return -EINVAL;
	}
	if (!any)
		return -EINVAL;
	*ret_named = named;
	return 0;
}
