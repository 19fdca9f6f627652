/* Completion scripts, made from the rows of the commands and the tables of their options: a new
 * command or option is completed without a word here. Values that are backends are asked of the
 * proxy that runs, by `edgeproxy __ids`, which is silent and quick where there is none. An id may
 * hold anything that a shell would run, so no script ever expands one (compgen -W would). */
#include "cli/completion.h"

#include "cli/command.h"
#include "cli/control.h"
#include "cli/control_path.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define EXIT_WRONG_ARGUMENTS 2
#define STATES \
	"up drain maint unhealthy weight-0 check-down agent-down agent-drain agent-maint ejected " \
	"hard-limit"
#define SHELLS "bash zsh fish"

static void print_names(const char *separator)
{
	for (size_t i = 0; i < command_count; i++)
		printf("%s%s", i > 0 ? separator : "", commands[i].name);
}

/* In single quotes of any of the shells. */
static void print_quoted(const char *text, bool fish)
{
	putchar('\'');
	for (; *text != '\0'; text++) {
		if (*text == '\'')
			fputs(fish ? "\\'" : "'\\''", stdout);
		else
			putchar(*text);
	}
	putchar('\'');
}

/* ---- bash ---- */

static void bash_value(const struct command *c, const struct command_option *o)
{
	printf("\t%s:--%s) ", c->name, o->name);
	switch (o->kind) {
	case ARGUMENT_BACKEND:
		fputs("_edgeproxy_ids ;;\n", stdout);
		break;
	case ARGUMENT_FILE:
		fputs("COMPREPLY=($(compgen -f -- \"$word\")) ;;\n", stdout);
		break;
	case ARGUMENT_STATE:
		fputs("COMPREPLY=($(compgen -W '" STATES "' -- \"$word\")) ;;\n", stdout);
		break;
	case ARGUMENT_TEXT:
		fputs(";;\n", stdout);
		break;
	}
}

static void bash_command(const struct command *c)
{
	const struct command_option *o;

	printf("\t%s:*)\n", c->name);
	if (c->operand == ARGUMENT_BACKEND)
		fputs("\t\t[[ $word == -* ]] || { _edgeproxy_ids; return; }\n", stdout);
	if (c->operand == ARGUMENT_FILE)
		printf("\t\t((COMP_CWORD > 2)) && { COMPREPLY=($(compgen -f -- \"$word\")); "
		       "return; }\n");
	printf("\t\tCOMPREPLY=($(compgen -W '%s", c->verbs != NULL ? c->verbs : "");
	for (o = c->options; o != NULL && o->name != NULL; o++)
		printf(" --%s", o->name);
	printf(" --help' -- \"$word\")) ;;\n");
}

static void print_bash(void)
{
	const struct command_option *o;

	fputs("# edgeproxy(8) completion for bash: source <(edgeproxy completion bash)\n"
	      "_edgeproxy_ids() {\n"
	      "\tlocal id\n"
	      "\twhile IFS= read -r id; do\n"
	      "\t\t[[ $id == \"$word\"* ]] && COMPREPLY+=(\"$(printf %q \"$id\")\")\n"
	      "\tdone < <(\"${COMP_WORDS[0]}\" __ids 2>/dev/null)\n"
	      "}\n"
	      "_edgeproxy() {\n"
	      "\tlocal word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
	      "\tCOMPREPLY=()\n"
	      "\tif ((COMP_CWORD == 1)); then\n"
	      "\t\tCOMPREPLY=($(compgen -W '",
	      stdout);
	print_names(" ");
	fputs(" --help --version' -- \"$word\"))\n"
	      "\t\treturn\n"
	      "\tfi\n"
	      "\tcase ${COMP_WORDS[1]}:$before in\n",
	      stdout);
	for (size_t i = 0; i < command_count; i++)
		for (o = commands[i].options; o != NULL && o->name != NULL; o++)
			if (o->value != NULL)
				bash_value(&commands[i], o);
	for (size_t i = 0; i < command_count; i++)
		bash_command(&commands[i]);
	fputs("\tesac\n"
	      "}\n"
	      "complete -F _edgeproxy edgeproxy\n",
	      stdout);
}

/* ---- zsh ---- */

/* What _arguments completes a value with. */
static const char *zsh_action(enum argument_kind kind)
{
	switch (kind) {
	case ARGUMENT_BACKEND:
		return "_edgeproxy_ids";
	case ARGUMENT_FILE:
		return "_files";
	case ARGUMENT_STATE:
		return "(" STATES ")";
	case ARGUMENT_TEXT:
		break;
	}
	return " ";
}

/* Brackets and colons mean something inside a spec. */
static void print_zsh_help(const char *text)
{
	for (; *text != '\0'; text++) {
		if (strchr("[]:\\", *text) != NULL)
			fputs("\\", stdout);
		if (*text == '\'')
			fputs("'\\''", stdout);
		else
			putchar(*text);
	}
}

static void zsh_command(const struct command *c)
{
	const struct command_option *o;

	printf("\t%s)\n\t\t_arguments '--help[how to use it]'", c->name);
	for (o = c->options; o != NULL && o->name != NULL; o++) {
		printf(" \\\n\t\t\t'--%s[", o->name);
		print_zsh_help(o->help);
		fputs("]", stdout);
		if (o->value != NULL)
			printf(":%s:%s", o->value, zsh_action(o->kind));
		fputs("'", stdout);
	}
	if (c->verbs != NULL)
		printf(" \\\n\t\t\t'1:what:(%s)'", c->verbs);
	if (c->operand != ARGUMENT_TEXT)
		printf(" \\\n\t\t\t'%s:operand:%s'", c->verbs != NULL ? "2" : "1",
		       zsh_action(c->operand));
	fputs("\n\t\t;;\n", stdout);
}

static void print_zsh(void)
{
	fputs("#compdef edgeproxy\n"
	      "# edgeproxy(8) completion for zsh: edgeproxy completion zsh >_edgeproxy, in $fpath\n"
	      "_edgeproxy_ids() {\n"
	      "\tlocal -a ids\n"
	      "\tids=(${(f)\"$(edgeproxy __ids 2>/dev/null)\"})\n"
	      "\tcompadd -a ids\n"
	      "}\n"
	      "_edgeproxy() {\n"
	      "\tif ((CURRENT == 2)); then\n"
	      "\t\tlocal -a names\n"
	      "\t\tnames=(\n",
	      stdout);
	for (size_t i = 0; i < command_count; i++) {
		printf("\t\t\t'%s:", commands[i].name);
		print_zsh_help(commands[i].help);
		fputs("'\n", stdout);
	}
	fputs("\t\t)\n"
	      "\t\t_describe command names\n"
	      "\t\treturn\n"
	      "\tfi\n"
	      "\tlocal name=$words[2]\n"
	      "\tshift words\n"
	      "\t((CURRENT--))\n"
	      "\tcase $name in\n",
	      stdout);
	for (size_t i = 0; i < command_count; i++)
		zsh_command(&commands[i]);
	fputs("\tesac\n"
	      "}\n"
	      "_edgeproxy \"$@\"\n",
	      stdout);
}

/* ---- fish ---- */

static void fish_command(const struct command *c)
{
	const struct command_option *o;

	printf("complete -c edgeproxy -n __fish_use_subcommand -a %s -d ", c->name);
	print_quoted(c->help, true);
	putchar('\n');
	for (o = c->options; o != NULL && o->name != NULL; o++) {
		printf("complete -c edgeproxy -n '__fish_seen_subcommand_from %s' -l %s -d ",
		       c->name, o->name);
		print_quoted(o->help, true);
		if (o->value != NULL)
			fputs(" -x", stdout);
		if (o->kind == ARGUMENT_BACKEND)
			fputs(" -a '(edgeproxy __ids 2>/dev/null)'", stdout);
		else if (o->kind == ARGUMENT_STATE)
			fputs(" -a '" STATES "'", stdout);
		else if (o->kind == ARGUMENT_FILE)
			fputs(" -a '(__fish_complete_path)'", stdout);
		putchar('\n');
	}
	if (c->verbs != NULL)
		printf("complete -c edgeproxy -n '__fish_seen_subcommand_from %s' -a '%s'\n",
		       c->name, c->verbs);
	if (c->operand == ARGUMENT_BACKEND)
		printf("complete -c edgeproxy -n '__fish_seen_subcommand_from %s' -a "
		       "'(edgeproxy __ids 2>/dev/null)'\n",
		       c->name);
	if (c->operand == ARGUMENT_FILE)
		printf("complete -c edgeproxy -n '__fish_seen_subcommand_from %s' -F\n", c->name);
}

static void print_fish(void)
{
	fputs("# edgeproxy(8) completion for fish: edgeproxy completion fish | source\n"
	      "complete -c edgeproxy -f\n",
	      stdout);
	for (size_t i = 0; i < command_count; i++)
		fish_command(&commands[i]);
}

int completion_main(int argc, char **argv)
{
	const char *shell = argc == 2 ? argv[1] : "";

	if (strcmp(shell, "bash") == 0)
		print_bash();
	else if (strcmp(shell, "zsh") == 0)
		print_zsh();
	else if (strcmp(shell, "fish") == 0)
		print_fish();
	else if (strcmp(shell, "--help") == 0)
		puts("usage: edgeproxy completion bash|zsh|fish");
	else {
		fputs("edgeproxy completion: for which shell? " SHELLS "\n", stderr);
		return EXIT_WRONG_ARGUMENTS;
	}
	return 0;
}

int completion_ids_main(int argc, char **argv)
{
	struct control *c = NULL;
	struct control_answer a;
	struct control_path path;
	json_t *row;
	size_t i;

	(void)argc;
	(void)argv;
	if (!control_find("__ids", &c) || !control_is_there(control_socket(c))) {
		control_close(c);
		return 0;
	}
	control_path_init(&path, "/api/v1/live/backends");
	control_path_parameter(&path, "limit", "1000");
	if (control_ask(c, "GET", &path, &a) == CONTROL_OK) {
		json_array_foreach(json_object_get(a.json, "backends"), i,
		                   row) if (json_is_string(json_object_get(row, "id")))
			puts(json_string_value(json_object_get(row, "id")));
		control_answer_done(&a);
	}
	control_close(c);
	return 0;
}
