/* Options and operands in any order, as getopt_long() reads them; "--" ends the options. */
#include "cli/arguments.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define EXIT_WRONG_ARGUMENTS 2

static void print_usage(FILE *to, const char *usage, const struct command_option *options)
{
	fprintf(to, "usage: %s\n", usage);
	for (; options->name != NULL; options++) {
		char left[64];

		snprintf(left, sizeof(left), "--%s%s%s", options->name,
		         options->value != NULL ? " " : "",
		         options->value != NULL ? options->value : "");
		fprintf(to, "  %-18s %s\n", left, options->help);
	}
}

int arguments_wrong(const char *command, const char *usage, const char *what, const char *value)
{
	fprintf(stderr, "edgeproxy %s: %s%s%s\nusage: %s\n", command, what,
	        value != NULL ? ": " : "", value != NULL ? value : "", usage);
	return EXIT_WRONG_ARGUMENTS;
}

int arguments_read(int argc, char **argv, const char *usage, const struct command_option *options,
                   int least, int most, struct arguments *ret)
{
	struct option flags[COMMAND_OPTIONS_MAX + 2] = {0};
	struct arguments a = {.options = options};
	int count = 0;
	int flag, index;

	for (; options[count].name != NULL; count++) {
		CHECK(count < COMMAND_OPTIONS_MAX);
		flags[count] = (struct option){
			.name = options[count].name,
			.has_arg = options[count].value != NULL ? required_argument : no_argument,
			.val = 1,
		};
	}
	flags[count] = (struct option){.name = "help", .has_arg = no_argument, .val = 'h'};
	opterr = 0;
	optind = 1;
	while ((flag = getopt_long(argc, argv, ":h", flags, &index)) != -1) {
		switch (flag) {
		case 1:
			a.value[index] = optarg != NULL ? optarg : "";
			break;
		case 'h':
			print_usage(stdout, usage, options);
			return 0;
		case ':':
			return arguments_wrong(argv[0], usage, "a value is missing behind",
			                       argv[optind - 1]);
		default:
			return arguments_wrong(argv[0], usage, "unknown option", argv[optind - 1]);
		}
	}
	a.rest = argv + optind;
	a.rest_count = argc - optind;
	if (a.rest_count < least)
		return arguments_wrong(argv[0], usage, "an argument is missing", NULL);
	if (most >= 0 && a.rest_count > most)
		return arguments_wrong(argv[0], usage, "one argument too many", a.rest[most]);
	*ret = a;
	return ARGUMENTS_GO_ON;
}

const char *arguments_value(const struct arguments *a, const char *name)
{
	for (int i = 0; a->options[i].name != NULL; i++)
		if (strcmp(a->options[i].name, name) == 0)
			return a->value[i];
	CHECK(false);
}

bool arguments_has(const struct arguments *a, const char *name)
{
	return arguments_value(a, name) != NULL;
}

bool arguments_has_any(const struct arguments *a, const char *const *names)
{
	for (; *names != NULL; names++)
		if (arguments_has(a, *names))
			return true;
	return false;
}
