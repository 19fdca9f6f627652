/* What is asked of a proxy at its control socket: a path with its query, percent-encoded piece by
 * piece (RFC 3986: all but the unreserved characters). No memory but its own; one thread. */
#ifndef CLI_CONTROL_PATH_H
#define CLI_CONTROL_PATH_H

#include <stdbool.h>
#include <stddef.h>

#define CONTROL_PATH_MAX 4096

struct control_path {
	char text[CONTROL_PATH_MAX]; /* with a NUL */
	size_t len;
	bool has_query;
	bool too_long; /* a piece is missing: control_ask() refuses it */
};

/* begin is taken as it is: "/api/v1/backends". */
void control_path_init(struct control_path *p, const char *begin);
/* "/" and a segment, which may hold any bytes. */
void control_path_segment(struct control_path *p, const char *segment);
/* "?key=value" or "&key=value"; value NULL: nothing. */
void control_path_parameter(struct control_path *p, const char *key, const char *value);

#endif
