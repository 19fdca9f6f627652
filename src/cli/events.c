/* `edgeproxy events`: asks the proxy for what has happened, page by page, and with --follow goes on
 * asking a few times a second from the number where the last answer ended. A line an event for
 * people, a JSON object a line for programs; colours only where a terminal can show them. */
#include "cli/events.h"

#include "cli/arguments.h"
#include "cli/control.h"
#include "cli/control_path.h"
#include "cli/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define USAGE \
	"edgeproxy events [--follow] [--kind routed,failed,ended,log] [--backend ID] " \
	"[--country C] [--client CIDR] [--since 5m] [--json]"
#define PAGE "1000"
#define FOLLOW_PAUSE_NS 250000000
#define NUMBER_MAX 24
/* The proxy answers with the number of its latest event. */
#define LATEST "9223372036854775807"

const struct command_option events_options[] = {
	{.name = "follow", .help = "go on as things happen"},
	{.name = "kind", .value = "KINDS", .help = "of routed, failed, ended, log"},
	{.name = "backend",
         .value = "ID",
         .help = "what is about this backend",
         .kind = ARGUMENT_BACKEND},
	{.name = "country", .value = "C", .help = "decisions about clients of this country"},
	{.name = "client", .value = "CIDR", .help = "decisions about these clients"},
	{.name = "since", .value = "TIME", .help = "of the last 90s, 5m, 2h, 1d"},
	{.name = "json", .help = "one JSON object a line"},
	{0},
};

enum colour { PLAIN, DIM, GREEN, YELLOW, RED };

struct viewer {
	const struct arguments *arguments;
	struct control *control;
	char since[NUMBER_MAX]; /* seconds; "" for all */
	bool colours;
	bool json;
	char after[NUMBER_MAX];
	uint64_t started_ms; /* of the process that answers */
};

/* ---- the question ---- */

/* "90s", "5m", "2h", "1d", "90" as seconds. */
static bool read_since(const char *text, char ret_secs[NUMBER_MAX])
{
	static const struct {
		char letter;
		uint64_t secs;
	} units[] = {{'\0', 1}, {'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || number == 0 || number > 100000000 ||
	    (end[0] != '\0' && end[1] != '\0'))
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		uint64_t secs = number * units[i].secs;

		if (*end != units[i].letter)
			continue;
		/* A year is more than the proxy keeps. */
		snprintf(ret_secs, NUMBER_MAX, "%" PRIu64, secs < 31536000 ? secs : 31536000);
		return true;
	}
	return false;
}

static int ask(struct viewer *v, struct control_answer *ret)
{
	static const char *const passed[] = {"kind", "backend", "country", "client"};
	struct control_path path;

	control_path_init(&path, "/api/v1/events");
	control_path_parameter(&path, "after", v->after);
	control_path_parameter(&path, "limit", PAGE);
	control_path_parameter(&path, "since_secs", v->since[0] != '\0' ? v->since : NULL);
	for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
		control_path_parameter(&path, passed[i], arguments_value(v->arguments, passed[i]));
	return control_ask(v->control, "GET", &path, ret);
}

/* ---- an event as a line ---- */

static void begin_colour(const struct viewer *v, enum colour c)
{
	static const char *const codes[] = {
		[DIM] = "\033[2m", [GREEN] = "\033[32m", [YELLOW] = "\033[33m", [RED] = "\033[31m"};

	if (v->colours && c != PLAIN)
		fputs(codes[c], stdout);
}

static void end_colour(const struct viewer *v, enum colour c)
{
	if (v->colours && c != PLAIN)
		fputs("\033[0m", stdout);
}

static enum colour colour_of(const json_t *e)
{
	const char *kind = output_text(e, "kind", "");
	const char *level = output_text(e, "level", "");

	if (strcmp(kind, "routed") == 0)
		return GREEN;
	if (strcmp(kind, "failed") == 0 || strcmp(level, "error") == 0)
		return RED;
	if (strcmp(kind, "ended") == 0 || strcmp(level, "warn") == 0)
		return YELLOW;
	return DIM;
}

static void print_padded(const char *text, size_t width)
{
	size_t taken = output_width(text);

	output_print(text);
	printf("%*s ", (int)(taken < width ? width - taken : 0), "");
}

static void print_field(const char *key, const json_t *value)
{
	putchar(' ');
	output_print(key);
	putchar('=');
	if (json_is_string(value)) {
		output_print(json_string_value(value));
	} else {
		char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

		output_print(text != NULL ? text : "?");
		free(text);
	}
}

static void print_log(const json_t *e)
{
	json_t *fields = json_object_get(e, "fields");
	const char *key;
	json_t *value;

	print_padded(output_text(e, "level", "?"), 5);
	output_print(output_text(e, "event", "?"));
	json_object_foreach(fields, key, value) print_field(key, value);
}

static void print_decision(const json_t *e)
{
	const char *kind = output_text(e, "kind", "");
	char text[OUTPUT_TEXT_MAX];

	print_padded(output_text(e, "backend", "-"), 16);
	print_padded(output_text(e, "country", "--"), 2);
	print_padded(output_text(e, "client", "-"), 15);
	if (strcmp(kind, "failed") == 0) {
		output_print(output_text(e, "error", "?"));
	} else if (strcmp(kind, "ended") == 0) {
		output_print(output_text(e, "reason", "?"));
	} else {
		printf("score %" PRIu64 "%s, connect %s", output_uint(e, "region_score"),
		       output_bool(e, "from_affinity") ? ", had it before" : "",
		       output_us(output_uint(e, "connect_us"), text));
		if (output_uint(e, "queue_us") > 0)
			printf(", waited %s", output_us(output_uint(e, "queue_us"), text));
	}
	if (output_uint(e, "retries") > 0)
		printf(", retries %" PRIu64, output_uint(e, "retries"));
	printf("  ");
	output_print(output_text(e, "service", ""));
}

static void print_event(const struct viewer *v, const json_t *e)
{
	const char *kind = output_text(e, "kind", "?");
	enum colour c = colour_of(e);

	if (v->json) {
		char *text = json_dumps(e, JSON_COMPACT);

		printf("%s\n", text != NULL ? text : "{}");
		free(text);
		return;
	}
	output_print(output_text(e, "at", "?"));
	putchar(' ');
	begin_colour(v, c);
	print_padded(kind, 6);
	if (strcmp(kind, "log") == 0)
		print_log(e);
	else
		print_decision(e);
	end_colour(v, c);
	putchar('\n');
}

/* ---- all of them ---- */

/* One page. *ret_more: there is another right behind it. */
static int show_page(struct viewer *v, bool *ret_more)
{
	struct control_answer a;
	const json_t *events;
	uint64_t started_ms;
	int r = ask(v, &a);

	if (r != CONTROL_OK)
		return r;
	events = json_object_get(a.json, "events");
	started_ms = output_uint(a.json, "started_ms");
	if (v->started_ms != 0 && started_ms != v->started_ms) {
		/* Another process, which counts anew: after an upgrade or a restart. */
		v->started_ms = started_ms;
		snprintf(v->after, sizeof(v->after), "0");
		*ret_more = true;
		control_answer_done(&a);
		return CONTROL_OK;
	}
	v->started_ms = started_ms;
	for (size_t i = 0; i < json_array_size(events); i++)
		print_event(v, json_array_get(events, i));
	snprintf(v->after, sizeof(v->after), "%" PRIu64, output_uint(a.json, "next"));
	*ret_more = output_bool(a.json, "more");
	control_answer_done(&a);
	if (output_flush() != 0)
		return CONTROL_FAILED;
	return CONTROL_OK;
}

static int show(struct viewer *v, bool follow)
{
	static const struct timespec pause = {.tv_nsec = FOLLOW_PAUSE_NS};
	bool more = true;
	int r = CONTROL_OK;

	snprintf(v->after, sizeof(v->after), "%s", follow && v->since[0] == '\0' ? LATEST : "0");
	while (r == CONTROL_OK && (more || follow)) {
		r = show_page(v, &more);
		if (r == CONTROL_OK && !more && follow)
			nanosleep(&pause, NULL);
	}
	return r;
}

static bool shows_colours(void)
{
	const char *term = getenv("TERM");
	const char *no_color = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && (no_color == NULL || no_color[0] == '\0') && term != NULL &&
	       strcmp(term, "dumb") != 0;
}

int events_main(int argc, char **argv)
{
	struct arguments a;
	struct viewer v = {.arguments = &a, .colours = shows_colours()};
	const char *since;
	int r = arguments_read(argc, argv, USAGE, events_options, 0, 0, &a);

	if (r != ARGUMENTS_GO_ON)
		return r;
	since = arguments_value(&a, "since");
	if (since != NULL && !read_since(since, v.since)) {
		fprintf(stderr,
		        "edgeproxy events: --since takes a time such as 90s, 5m, 2h or 1d\n");
		return CONTROL_ARGUMENTS;
	}
	v.json = arguments_has(&a, "json");
	r = control_open("events", &v.control);
	if (r != CONTROL_OK)
		return r;
	r = show(&v, arguments_has(&a, "follow"));
	control_close(v.control);
	return r;
}
