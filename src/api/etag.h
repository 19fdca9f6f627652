/* Entity tags (RFC 9110, 8.8.3) of backends, and the conditions that requests make with them
 * (13.1). A tag stands for a row as somebody has written it: what is merely observed beside it
 * (connections, seconds since a heartbeat) does not change it. Pure; any thread. */
#ifndef API_ETAG_H
#define API_ETAG_H

#include "api/reply.h"
#include "api/writer.h"
#include "base/check.h"

#include <stdbool.h>
#include <stdint.h>

/* For the first of a list: so that an empty one has a tag, too. */
#define ETAG_BEGIN 0x6564676550726f78u

/* The hash of what is behind `before` and of this row. */
uint64_t etag_hash(uint64_t before, const struct backend_record *b);
/* weak: of a list, where other pages may share it. */
void etag_format(uint64_t hash, bool weak, char to[REPLY_ETAG_MAX]);

/* Does list, the value of If-Match or If-None-Match, name tag? tag NULL: there is nothing, which
 * not even "*" names. strong: neither may be weak (If-Match). 0; -EINVAL: it is no such list. */
MUST_CHECK int etag_named(const char *list, const char *tag, bool strong, bool *ret_named);

#endif
