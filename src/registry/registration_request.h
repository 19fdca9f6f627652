/* The body of a registration: from JSON to a backend that may be routed to, or to the field at
 * fault and why. Pure; any thread after special_init(). */
#ifndef REGISTRY_REGISTRATION_REQUEST_H
#define REGISTRY_REGISTRATION_REQUEST_H

#include "base/check.h"
#include "net/addr.h"
#include "net/prefix.h"
#include "route/limits.h"

#include <stddef.h>
#include <stdint.h>

#define FIELD_NAME_MAX 64
#define FIELD_WHY_MAX 192

struct registration_rules {
	const char *app;                /* only this one; NULL or "": any */
	const char *path_id;            /* what the id is in the path of a PUT; NULL: none */
	const struct prefix_map *allow; /* addresses must be in it; NULL or empty: see addresses */
};

struct registration_request {
	char id[BACKEND_ID_MAX + 1];
	char app[APP_NAME_MAX + 1];
	char region[REGION_NAME_MAX + 1];
	char ip[IP_TEXT_MAX]; /* in its one spelling */
	char country[3];      /* "": none */
	uint16_t port;
	uint32_t weight;
	uint32_t soft_limit;
	uint32_t hard_limit;
};

struct field_error {
	char field[FIELD_NAME_MAX + 1]; /* "": of no one field */
	char why[FIELD_WHY_MAX];
};

/* 0 or -EINVAL. Addresses: without rules->allow, any but loopback and the other special-purpose
 * ranges (RFC 6890); private, shared and unique-local ones, which overlay networks are made of, are
 * allowed. */
MUST_CHECK int registration_request_parse(const char *json, size_t len,
                                          const struct registration_rules *rules,
                                          struct registration_request *ret,
                                          struct field_error *ret_error);

#endif
