/* Entity tags (RFC 9110, 8.8.3), and the conditions that requests make with them (13.1). Pure; any
 * thread. */
#ifndef HTTP_ETAG_H
#define HTTP_ETAG_H

#include "base/check.h"
#include "http/reply.h"

#include <stdbool.h>
#include <stdint.h>

/* hash: of what the tag stands for. weak: of a list, where other pages may share it. */
void etag_format(uint64_t hash, bool weak, char to[REPLY_ETAG_MAX]);

/* Does list, the value of If-Match or If-None-Match, name tag? tag NULL: there is nothing, which
 * not even "*" names. strong: neither may be weak (If-Match). 0; -EINVAL: it is no such list. */
MUST_CHECK int etag_named(const char *list, const char *tag, bool strong, bool *ret_named);

#endif
