/* Which congestion control each listener has, and whether the names in the database can be had: the
 * kernel's list may differ from machine to machine, so a name that this one lacks is no bad row,
 * but somebody must say so. The control thread only. */
#ifndef CONTROL_CONGESTION_H
#define CONTROL_CONGESTION_H

#include "net/socket.h"
#include "route/rows.h"

/* Distinct names that are looked at in one table. */
#define CONGESTION_NAMES_MAX 16

/* Gives the listener the first of these names that is not empty (the second may be NULL), or the
 * kernel's own. */
void congestion_apply(const struct listen_socket *socket, const char *of_row,
                      const char *of_environment);
/* Logs each name of the rows that this kernel does not give us. */
void congestion_check(const struct route_rows *rows);

#endif
