/* Writing numbers and label values without printf(), which would be most of the time of a scrape
 * with thousands of backends.
 *
 * Label values come from the routing database and may hold whatever an operator wrote. The format
 * escapes three characters and wants UTF-8; one bad value would make Prometheus refuse the whole
 * scrape. So what is no UTF-8 is written in a form that is, and that no other value has: two
 * backends must never come out as one series. */
#include "observe/exposition.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE ((size_t)16 << 10)
/* Bytes that one byte of a label value may become: U+FFFD and two digits. */
#define ESCAPE_MAX 5
/* A number, or the bound of a bucket. */
#define NUMBER_MAX 32
#define BOUND_LABEL "le"

struct metric_row {
	const char *name;
	const char *type;
	const char *labels;
	const char *help;
};

#define TYPE_COUNTER "counter"
#define TYPE_GAUGE "gauge"
#define TYPE_HISTOGRAM "histogram"

static const struct metric_row rows[METRIC_COUNT] = {
#define METRIC(id, name, type, unit, labels, help) {name, TYPE_##type, labels, help},
#include "observe/metrics.def"
#undef METRIC
};

/* ---- bytes ---- */

/* Is there room for so many more? */
static bool make_room(struct exposition *e, size_t bytes)
{
	size_t size = e->size > 0 ? e->size : FIRST_SIZE;
	char *text;

	if (e->failed)
		return false;
	if (bytes <= e->size - e->len)
		return true;
	while (size - e->len < bytes && size < EXPOSITION_MAX_BYTES)
		size *= 2;
	text = size - e->len >= bytes ? realloc(e->text, size) : NULL;
	if (text == NULL) {
		e->failed = true;
		return false;
	}
	e->text = text;
	e->size = size;
	return true;
}

/* The put_…() write into room that was made. */
static void put(struct exposition *e, const char *bytes, size_t len)
{
	memcpy(e->text + e->len, bytes, len);
	e->len += len;
}

static void put_text(struct exposition *e, const char *text)
{
	put(e, text, strlen(text));
}

static void put_char(struct exposition *e, char c)
{
	e->text[e->len++] = c;
}

static void put_uint(struct exposition *e, uint64_t value)
{
	char digits[NUMBER_MAX];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value > 0);
	put(e, digits + at, sizeof(digits) - at);
}

/* Microseconds as seconds: 1500000 is 1.5, 50 is 0.00005. */
static void put_us(struct exposition *e, uint64_t us)
{
	uint64_t part = us % 1000000;

	put_uint(e, us / 1000000);
	if (part == 0)
		return;
	put_char(e, '.');
	for (uint64_t digit = 100000; part > 0; digit /= 10) {
		put_char(e, (char)('0' + part / digit));
		part %= digit;
	}
}

/* ---- label values ---- */

/* The length of the UTF-8 character at p (Unicode 15, table 3-7), which ends with a NUL; 0: it is
 * none. */
static size_t utf8_length(const unsigned char *p)
{
	unsigned char least = 0x80, most = 0xbf;
	size_t len;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (p[0] == 0xe0)
		least = 0xa0; /* else it were overlong */
	else if (p[0] == 0xed)
		most = 0x9f; /* a surrogate */
	else if (p[0] == 0xf0)
		least = 0x90;
	else if (p[0] == 0xf4)
		most = 0x8f; /* beyond U+10FFFF */
	if (p[1] < least || p[1] > most)
		return 0;
	for (size_t i = 2; i < len; i++)
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	return len;
}

static void put_hidden_byte(struct exposition *e, unsigned char byte)
{
	static const char digits[] = "0123456789abcdef";

	put_text(e, "\xef\xbf\xbd");
	put_char(e, digits[byte >> 4]);
	put_char(e, digits[byte & 0xf]);
}

static void put_value(struct exposition *e, const char *value)
{
	const unsigned char *p = (const unsigned char *)value;

	while (*p != '\0') {
		size_t len = utf8_length(p);

		if (*p == '\\' || *p == '"') {
			put_char(e, '\\');
			put_char(e, (char)*p);
		} else if (*p == '\n') {
			put_text(e, "\\n");
		} else if (len == 0 || (len == 3 && memcmp(p, "\xef\xbf\xbd", 3) == 0)) {
			put_hidden_byte(e, *p);
			len = 1; /* what follows of a U+FFFD is no character by itself */
		} else {
			put(e, (const char *)p, len);
		}
		p += len;
	}
}

/* ---- samples ---- */

void exposition_metric(struct exposition *e, enum metric metric)
{
	const struct metric_row *row = &rows[metric];
	size_t name_len = strlen(row->name);

	e->name = row->name;
	e->name_len = name_len;
	e->label_count = 0;
	for (const char *p = row->labels; *p != '\0';) {
		size_t len = strcspn(p, ",");

		CHECK(e->label_count < METRIC_LABELS_MAX);
		e->labels[e->label_count++] = (struct exposition_label){.name = p, .len = len};
		p += len + (p[len] == ',');
	}
	if (!make_room(e, 2 * name_len + strlen(row->help) + strlen(row->type) + NUMBER_MAX))
		return;
	put_text(e, "# HELP ");
	put(e, row->name, name_len);
	put_char(e, ' ');
	put_text(e, row->help);
	put_text(e, "\n# TYPE ");
	put(e, row->name, name_len);
	put_char(e, ' ');
	put_text(e, row->type);
	put_char(e, '\n');
}

/* A series up to its value, with room for that. suffix is of the name; bound_us: of a bucket, NULL
 * where the series is none, and UINT64_MAX for the last. */
static bool put_series(struct exposition *e, const char *suffix, const char *const *values,
                       const uint64_t *bound_us)
{
	size_t bytes = e->name_len + strlen(suffix) + 2 * NUMBER_MAX;
	char separator = '{';

	for (size_t i = 0; i < e->label_count; i++)
		if (values[i] != NULL)
			bytes += e->labels[i].len + 4 + ESCAPE_MAX * strlen(values[i]);
	if (!make_room(e, bytes))
		return false;
	put(e, e->name, e->name_len);
	put_text(e, suffix);
	for (size_t i = 0; i < e->label_count; i++) {
		if (values[i] == NULL)
			continue;
		put_char(e, separator);
		put(e, e->labels[i].name, e->labels[i].len);
		put_text(e, "=\"");
		put_value(e, values[i]);
		put_char(e, '"');
		separator = ',';
	}
	if (bound_us != NULL) {
		put_char(e, separator);
		put_text(e, BOUND_LABEL "=\"");
		if (*bound_us == UINT64_MAX)
			put_text(e, "+Inf");
		else
			put_us(e, *bound_us);
		put_char(e, '"');
		separator = ',';
	}
	if (separator == ',')
		put_char(e, '}');
	put_char(e, ' ');
	return true;
}

static void series_uint(struct exposition *e, const char *suffix, const char *const *values,
                        const uint64_t *bound_us, uint64_t value)
{
	if (!put_series(e, suffix, values, bound_us))
		return;
	put_uint(e, value);
	put_char(e, '\n');
}

static void series_us(struct exposition *e, const char *suffix, const char *const *values,
                      uint64_t us)
{
	if (!put_series(e, suffix, values, NULL))
		return;
	put_us(e, us);
	put_char(e, '\n');
}

void exposition_uint(struct exposition *e, const char *const *values, uint64_t value)
{
	series_uint(e, "", values, NULL, value);
}

void exposition_us(struct exposition *e, const char *const *values, uint64_t us)
{
	series_us(e, "", values, us);
}

void exposition_histogram(struct exposition *e, const char *const *values,
                          const struct histogram_sum *sum)
{
	const uint64_t no_bound = UINT64_MAX;
	uint64_t below = 0;

	for (unsigned i = 0; i < HISTOGRAM_BOUNDS; i++) {
		below += sum->buckets[i];
		series_uint(e, "_bucket", values, &histogram_bounds_us[i], below);
	}
	series_uint(e, "_bucket", values, &no_bound, sum->count);
	series_us(e, "_sum", values, sum->sum_us);
	series_uint(e, "_count", values, NULL, sum->count);
}
