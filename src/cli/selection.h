/* Commands about things of which a filter selects some: `sessions` and `bindings`. They are listed
 * and ended by the same filter, so who wants to end some can look first. One thread. */
#ifndef CLI_SELECTION_H
#define CLI_SELECTION_H

#include "base/check.h"
#include "cli/arguments.h"

#include <jansson.h>
#include <stdbool.h>

/* What is particular to one of them. All static. */
struct selection {
	const char *command; /* "sessions" */
	const char *usage;   /* for arguments_read() */
	const struct command_option *options;
	const char *const *filters; /* those options that select, named as in the API; NULL ends */
	const char *path;           /* of the API */
	const char *verb;           /* the one operand that is known: "end" */
	const char *which;          /* said to who selects nothing with it: "end which? …" */
	const char *consequence;    /* of which the user is asked: "sessions will be reset" */
	bool names_ended;           /* the answer of those ended may name as many as --limit says */
	/* What is printed without --json. */
	void (*print_list)(const struct arguments *a, const json_t *answer);
	void (*print_ended)(const struct arguments *a, const json_t *answer);
	/* Of one that was ended by its id; NULL: they are not. */
	void (*print_one)(const struct arguments *a, const json_t *answer);
};

/* The whole command; its exit status. */
MUST_CHECK int selection_main(const struct selection *s, int argc, char **argv);

#endif
