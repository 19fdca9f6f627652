/* `edgeproxy top`: asks for /api/v1/stats again and again, and draws what two answers in a row
 * tell. Where nothing can be drawn (no terminal, TERM=dumb) or with --once it prints one frame as
 * plain text and ends.
 *
 * While a successor takes over, the control socket may be gone for a moment; so the proxy is lost
 * only when it has not answered for LOST_MS. */
#include "cli/top.h"

#include "base/clock.h"
#include "cli/arguments.h"
#include "cli/control.h"
#include "cli/control_path.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/top_frame.h"
#include "cli/top_model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define USAGE "edgeproxy top [--once] [--interval SECS] [--sort COLUMN] [--filter TEXT]"
#define INTERVAL_DEFAULT_MS 1000
#define INTERVAL_MIN_MS 100
#define INTERVAL_MAX_MS 3600000
#define LOST_MS 5000
#define ESCAPE 27
#define BACKSPACE 127

const struct command_option top_options[] = {
	{.name = "once", .help = "one frame as plain text"},
	{.name = "interval", .value = "SECS", .help = "between two frames: 0.1 to 3600, 1"},
	{.name = "sort",
         .value = "COLUMN",
         .help = "connections (the default), rate, rtt, failures or id"},
	{.name = "filter",
         .value = "TEXT",
         .help = "backends with this text in id, region or country"},
	{0},
};

struct top {
	struct control *control;
	json_t *now;
	json_t *before; /* NULL: none */
	uint64_t answered_ms;
	uint64_t interval_ms;
	enum top_sort sort;
	char filter[TOP_FILTER_MAX];
	bool typing;
	bool failing;
};

/* ---- arguments ---- */

static int wrong(const char *what)
{
	fprintf(stderr, "edgeproxy top: %s\n", what);
	return CONTROL_ARGUMENTS;
}

static int read_arguments(struct top *t, const struct arguments *a)
{
	const char *interval = arguments_value(a, "interval");
	const char *sort = arguments_value(a, "sort");
	const char *filter = arguments_value(a, "filter");
	int found = sort == NULL ? TOP_BY_CONNECTIONS : TOP_SORTS;

	t->interval_ms = INTERVAL_DEFAULT_MS;
	if (interval != NULL) {
		char *end;
		double secs = strtod(interval, &end);

		if (*end != '\0' || !(secs * 1000 >= INTERVAL_MIN_MS) ||
		    !(secs * 1000 <= INTERVAL_MAX_MS))
			return wrong("--interval takes 0.1 to 3600 seconds");
		t->interval_ms = (uint64_t)(secs * 1000);
	}
	for (int i = 0; sort != NULL && i < TOP_SORTS; i++)
		if (strcmp(sort, top_sort_word((enum top_sort)i)) == 0)
			found = i;
	if (found == TOP_SORTS)
		return wrong("--sort takes connections, rate, rtt, failures or id");
	t->sort = (enum top_sort)found;
	if (filter != NULL && strlen(filter) >= TOP_FILTER_MAX)
		return wrong("--filter is too long");
	if (filter != NULL)
		memcpy(t->filter, filter, strlen(filter) + 1);
	return CONTROL_OK;
}

/* ---- asking ---- */

static int ask(struct top *t)
{
	struct control_answer a;
	struct control_path path;
	int r;

	control_path_init(&path, "/api/v1/stats");
	control_path_parameter(&path, "limit", "1000");
	control_path_parameter(&path, "sort", top_sort_parameter(t->sort));
	r = control_ask(t->control, "GET", &path, &a);
	if (r != CONTROL_OK)
		return r;
	json_decref(t->before);
	t->before = t->now;
	t->now = json_incref(a.json);
	t->answered_ms = clock_now_ms();
	control_answer_done(&a);
	return CONTROL_OK;
}

static void wait_ms(uint64_t ms)
{
	struct timespec left = {.tv_sec = (time_t)(ms / 1000),
	                        .tv_nsec = (long)(ms % 1000) * 1000000};

	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

/* ---- frames ---- */

static char *frame_of(struct top *t, bool plain)
{
	struct top_model *m = calloc(1, sizeof(*m));
	struct top_view view = {
		.colours = !plain && terminal_wants_colours(),
		.keys = !plain,
		.sort = t->sort,
		.filter = t->filter,
		.typing = t->typing,
		.message = t->failing ? "the proxy does not answer; trying again" : NULL,
	};
	char *frame;

	if (m == NULL)
		return NULL;
	terminal_size(&view.columns, &view.rows);
	top_model_read(m, t->now, t->before);
	frame = top_frame_new(m, &view);
	free(m);
	return frame;
}

static bool draw(struct top *t)
{
	char *frame = frame_of(t, false);
	bool seen = frame == NULL || terminal_show(frame);

	free(frame);
	return seen;
}

static int print_once(struct top *t)
{
	char *frame;
	int r;

	wait_ms(t->interval_ms);
	r = ask(t);
	if (r != CONTROL_OK)
		return r;
	frame = frame_of(t, true);
	if (frame != NULL)
		puts(frame);
	free(frame);
	return frame != NULL && output_flush() == 0 ? CONTROL_OK : CONTROL_FAILED;
}

/* ---- keys ---- */

static void type(struct top *t, int key)
{
	size_t len = strlen(t->filter);

	if (key == ESCAPE)
		t->filter[0] = '\0';
	if (key == ESCAPE || key == '\n' || key == '\r')
		t->typing = false;
	else if ((key == BACKSPACE || key == '\b') && len > 0)
		t->filter[len - 1] = '\0';
	else if (key >= ' ' && key < BACKSPACE && len + 1 < sizeof(t->filter))
		memcpy(t->filter + len, (const char[]){(char)key, '\0'}, 2);
}

/* False: the end is wanted. *ret_ask: what is known will not do. */
static bool obey(struct top *t, int key, bool *ret_ask)
{
	static const char sorts[] = {
		[TOP_BY_CONNECTIONS] = 'c', [TOP_BY_RATE] = 'r', [TOP_BY_RTT] = 't',
		[TOP_BY_FAILURES] = 'f',    [TOP_BY_ID] = 'i',
	};

	if (t->typing) {
		type(t, key);
		return true;
	}
	if (key == 'q' || key == 'Q')
		return false;
	if (key == '/')
		t->typing = true;
	if (key == ESCAPE)
		t->filter[0] = '\0';
	for (int i = 0; i < TOP_SORTS; i++) {
		if (key != sorts[i])
			continue;
		/* Of very many backends the proxy tells those that are first in this order. */
		*ret_ask = t->sort != (enum top_sort)i &&
		           json_integer_value(json_object_get(t->now, "backends_total")) >
		                   TOP_BACKENDS_MAX;
		t->sort = (enum top_sort)i;
	}
	return true;
}

/* Draws and waits for keys until it is time to ask again. False: the end. */
static bool watch(struct top *t, uint64_t until_ms)
{
	uint64_t now_ms;
	bool asks = false;

	do {
		int key;

		if (!draw(t))
			return false;
		now_ms = clock_now_ms();
		key = terminal_key(now_ms < until_ms ? (int)(until_ms - now_ms) : 0);
		if (key < 0 || (key > 0 && !obey(t, key, &asks)))
			return false;
		now_ms = clock_now_ms();
	} while (now_ms < until_ms && !asks);
	return true;
}

static int run(struct top *t)
{
	uint64_t next_ms = clock_now_ms();
	bool lost = false;
	int r;

	if (terminal_open() != 0)
		return wrong("the terminal cannot be used");
	control_set_quiet(t->control, true);
	while (!lost) {
		next_ms += t->interval_ms;
		if (next_ms < clock_now_ms())
			next_ms = clock_now_ms() + t->interval_ms;
		if (!watch(t, next_ms))
			break;
		t->failing = ask(t) != CONTROL_OK;
		lost = t->failing && clock_now_ms() - t->answered_ms >= LOST_MS + t->interval_ms;
	}
	terminal_close();
	control_set_quiet(t->control, false);
	if (!lost)
		return CONTROL_OK;
	/* Once more, so that it is said why. */
	r = ask(t);
	if (r == CONTROL_OK)
		fprintf(stderr, "edgeproxy top: the proxy did not answer for a while\n");
	return CONTROL_FAILED;
}

int top_main(int argc, char **argv)
{
	struct arguments a;
	struct top t = {0};
	int r = arguments_read(argc, argv, USAGE, top_options, 0, 0, &a);

	if (r != ARGUMENTS_GO_ON)
		return r;
	r = read_arguments(&t, &a);
	if (r != CONTROL_OK)
		return r;
	r = control_open("top", &t.control);
	if (r != CONTROL_OK)
		return r;
	r = ask(&t);
	if (r == CONTROL_OK)
		r = arguments_has(&a, "once") || !terminal_can_draw() ? print_once(&t) : run(&t);
	json_decref(t.now);
	json_decref(t.before);
	control_close(t.control);
	return r;
}
