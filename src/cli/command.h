/* The subcommands: rows of main.c. --help, the shell completions and the man page's test are made
 * from them. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "cli/arguments.h"

#include <stddef.h>

struct command {
	const char *name;
	int (*main)(int argc, char **argv); /* argv[0] is the name; returns the exit status */
	const char *usage;
	const char *help;
	/* For completion; NULL and ARGUMENT_TEXT: there is nothing to offer. */
	const struct command_option *options;
	const char *verbs; /* words that may come first, apart by spaces */
	enum argument_kind operand;
};

extern const struct command commands[];
extern const size_t command_count;

#endif
