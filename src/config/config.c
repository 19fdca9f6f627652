/* Reads the environment into struct config.
 *
 * All that is known about an option is its row in options.def; how a value of its type is read,
 * and what is allowed, option.c knows. Here the rows become a table, and the table goes over the
 * environment: a value that is refused is one line that says what would have been right, and all
 * such lines come in one run. A misspelt name can only be guessed at, since other programs may
 * share the prefix (Kubernetes sets EDGEPROXY_PORT for a service called edgeproxy): that is a
 * warning.
 *
 * No file is opened, nothing is logged, nothing is kept outside of struct config. */
#include "config/config.h"

#include "base/log.h"
#include "base/watchdog.h"
#include "config/option.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "EDGEPROXY_"
#define COLUMNS 100
#define ALLOWED_COLUMNS (COLUMNS - 54) /* of the last column of --help */
#define LINE_BYTES 640

static const char *const words_retry_on[] = {
	[RETRY_CONN_FAILURE] = "conn-failure", [RETRY_EARLY_RESET] = "early-reset", NULL};
static const char *const words_relay_mode[] = {
	[RELAY_AUTO] = "auto", [RELAY_COPY] = "copy", [RELAY_SPLICE] = "splice", NULL};
static const char *const words_health_check[] = {
	[HEALTH_CHECK_OPTION_NONE] = "none",
	[HEALTH_CHECK_OPTION_TCP] = "tcp",
	[HEALTH_CHECK_OPTION_HTTP] = "http",
	[HEALTH_CHECK_OPTION_GRPC] = "grpc",
	NULL,
};
static const char *const words_on_marked_down[] = {
	[MARKED_DOWN_NONE] = "none", [MARKED_DOWN_SHUTDOWN_SESSIONS] = "shutdown-sessions", NULL};
static const char *const words_watchdog[] = {
	[WATCHDOG_OFF] = "off", [WATCHDOG_LOG] = "log", [WATCHDOG_ABORT] = "abort", NULL};
static const char *const words_log_level[] = {[LOG_ERROR] = "error",
                                              [LOG_WARN] = "warn",
                                              [LOG_INFO] = "info",
                                              [LOG_DEBUG] = "debug",
                                              NULL};
static const char *const words_log_format[] = {[LOG_TEXT] = "text", [LOG_JSON] = "json", NULL};

/* A CHOICE without words does not compile. */
#define WORDS_STRING(field) NULL
#define WORDS_PATH(field) NULL
#define WORDS_WORD(field) NULL
#define WORDS_STATUSES(field) NULL
#define WORDS_UINT(field) NULL
#define WORDS_BOOL(field) NULL
#define WORDS_ENDPOINT(field) NULL
#define WORDS_PREFIXES(field) NULL
#define WORDS_LOG_TARGET(field) NULL
#define WORDS_CHOICE(field) words_##field

/* clang-format off */
static const struct option options[] = {
#define OPTION(type, field, variable, default_text, least, most, unit, group, help) \
	{OPTION_##type, offsetof(struct config, field), variable, default_text, least, most, unit, \
	 group, help, WORDS_##type(field)},
#include "config/options.def"
#undef OPTION
};
/* clang-format on */
#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

/* ---- problems ---- */

/* Behind what a message has cut. */
static const char *dots(size_t len)
{
	return len > OPTION_SHOWN_BYTES ? "..." : "";
}

/* One line, whatever bytes the environment holds: nothing in it ends a line or drives a terminal.
 */
__attribute__((format(printf, 3, 4))) static void report(const struct config_report *to, bool fatal,
                                                         const char *format, ...)
{
	char line[LINE_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	for (char *p = line; *p != '\0'; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	}
	to->problem(to->arg, fatal, line);
}

static void report_value(const struct config_report *to, const struct option *o, const char *text,
                         const char *why)
{
	size_t len = strlen(text);
	char allowed[OPTION_ALLOWED_BYTES];

	report(to, true, "%s=%.*s%s: %s; allowed: %s (default %s)", o->variable, option_shown(len),
	       text, dots(len), why, option_allowed(o, allowed), option_default(o));
}

/* Levenshtein's distance between a known name and len bytes of another. */
static size_t distance(const char *known, const char *name, size_t len)
{
	size_t row[64]; /* row[j]: from the bytes of name so far to the first j of known */
	size_t known_len = strlen(known);

	CHECK(known_len < sizeof(row) / sizeof(row[0]));
	for (size_t j = 0; j <= known_len; j++)
		row[j] = j;
	for (size_t i = 0; i < len; i++) {
		size_t diagonal = row[0];

		row[0] = i + 1;
		for (size_t j = 0; j < known_len; j++) {
			size_t best = diagonal + (known[j] == name[i] ? 0 : 1);

			diagonal = row[j + 1];
			if (best > row[j] + 1)
				best = row[j] + 1;
			if (best > diagonal + 1)
				best = diagonal + 1;
			row[j + 1] = best;
		}
	}
	return row[known_len];
}

/* The prefix is left out of the comparison, so that EDGEPROXY_DEBUG finds DEBUG. */
static const char *nearest(const char *name, size_t len)
{
	const size_t prefix = strlen(PREFIX);
	const char *best = NULL;
	size_t best_distance = 0;

	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const char *known = options[i].variable;
		size_t skip = strncmp(known, PREFIX, prefix) == 0 ? prefix : 0;
		size_t d = distance(known + skip, name + prefix, len - prefix);

		if (best == NULL || d < best_distance) {
			best = known;
			best_distance = d;
		}
	}
	return best;
}

static bool is_known(const char *name, size_t len)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if (strlen(options[i].variable) == len &&
		    memcmp(options[i].variable, name, len) == 0)
			return true;
	}
	return false;
}

static void report_unknown(const struct config_report *to, char *const *environment)
{
	for (char *const *entry = environment; *entry != NULL; entry++) {
		size_t len = strcspn(*entry, "=");

		if (strncmp(*entry, PREFIX, strlen(PREFIX)) == 0 && !is_known(*entry, len))
			report(to, false, "%.*s%s: no such option; the nearest is %s",
			       option_shown(len), *entry, dots(len), nearest(*entry, len));
	}
}

/* ---- the whole ---- */

static void *field_of(const struct option *o, struct config *c)
{
	return (char *)c + o->offset;
}

/* The first one counts, as for getenv(). */
static const char *environment_find(char *const *environment, const char *variable)
{
	size_t len = strlen(variable);

	for (char *const *entry = environment; *entry != NULL; entry++) {
		if (strncmp(*entry, variable, len) == 0 && (*entry)[len] == '=')
			return *entry + len + 1;
	}
	return NULL;
}

int config_read(char *const *environment, const struct config_report *report_to,
                struct config *ret_config)
{
	struct config c = {0};
	int result = 0;

	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct option *o = &options[i];
		const char *text = environment_find(environment, o->variable);
		char why[OPTION_WHY_BYTES] = "out of memory";
		int r = option_parse(o, text != NULL ? text : o->default_text, field_of(o, &c),
		                     why);

		CHECK(text != NULL || r != -EINVAL); /* a row whose default is wrong */
		if (r == 0)
			continue;
		report_value(report_to, o, text != NULL ? text : o->default_text, why);
		result = r;
	}
	report_unknown(report_to, environment);
	if (result != 0) {
		config_done(&c);
		return result;
	}
	/* Two names for one thing, and it is on when either says so. */
	c.debug = c.debug || c.log_level == LOG_DEBUG;
	c.log_level = c.debug ? LOG_DEBUG : c.log_level;
	*ret_config = c;
	return 0;
}

/* What the environment says of one option, or its default. field is as in struct config. */
static void read_alone(char *const *environment, const char *variable, void *field)
{
	const char *text = environment_find(environment, variable);
	char why[OPTION_WHY_BYTES];

	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct option *o = &options[i];

		if (strcmp(o->variable, variable) != 0)
			continue;
		if (text == NULL || option_parse(o, text, field, why) != 0)
			CHECK(option_parse(o, o->default_text, field, why) == 0);
		return;
	}
	CHECK(!"an option of this name");
}

void config_read_log(char *const *environment, enum log_level *ret_level,
                     enum log_format *ret_format)
{
	bool debug;
	int level, format;

	read_alone(environment, "DEBUG", &debug);
	read_alone(environment, "EDGEPROXY_LOG_LEVEL", &level);
	read_alone(environment, "EDGEPROXY_LOG_FORMAT", &format);
	*ret_level = debug ? LOG_DEBUG : (enum log_level)level;
	*ret_format = (enum log_format)format;
}

void config_done(struct config *c)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
		option_done(&options[i], field_of(&options[i], c));
	*c = (struct config){0};
}

bool config_listens(const struct config *c)
{
	static const struct endpoint none;

	return !endpoint_equal(&c->listen_addr, &none);
}

/* ---- --help ---- */

static void print_wrapped(FILE *to, int indent, const char *text)
{
	int column = indent;

	fprintf(to, "%*s", indent, "");
	while (*text != '\0') {
		int word = (int)strcspn(text, " ");

		if (column > indent && column + 1 + word > COLUMNS) {
			fprintf(to, "\n%*s", indent, "");
			column = indent;
		}
		column += fprintf(to, "%s%.*s", column > indent ? " " : "", word, text);
		text += word;
		text += strspn(text, " ");
	}
	fprintf(to, "\n");
}

void config_print_options(FILE *to)
{
	const char *group = "";

	for (size_t i = 0; i < OPTION_COUNT; i++) {
		const struct option *o = &options[i];
		char allowed[OPTION_ALLOWED_BYTES];

		if (strcmp(group, o->group) != 0)
			fprintf(to, "%s%-36s  %-14s  %s\n", i > 0 ? "\n" : "", o->group, "default",
			        "allowed");
		group = o->group;
		option_allowed(o, allowed);
		fprintf(to, "  %-34s  %-14s  %s\n", o->variable, option_default(o),
		        strlen(allowed) <= ALLOWED_COLUMNS ? allowed : "see here:");
		print_wrapped(to, 6, o->help);
	}
}
