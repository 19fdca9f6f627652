/* The PROXY protocol, versions 1 and 2 (HAProxy, doc/proxy-protocol.txt): a codec without I/O. */
#ifndef NET_PROXY_PROTOCOL_H
#define NET_PROXY_PROTOCOL_H

#include "net/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest header that is read: v1 has at most 107 bytes; v2 has 16 and as many as its TLVs
 * need. The protocol allows 64 KiB; what real senders add stays far below this. */
#define PROXY_HEADER_MAX 4096
/* The longest header that proxy_protocol_write() makes (v1: 107; v2 with IPv6: 52). */
#define PROXY_HEADER_WRITE_MAX 108

enum proxy_verdict {
	PROXY_MORE, /* a correct beginning: more bytes are needed */
	PROXY_OK,
	PROXY_BAD,
};

struct proxy_header {
	size_t length;    /* bytes of the header, to be taken off the stream */
	unsigned version; /* 1 or 2 */
	bool local; /* v2 LOCAL, v1 UNKNOWN, or a family without addresses: the peer speaks for
	               itself; src and dst are not set */
	struct endpoint src;
	struct endpoint dst;
};

/* Reads a header from the first len bytes of a stream. *ret_header is written on PROXY_OK,
 * *ret_why (static text) on PROXY_BAD. The verdict does not depend on how the bytes arrive: BAD and
 * OK stay what they are when more bytes follow. A CRC32C TLV is verified, except in a header that
 * is to be skipped unread (LOCAL, or an unspecified family or transport). */
enum proxy_verdict proxy_protocol_parse(const uint8_t *data, size_t len,
                                        struct proxy_header *ret_header, const char **ret_why);

/* Writes a header of that version (1 or 2) and returns its length. Where the families of src and
 * dst differ both are written as IPv6. */
size_t proxy_protocol_write(unsigned version, const struct endpoint *src,
                            const struct endpoint *dst, uint8_t buf[PROXY_HEADER_WRITE_MAX]);

/* The same for a connection that the proxy makes for itself, such as a health check: v2 LOCAL, v1
 * UNKNOWN. Whom it is from the receiver takes from the connection. */
size_t proxy_protocol_write_local(unsigned version, uint8_t buf[PROXY_HEADER_WRITE_MAX]);

#endif
