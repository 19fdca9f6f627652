/* The arguments of a subcommand: options by a table, which is also what --help and the shell
 * completions are made from. */
#ifndef CLI_ARGUMENTS_H
#define CLI_ARGUMENTS_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COMMAND_OPTIONS_MAX 16

/* What a value is, for completion. */
enum argument_kind { ARGUMENT_TEXT, ARGUMENT_FILE, ARGUMENT_BACKEND, ARGUMENT_STATE };

/* A row; one without a name ends the table. All are long options. */
struct command_option {
	const char *name;
	const char *value; /* what stands for it in --help; NULL: the option takes none */
	const char *help;
	enum argument_kind kind;
};

struct arguments {
	const struct command_option *options;
	const char *value[COMMAND_OPTIONS_MAX]; /* NULL: not given; "" where it takes none */
	char **rest;                            /* operands */
	int rest_count;
};

/* arguments_read() has filled *ret. */
#define ARGUMENTS_GO_ON (-1)

/* argv[0] is the command's own name. usage: one line without "usage: ". Operands: least..most, most
 * -1: any number. ARGUMENTS_GO_ON; otherwise the exit status: 0 after --help, 2 after complaining
 * on standard error. */
MUST_CHECK int arguments_read(int argc, char **argv, const char *usage,
                              const struct command_option *options, int least, int most,
                              struct arguments *ret);
/* Complains on standard error; value may be NULL. Returns the exit status, 2. */
int arguments_wrong(const char *command, const char *usage, const char *what, const char *value);
/* The value of an option, or NULL. name is one of the table. */
const char *arguments_value(const struct arguments *a, const char *name);
bool arguments_has(const struct arguments *a, const char *name);
/* Any of these; NULL ends names. */
bool arguments_has_any(const struct arguments *a, const char *const *names);

#endif
