/* The one writer of the routing database: its own read-write connection, used by the API thread
 * alone. Everything else in this program only reads that file.
 *
 * Calls come in transactions: writer_begin(), what is to be asked and changed, then writer_commit()
 * or writer_rollback(). Errors are -errno of control/db_error.h; the text is in writer_error(). */
#ifndef REGISTRY_WRITER_H
#define REGISTRY_WRITER_H

#include "base/check.h"
#include "registry/backend_record.h"
#include "registry/backend_rows.h"
#include "registry/registration_request.h"
#include "route/rows.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rows that were soft-deleted by a registration's end are removed after so long. */
#define WRITER_PURGE_SECS (7 * 86400)

struct writer;

/* pop: of this proxy, at most POP_NAME_MAX bytes; "": none. Opens nothing yet. 0 or -ENOMEM. */
MUST_CHECK int writer_new(const char *path, const char *pop, struct writer **ret_writer);
void writer_free(struct writer *w); /* NULL-safe */
/* Of the last call that failed. */
const char *writer_error(const struct writer *w);

/* Has anybody else changed the database since writer_seen()? Also true when that is not known. */
bool writer_changed(struct writer *w);
void writer_seen(struct writer *w);

enum writer_intent { WRITER_READ, WRITER_WRITE };
/* WRITER_WRITE also makes the table of registrations, if there is none, and its column of POPs, if
 * this one has a name. */
MUST_CHECK int writer_begin(struct writer *w, enum writer_intent intent);
/* On failure everything is as before writer_begin(). */
MUST_CHECK int writer_commit(struct writer *w);
void writer_rollback(struct writer *w);

/* 0, -ENOENT or another. */
MUST_CHECK int writer_find(struct writer *w, const char *id, struct backend_record *ret);
/* Inserts or updates the row and its registration, which is this POP's then; the admin state stays
 * as it is. Nothing is written when everything is so already: *ret_changed tells. */
MUST_CHECK int writer_register(struct writer *w, const struct registration_request *request,
                               int64_t now_unix, bool *ret_changed);
/* Of a registration: healthy again, or not because it is late. */
MUST_CHECK int writer_set_late(struct writer *w, const char *id, bool late);
MUST_CHECK int writer_set_state(struct writer *w, const char *id, enum admin_state state);
/* deleted = 1; the row goes in writer_purge(). */
MUST_CHECK int writer_delete(struct writer *w, const char *id, int64_t now_unix);
/* Of this POP's registrations. */
MUST_CHECK int writer_purge(struct writer *w, int64_t now_unix);

/* Rows that are not deleted, by id. row() gets at most limit of them; *ret_total is how many there
 * are without after and limit. */
MUST_CHECK int writer_list(struct writer *w, const struct backend_filter *filter,
                           void (*row)(void *arg, const struct backend_record *record), void *arg,
                           int64_t *ret_total);
/* Every registration of this POP that is not deleted. row() returns 0, or an error that ends it. */
MUST_CHECK int
writer_registrations(struct writer *w,
                     int (*row)(void *arg, const char *id, const char *app, bool late), void *arg);

#endif
