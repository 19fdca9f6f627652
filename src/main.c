/* edgeproxy: the one binary. Every subcommand is a row here and a file in cli/. */
#include "cli/backends.h"
#include "cli/bindings.h"
#include "cli/check.h"
#include "cli/command.h"
#include "cli/completion.h"
#include "cli/db.h"
#include "cli/events.h"
#include "cli/explain.h"
#include "cli/healthcheck.h"
#include "cli/output.h"
#include "cli/plan.h"
#include "cli/sessions.h"
#include "cli/status.h"
#include "cli/top.h"
#include "config/config.h"
#include "daemon/run.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* For the commands that take nothing but --help. ARGUMENTS_GO_ON, or the exit status. */
static int takes_nothing(int argc, char **argv, const char *usage)
{
	static const struct command_option none = {0};
	struct arguments a;

	return arguments_read(argc, argv, usage, &none, 0, 0, &a);
}

static int run_command(int argc, char **argv)
{
	int r = takes_nothing(argc, argv,
	                      "edgeproxy run\n"
	                      "Serves clients. Environment variables say how: edgeproxy --help");

	return r == ARGUMENTS_GO_ON ? run_main() : r;
}

static int check_command(int argc, char **argv)
{
	int r = takes_nothing(argc, argv,
	                      "edgeproxy check\n"
	                      "Reads the environment and the files of a proxy, starts nothing, and "
	                      "prints every problem.");

	return r == ARGUMENTS_GO_ON ? check_main() : r;
}

static int healthcheck_command(int argc, char **argv)
{
	int r = takes_nothing(
		argc, argv,
		"edgeproxy healthcheck\n"
		"Asks the proxy with this EDGEPROXY_LISTEN_ADDR whether it is ready.");

	return r == ARGUMENTS_GO_ON ? healthcheck_main() : r;
}

const struct command commands[] = {
	{"run", run_command, "run", "serve clients; what edgeproxy alone does", .options = NULL},
	{"check", check_command, "check",
         "validate the environment and the routing database, print every problem", .options = NULL},
	{"explain", explain_main, "explain IP [--app A] [--db F] [--region R] [--offline] [--json]",
         "where this client would go, and why: asks the proxy that runs, or reads the files",
         .options = explain_options},
	{"db", db_main, "db init FILE", "make a routing database with example rows",
         .verbs = "init", .operand = ARGUMENT_FILE},
	{"healthcheck", healthcheck_command, "healthcheck",
         "ask the proxy of this environment whether it is ready", .options = NULL},
	{"status", status_main, "status [--json]", "the running proxy at a glance",
         .options = status_options},
	{"backends", backends_main, "backends [--app A] [--region R] [--state S] [--wide] [--json]",
         "the backends as the running proxy sees them", .options = backends_options},
	{"sessions", sessions_main,
         "sessions [--client CIDR] [--backend ID] [--country CC] [--app A] [--limit N] [--json]\n"
         "  edgeproxy sessions end SESSION | FILTER ... | --all  [--yes] [--json]",
         "who is connected now; end one session, or those that match", .options = sessions_options,
         .verbs = "end"},
	{"bindings", bindings_main,
         "bindings [--client CIDR] [--backend ID] [--app A] [--limit N] [--json]\n"
         "  edgeproxy bindings clear FILTER ... | --all  [--yes] [--json]",
         "which clients have which backend; forget some", .options = bindings_options,
         .verbs = "clear"},
	{"drain", backend_state_main, "drain BACKEND [--json]",
         "no new clients for a backend; what it has goes on", .options = backend_state_options,
         .operand = ARGUMENT_BACKEND},
	{"maint", backend_state_main, "maint BACKEND [--json]", "take a backend out",
         .options = backend_state_options, .operand = ARGUMENT_BACKEND},
	{"ready", backend_state_main, "ready BACKEND [--json]", "bring a backend back",
         .options = backend_state_options, .operand = ARGUMENT_BACKEND},
	{"completion", completion_main, "completion bash|zsh|fish",
         "a script by which that shell completes these commands", .verbs = "bash zsh fish"},
	{"top", top_main, "top [--once] [--interval SECS] [--sort COLUMN] [--filter TEXT]",
         "the running proxy, live: rates, backends, places, latencies", .options = top_options},
	{"events", events_main,
         "events [--follow] [--kind KINDS] [--backend ID] [--country CC] [--client CIDR]\n"
         "                   [--since 5m] [--json]",
         "what the running proxy has decided, and what has become of it",
         .options = events_options},
	{"plan", plan_main, "plan FILE.sql [--db F] [--json]",
         "whom a change of the routing database would move", .options = plan_options,
         .operand = ARGUMENT_FILE},
};

const size_t command_count = sizeof(commands) / sizeof(commands[0]);

static int print_help(void)
{
	puts("edgeproxy " EDGEPROXY_VERSION " - geo-aware TCP proxy for edge points of presence\n"
	     "\nUsage:");
	for (size_t i = 0; i < command_count; i++)
		printf("  edgeproxy %s\n        %s\n", commands[i].usage, commands[i].help);
	puts("  edgeproxy --help | --version\n\n"
	     "Signals: SIGTERM, SIGINT stop accepting and drain, a second one ends at once;\n"
	     "SIGHUP reads the routing database now and accepts a table that was held back;\n"
	     "SIGUSR1 opens the access log anew (logrotate);\n"
	     "SIGUSR2 upgrades: the program at this one's path takes over, nobody is cut off.\n\n"
	     "Everything is configured by environment variables:\n");
	config_print_options(stdout);
	return 0;
}

static int command_main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "run";

	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
		return print_help();
	if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
		puts("edgeproxy " EDGEPROXY_VERSION);
		return 0;
	}
	for (size_t i = 0; i < command_count; i++)
		if (strcmp(name, commands[i].name) == 0)
			return argc > 1 ? commands[i].main(argc - 1, argv + 1)
			                : commands[i].main(1, argv);
	if (strcmp(name, "__ids") == 0) /* for the completions alone */
		return completion_ids_main(argc - 1, argv + 1);
	fprintf(stderr, "edgeproxy: no command \"%s\"; edgeproxy --help lists them\n", name);
	return 2;
}

/* What a command has printed and could not be written (the disk is full) is no success. The status
 * of a health check is its answer, whatever becomes of the words. */
int main(int argc, char **argv)
{
	int status = command_main(argc, argv);
	bool is_health = argc > 1 && strcmp(argv[1], "healthcheck") == 0;

	return output_flush() == 0 || status != EXIT_SUCCESS || is_health ? status : EXIT_FAILURE;
}
