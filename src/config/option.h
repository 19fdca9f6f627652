/* One option: of which type it is, and how the text that somebody gives for it is read. It knows
 * types only; which options there are, and where their values lie, is config.c's.
 *
 * An option is constant, so any thread may ask about it. */
#ifndef CONFIG_OPTION_H
#define CONFIG_OPTION_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* With the type of its value. */
enum option_type {
	OPTION_STRING,     /* char *; least..most bytes */
	OPTION_PATH,       /* the same */
	OPTION_WORD,       /* the same, of visible ASCII; begins with unit */
	OPTION_UINT,       /* uint64_t; least..most */
	OPTION_BOOL,       /* bool */
	OPTION_ENDPOINT,   /* struct endpoint; all zero: empty, where least is 0 */
	OPTION_PREFIXES,   /* struct prefix_map * */
	OPTION_STATUSES,   /* struct status_set */
	OPTION_LOG_TARGET, /* struct log_target */
	OPTION_CHOICE,     /* int: the place in words */
};

struct option {
	enum option_type type;
	size_t offset; /* of its value in whatever the caller keeps them in */
	const char *variable;
	const char *default_text;
	uint64_t least;
	uint64_t most;
	const char *unit; /* or "" */
	const char *group;
	const char *help;
	const char *const *words; /* of a CHOICE, by value, ended by NULL; of all others NULL */
};

/* Bytes of a text that a message repeats; the rest is cut. */
#define OPTION_SHOWN_BYTES 80
#define OPTION_WHY_BYTES 160
#define OPTION_ALLOWED_BYTES 160

/* How much of len bytes a message repeats, for "%.*s". */
static inline int option_shown(size_t len)
{
	return len < OPTION_SHOWN_BYTES ? (int)len : OPTION_SHOWN_BYTES;
}

/* Reads text into *field, which is of the option's type; a text or a map there is the caller's to
 * option_done(). 0; -EINVAL with a reason in why; -ENOMEM. *field is written only for 0. */
MUST_CHECK int option_parse(const struct option *o, const char *text, void *field,
                            char why[OPTION_WHY_BYTES]);
/* Frees what *field holds; zeroed is fine. */
void option_done(const struct option *o, void *field);

/* What the option takes, for people: buf, or a constant. */
const char *option_allowed(const struct option *o, char buf[OPTION_ALLOWED_BYTES]);
/* Its default, for people. */
const char *option_default(const struct option *o);

#endif
