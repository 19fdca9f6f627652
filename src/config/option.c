/* The types of options, all of them: how a text is read, what to say when it cannot be, and what
 * would have been right. --help, the message about a wrong value and the parser cannot disagree,
 * since all three are here, side by side for each type.
 *
 * The text is typed by people, so it is not trusted and nothing is guessed: what is not exactly of
 * the type and in the range is refused. So is an empty text, where the row has no meaning for it:
 * a template that failed to fill in a number shall not start a proxy with a default that nobody
 * chose.
 *
 * What an option is for, where its value lies and that there is an environment is not known here.
 */
#include "config/option.h"

#include "net/addr.h"
#include "net/log_target.h"
#include "net/prefix.h"
#include "net/status_set.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A BOOL is at the same time its word's place modulo 2. */
static const char *const words_bool[] = {"0", "1", "false", "true", "no", "yes", "off", "on", NULL};

/* NULL: the type has none. */
static const char *const *words_of(const struct option *o)
{
	return o->type == OPTION_BOOL ? words_bool : o->words;
}

__attribute__((format(printf, 2, 3))) static int refuse(char why[OPTION_WHY_BYTES],
                                                        const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, OPTION_WHY_BYTES, format, args);
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
	const char *const *words = words_of(o);

	for (int i = 0; words[i] != NULL; i++) {
		if (strcmp(words[i], text) == 0) {
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
		return refuse(why, "\"%.*s\" has bits set behind its prefix", option_shown(bad_len),
		              text + bad_at);
	if (r == -EINVAL)
		return refuse(why, "\"%.*s\" is neither an address nor a CIDR",
		              option_shown(bad_len), text + bad_at);
	return r;
}

static int log_target_option_parse(const char *text, struct log_target *ret_target, char *why)
{
	const char *reason;

	return log_target_parse(text, ret_target, &reason) == 0 ? 0 : refuse(why, "%s", reason);
}

static bool may_be_empty(const struct option *o)
{
	return words_of(o) == NULL && o->type != OPTION_UINT && o->type != OPTION_STATUSES &&
	       o->least == 0;
}

int option_parse(const struct option *o, const char *text, void *field, char why[OPTION_WHY_BYTES])
{
	int place = 0;
	int r;

	if (*text == '\0' && !may_be_empty(o))
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

void option_done(const struct option *o, void *field)
{
	if (o->type == OPTION_STRING || o->type == OPTION_PATH || o->type == OPTION_WORD)
		free(*(char **)field);
	else if (o->type == OPTION_PREFIXES)
		prefix_map_free(*(struct prefix_map **)field);
}

const char *option_allowed(const struct option *o, char buf[OPTION_ALLOWED_BYTES])
{
	const char *space = *o->unit != '\0' ? " " : "";
	const char *const *words = words_of(o);
	size_t len = 0;

	switch (o->type) {
	case OPTION_STRING:
	case OPTION_PATH:
		snprintf(buf, OPTION_ALLOWED_BYTES, "%ju..%ju bytes", (uintmax_t)o->least,
		         (uintmax_t)o->most);
		break;
	case OPTION_UINT:
		snprintf(buf, OPTION_ALLOWED_BYTES, "%ju..%ju%s%s", (uintmax_t)o->least,
		         (uintmax_t)o->most, space, o->unit);
		break;
	case OPTION_WORD:
		snprintf(buf, OPTION_ALLOWED_BYTES, "%ju..%ju visible ASCII characters",
		         (uintmax_t)o->least, (uintmax_t)o->most);
		break;
	case OPTION_STATUSES:
		snprintf(buf, OPTION_ALLOWED_BYTES, "status codes such as 200-299,304");
		break;
	case OPTION_LOG_TARGET:
		snprintf(buf, OPTION_ALLOWED_BYTES, LOG_TARGET_FORMS);
		break;
	case OPTION_ENDPOINT:
		snprintf(buf, OPTION_ALLOWED_BYTES, "ADDRESS:PORT, [IPV6]:PORT, :PORT%s",
		         o->least == 0 ? ", or empty" : "");
		break;
	case OPTION_PREFIXES:
		snprintf(buf, OPTION_ALLOWED_BYTES, "addresses and CIDRs, commas between");
		break;
	case OPTION_BOOL:
	case OPTION_CHOICE:
		for (int i = 0; words[i] != NULL && len < OPTION_ALLOWED_BYTES; i++)
			len += (size_t)snprintf(buf + len, OPTION_ALLOWED_BYTES - len, "%s%s",
			                        i > 0 ? ", " : "", words[i]);
		break;
	}
	return buf;
}

const char *option_default(const struct option *o)
{
	return *o->default_text != '\0' ? o->default_text : "empty";
}
