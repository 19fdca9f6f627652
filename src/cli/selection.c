/* Ending more than one thing asks, unless --yes says so; without a terminal to ask at, it does not
 * end them. It never takes an empty filter for all: who means all says --all.
 *
 * What the question counts are those of that moment; the proxy then ends those that match when it
 * is told. */
#include "cli/selection.h"

#include "cli/confirm.h"
#include "cli/control.h"
#include "cli/control_path.h"
#include "cli/output.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define PROBLEM_MAX 128

static void filter_path(const struct selection *s, const struct arguments *a, const char *limit,
                        struct control_path *path)
{
	control_path_init(path, s->path);
	for (const char *const *filter = s->filters; *filter != NULL; filter++)
		control_path_parameter(path, *filter, arguments_value(a, *filter));
	control_path_parameter(path, "limit", limit);
}

static int ask_and_print(struct control *c, const char *method, const struct control_path *path,
                         const struct arguments *a,
                         void (*print)(const struct arguments *a, const json_t *answer))
{
	struct control_answer answer;
	int r = control_ask(c, method, path, &answer);

	if (r != CONTROL_OK)
		return r;
	if (arguments_has(a, "json"))
		output_raw(answer.text, answer.len);
	else
		print(a, answer.json);
	control_answer_done(&answer);
	return CONTROL_OK;
}

static int list(const struct selection *s, struct control *c, const struct arguments *a)
{
	struct control_path path;

	filter_path(s, a, arguments_value(a, "limit"), &path);
	return ask_and_print(c, "GET", &path, a, s->print_list);
}

static int end_one(const struct selection *s, struct control *c, const struct arguments *a,
                   const char *id)
{
	struct control_path path;

	control_path_init(&path, s->path);
	control_path_segment(&path, id);
	return ask_and_print(c, "DELETE", &path, a, s->print_one);
}

/* CONTROL_OK: go on. */
static int ask_user(const struct selection *s, struct control *c, const struct arguments *a)
{
	struct control_answer answer;
	struct control_path path;
	uint64_t matched;
	int r;

	filter_path(s, a, "0", &path);
	r = control_ask(c, "GET", &path, &answer);
	if (r != CONTROL_OK)
		return r;
	matched = output_uint(answer.json, "matched");
	control_answer_done(&answer);
	return matched == 0 || confirm(s->command, matched, s->consequence) ? CONTROL_OK
	                                                                    : CONTROL_FAILED;
}

static int end_some(const struct selection *s, struct control *c, const struct arguments *a)
{
	struct control_path path;
	int r;

	if (!arguments_has_any(a, s->filters) && !arguments_has(a, "all")) {
		fprintf(stderr, "edgeproxy %s: %s\n", s->command, s->which);
		return CONTROL_ARGUMENTS;
	}
	r = arguments_has(a, "yes") ? CONTROL_OK : ask_user(s, c, a);
	if (r != CONTROL_OK)
		return r;
	filter_path(s, a, s->names_ended ? arguments_value(a, "limit") : "0", &path);
	control_path_parameter(&path, "all", arguments_has(a, "all") ? "true" : NULL);
	return ask_and_print(c, "DELETE", &path, a, s->print_ended);
}

/* What is asked for, by the operands. */
enum deed { LIST, END_SOME, END_ONE };

/* An option that was given and would not be heeded; NULL: none. Who says `end ID --all` or `end
 * --limit 5` means something else than what would be done. */
static const char *unheeded(const struct selection *s, const struct arguments *a, enum deed deed)
{
	bool shows = deed == LIST ||
	             (deed == END_SOME && s->names_ended && arguments_has(a, "json"));

	for (const char *const *filter = s->filters; deed == END_ONE && *filter != NULL; filter++)
		if (arguments_has(a, *filter))
			return *filter;
	if (deed != END_SOME && arguments_has(a, "all"))
		return "all";
	if (deed == LIST && arguments_has(a, "yes"))
		return "yes";
	return !shows && arguments_has(a, "limit") ? "limit" : NULL;
}

/* CONTROL_OK: every option means something here. */
static int check_options(const struct selection *s, const struct arguments *a, enum deed deed)
{
	static const char *const why[] = {
		[LIST] = "goes with",
		[END_SOME] = "is how many are shown; all that match are meant by",
		[END_ONE] = "does not go with the name of one behind",
	};
	const char *option = unheeded(s, a, deed);
	char what[PROBLEM_MAX];

	if (option == NULL)
		return CONTROL_OK;
	snprintf(what, sizeof(what), "--%s %s \"%s\"", option, why[deed], s->verb);
	return arguments_wrong(s->command, s->usage, what, NULL);
}

int selection_main(const struct selection *s, int argc, char **argv)
{
	struct arguments a;
	struct control *c;
	enum deed deed;
	int r = arguments_read(argc, argv, s->usage, s->options, 0, s->print_one != NULL ? 2 : 1,
	                       &a);

	if (r != ARGUMENTS_GO_ON)
		return r;
	if (a.rest_count > 0 && strcmp(a.rest[0], s->verb) != 0) {
		fprintf(stderr, "edgeproxy %s: unknown word: %s; there is only \"%s\"\n",
		        s->command, a.rest[0], s->verb);
		return CONTROL_ARGUMENTS;
	}
	deed = a.rest_count == 0 ? LIST : a.rest_count == 1 ? END_SOME : END_ONE;
	r = check_options(s, &a, deed);
	if (r != CONTROL_OK)
		return r;
	r = control_open(s->command, &c);
	if (r != CONTROL_OK)
		return r;
	if (deed == LIST)
		r = list(s, c, &a);
	else if (deed == END_ONE)
		r = end_one(s, c, &a, a.rest[1]);
	else
		r = end_some(s, c, &a);
	control_close(c);
	return r;
}
