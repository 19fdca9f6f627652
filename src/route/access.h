/* Who may come in: the rows of access_rules, compiled. Immutable, part of a table; any thread. */
#ifndef ROUTE_ACCESS_H
#define ROUTE_ACCESS_H

#include "base/check.h"
#include "net/addr.h"
#include "route/rows.h"

#include <stddef.h>

struct access;

/* rows may go afterwards. NULL: out of memory. */
struct access *access_new(const struct access_rule_row *rows, size_t n);
void access_free(struct access *a); /* NULL-safe */

/* The rule that decides about a client of a service for app ("": every app) from this country (""
 * when unknown); NULL: none does, so it is let in. The first that there is:
 *
 *   1. the rule with the most specific cidr that holds the client
 *   2. the rule for its country
 *   3. the rule for everybody
 *
 * Of two that are equal in this, one of the app goes before one of every app; then deny wins. A
 * service for every app asks only the rules for every app. */
const struct access_rule_row *access_find(const struct access *a, const char *app,
                                          const struct ip *client, const char *country);

#endif
