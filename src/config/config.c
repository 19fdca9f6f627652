/* Reads the environment into struct config.
 *
 * All that is known about an option is its row in options.def; the code here knows only types. So
 * --help, the message about a wrong value, the default and the parser cannot disagree.
 *
 * The environment is typed by people, so nothing in it is trusted and nothing is guessed: a value
 * that is not exactly of its type and in its range is refused, with one line that says what would
 * have been right, and all such lines come in one run. A variable that is set but empty is refused
 * too where the row has no meaning for "empty": a template that failed to fill in a number shall
 * not start a proxy with a default that nobody chose. A misspelt name can only be guessed at, since
 * other programs may share the prefix (Kubernetes sets EDGEPROXY_PORT for a service called
 * edgeproxy): that is a warning.
 *
 * No file is opened, nothing is logged, nothing is kept outside of struct config. */
#include "config/config.h"

#include "base/log.h"
#include "base/watchdog.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "EDGEPROXY_"
#define COLUMNS 100
#define ALLOWED_COLUMNS (COLUMNS - 54) /* of the last column of --help */
/* Bytes of a value or name that a message repeats; the rest is cut. */
#define SHOWN_BYTES 80
#define WHY_BYTES 160
#define ALLOWED_BYTES 160
#define LINE_BYTES 640

enum option_type {
	OPTION_STRING,
	OPTION_PATH,
	OPTION_WORD,
	OPTION_UINT,
	OPTION_BOOL,
	OPTION_ENDPOINT,
	OPTION_PREFIXES,
	OPTION_STATUSES,
	OPTION_LOG_TARGET,
	OPTION_CHOICE,
};

struct option {
	enum option_type type;
	size_t offset; /* of the field in struct config */
	const char *variable;
	const char *default_text;
	uint64_t least;
	uint64_t most;
	const char *unit;
	const char *group;
	const char *help;
	const char *const *words; /* of a CHOICE, by value, ended by NULL */
};

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

/* A BOOL is at the same time its word's place modulo 2. */
static const char *const words_bool[] = {"0", "1", "false", "true", "no", "yes", "off", "on", NULL};

/* A CHOICE without words does not compile. */
#define WORDS_STRING(field) NULL
#define WORDS_PATH(field) NULL
#define WORDS_WORD(field) NULL
#define WORDS_STATUSES(field) NULL
#define WORDS_UINT(field) NULL
#define WORDS_BOOL(field) words_bool
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

/* ---- types ---- */

/* How much of a value or name of len bytes a message repeats, for "%.*s%s". */
static int shown(size_t len)
{
	return len < SHOWN_BYTES ? (int)len : SHOWN_BYTES;
}

static const char *dots(size_t len)
{
	return len > SHOWN_BYTES ? "..." : "";
}

__attribute__((format(printf, 2, 3))) static int refuse(char why[WHY_BYTES], const char *format,
                                                        ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, WHY_BYTES, format, args);
	va_end(args);
	return -EINVAL;
}

/* Digits only: strtoull() would also take a sign, spaces and, asked to, hexadecimal. */
static int uint_parse(const struct option *o, const char *text, uint64_t *ret_value, char *why)
{
	uint64_t value = 0;
	bool huge = false;

	if (text[strspn(text, "0123456789")] != '\0')
		return refuse(why, "not a whole number");
	for (const char *p = text; *p != '\0'; p++)
		huge |= __builtin_mul_overflow(value, 10u, &value) ||
		        __builtin_add_overflow(value, (unsigned)(*p - '0'), &value);
	if (huge || value < o->least || value > o->most)
		return refuse(why, "out of range");
	*ret_value = value;
	return 0;
}

static int word_parse(const struct option *o, const char *text, int *ret_place, char *why)
{
	for (int i = 0; o->words[i] != NULL; i++) {
		if (strcmp(o->words[i], text) == 0) {
			*ret_place = i;
			return 0;
		}
	}
	return refuse(why, "not one of the words");
}

static int text_parse(const struct option *o, const char *text, char **ret_copy, char *why)
{
	size_t len = strlen(text);
	char *copy;

	if (len < o->least || len > o->most)
		return refuse(why, "%zu bytes long", len);
	copy = strdup(text);
	if (copy == NULL)
		return -ENOMEM;
	*ret_copy = copy;
	return 0;
}

/* A text that can stand in a request line or a header. */
static int visible_parse(const struct option *o, const char *text, char **ret_copy, char *why)
{
	for (const char *p = text; *p != '\0'; p++)
		if (*p <= ' ' || *p > '~')
			return refuse(why, "not of visible ASCII characters alone");
	if (strncmp(text, o->unit, strlen(o->unit)) != 0)
		return refuse(why, "does not begin with %s", o->unit);
	return text_parse(o, text, ret_copy, why);
}

static int statuses_parse(const char *text, struct status_set *ret_set, char *why)
{
	if (status_set_parse(text, ret_set) != 0)
		return refuse(why, "not a list of status codes");
	return 0;
}

/* Empty is the all-zero endpoint, so that one cannot be asked for by its address. */
static int listen_parse(const char *text, struct endpoint *ret_endpoint, char *why)
{
	static const struct endpoint none;
	struct endpoint e = none;

	if (*text != '\0') {
		if (endpoint_parse(text, true, &e) != 0)
			return refuse(why, "not an address with a port");
		if (endpoint_equal(&e, &none))
			return refuse(why, "port 0 needs one family's address");
	}
	*ret_endpoint = e;
	return 0;
}

static int prefixes_parse(const char *text, struct prefix_map **ret_map, char *why)
{
	size_t bad_at = 0;
	size_t bad_len = 0;
	int r = prefix_map_parse(text, ret_map, &bad_at, &bad_len);

	if (r == -EDOM)
		return refuse(why, "\"%.*s\" has bits set behind its prefix", shown(bad_len),
		              text + bad_at);
	if (r == -EINVAL)
		return refuse(why, "\"%.*s\" is neither an address nor a CIDR", shown(bad_len),
		              text + bad_at);
	return r;
}

static int log_target_option_parse(const char *text, struct log_target *ret_target, char *why)
{
	const char *reason;

	return log_target_parse(text, ret_target, &reason) == 0 ? 0 : refuse(why, "%s", reason);
}

static bool option_may_be_empty(const struct option *o)
{
	return o->words == NULL && o->type != OPTION_UINT && o->type != OPTION_STATUSES &&
	       o->least == 0;
}

/* Parses text into the option's field of c. 0; -EINVAL with a reason in why; -ENOMEM. */
static int option_set(const struct option *o, const char *text, struct config *c,
                      char why[WHY_BYTES])
{
	void *field = (char *)c + o->offset;
	int place = 0;
	int r;

	if (*text == '\0' && !option_may_be_empty(o))
		return refuse(why, "empty");
	switch (o->type) {
	case OPTION_STRING:
	case OPTION_PATH:
		return text_parse(o, text, field, why);
	case OPTION_WORD:
		return visible_parse(o, text, field, why);
	case OPTION_STATUSES:
		return statuses_parse(text, field, why);
	case OPTION_LOG_TARGET:
		return log_target_option_parse(text, field, why);
	case OPTION_UINT:
		return uint_parse(o, text, field, why);
	case OPTION_ENDPOINT:
		return listen_parse(text, field, why);
	case OPTION_PREFIXES:
		return prefixes_parse(text, field, why);
	case OPTION_BOOL:
		r = word_parse(o, text, &place, why);
		if (r == 0)
			*(bool *)field = place % 2 == 1;
		return r;
	case OPTION_CHOICE:
		return word_parse(o, text, field, why);
	}
	CHECK(!"an option of no type");
	return -EINVAL;
}

static void option_done(const struct option *o, struct config *c)
{
	void *field = (char *)c + o->offset;

	if (o->type == OPTION_STRING || o->type == OPTION_PATH || o->type == OPTION_WORD)
		free(*(char **)field);
	else if (o->type == OPTION_PREFIXES)
		prefix_map_free(*(struct prefix_map **)field);
}

/* What an option takes, for people. */
static const char *option_allowed(const struct option *o, char buf[ALLOWED_BYTES])
{
	const char *space = *o->unit != '\0' ? " " : "";
	size_t len = 0;

	switch (o->type) {
	case OPTION_STRING:
	case OPTION_PATH:
		snprintf(buf, ALLOWED_BYTES, "%ju..%ju bytes", (uintmax_t)o->least,
		         (uintmax_t)o->most);
		break;
	case OPTION_UINT:
		snprintf(buf, ALLOWED_BYTES, "%ju..%ju%s%s", (uintmax_t)o->least,
		         (uintmax_t)o->most, space, o->unit);
		break;
	case OPTION_WORD:
		snprintf(buf, ALLOWED_BYTES, "%ju..%ju visible ASCII characters",
		         (uintmax_t)o->least, (uintmax_t)o->most);
		break;
	case OPTION_STATUSES:
		snprintf(buf, ALLOWED_BYTES, "status codes such as 200-299,304");
		break;
	case OPTION_LOG_TARGET:
		snprintf(buf, ALLOWED_BYTES, LOG_TARGET_FORMS);
		break;
	case OPTION_ENDPOINT:
		snprintf(buf, ALLOWED_BYTES, "ADDRESS:PORT, [IPV6]:PORT, :PORT%s",
		         o->least == 0 ? ", or empty" : "");
		break;
	case OPTION_PREFIXES:
		snprintf(buf, ALLOWED_BYTES, "addresses and CIDRs, commas between");
		break;
	case OPTION_BOOL:
	case OPTION_CHOICE:
		for (int i = 0; o->words[i] != NULL && len < ALLOWED_BYTES; i++)
			len += (size_t)snprintf(buf + len, ALLOWED_BYTES - len, "%s%s",
			                        i > 0 ? ", " : "", o->words[i]);
		break;
	}
	return buf;
}

static const char *option_default(const struct option *o)
{
	return *o->default_text != '\0' ? o->default_text : "empty";
}

/* ---- problems ---- */

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
	char allowed[ALLOWED_BYTES];

	report(to, true, "%s=%.*s%s: %s; allowed: %s (default %s)", o->variable, shown(len), text,
	       dots(len), why, option_allowed(o, allowed), option_default(o));
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
			report(to, false, "%.*s%s: no such option; the nearest is %s", shown(len),
			       *entry, dots(len), nearest(*entry, len));
	}
}

/* ---- the whole ---- */

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
		char why[WHY_BYTES] = "out of memory";
		int r = option_set(o, text != NULL ? text : o->default_text, &c, why);

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

void config_done(struct config *c)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
		option_done(&options[i], c);
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
		char allowed[ALLOWED_BYTES];

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
