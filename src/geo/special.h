/* Special-purpose addresses (RFC 6890 and the IANA special-purpose registries it set up): loopback,
 * private use, link-local, documentation, shared address space and the like. They are in no
 * country, whatever a database says. */
#ifndef GEO_SPECIAL_H
#define GEO_SPECIAL_H

#include "net/addr.h"
#include "net/prefix.h"

struct special_range {
	const char *cidr;
	const char *name; /* as in the registry: "Private-Use" */
	const char *rfc;
	struct prefix prefix;
};

/* The most specific range that holds ip, or NULL for an ordinary address. Static; any thread after
 * the first call of special_init() (main, before threads start; idempotent). */
void special_init(void);
const struct special_range *special_find(const struct ip *ip);

#endif
