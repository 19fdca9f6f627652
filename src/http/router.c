/* Which route a request means. The table is the caller's; this file only compares. A path is
 * matched segment by segment before anything is decoded, so that an id may hold a slash (%2F) and
 * no encoding makes one path look like another. A trailing slash is another path. */
#include "http/router.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int percent_decode(const char *text, size_t len, char *to, size_t room)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c == '%') {
			int high = len - i > 2 ? hex_value(text[i + 1]) : -1;
			int low = len - i > 2 ? hex_value(text[i + 2]) : -1;

			if (high < 0 || low < 0 || high + low == 0)
				return -EINVAL;
			c = (char)(high * 16 + low);
			i += 2;
		}
		if (n == room)
			return -ENAMETOOLONG;
		to[n++] = c;
	}
	to[n] = '\0';
	return 0;
}

/* Does path have the shape of pattern? Then *ret_id is where its id is, or empty. */
static bool fits(const char *pattern, const char *path, const char **ret_id, size_t *ret_len)
{
	*ret_id = "";
	*ret_len = 0;
	while (*pattern != '\0') {
		if (*pattern == '{') {
			*ret_id = path;
			*ret_len = strcspn(path, "/");
			if (*ret_len == 0)
				return false;
			path += *ret_len;
			pattern = strchr(pattern, '}') + 1;
		} else if (*pattern++ != *path++) {
			return false;
		}
	}
	return *path == '\0';
}

static void add_allowed(char allow[ROUTER_ALLOW_MAX], const char *method)
{
	size_t len = strlen(allow);

	snprintf(allow + len, ROUTER_ALLOW_MAX - len, "%s%s%s", len > 0 ? ", " : "", method,
	         strcmp(method, "GET") == 0 ? ", HEAD" : "");
}

int router_match(const struct route *routes, size_t route_count, const char *method,
                 const char *path, enum door_kind door, struct route_match *ret_match)
{
	const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
	struct route_match m = {0};
	const char *id;
	size_t len;

	for (size_t i = 0; i < route_count; i++) {
		const struct route *route = &routes[i];

		if ((route->doors >> door & 1U) == 0 || !fits(route->pattern, path, &id, &len))
			continue;
		if (strcmp(route->method, wanted) != 0) {
			add_allowed(m.allow, route->method);
			continue;
		}
		m.route = route;
		if (percent_decode(id, len, m.id, BACKEND_ID_MAX) != 0)
			return -EINVAL;
		*ret_match = m;
		return 0;
	}
	*ret_match = m;
	return m.allow[0] != '\0' ? -EPERM : -ENOENT;
}
