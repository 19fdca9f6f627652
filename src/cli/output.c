/* Tables, numbers and texts for people. A table is collected first, because columns are as wide as
 * what is in them; its rows are few thousands at most, since pages of the API are bounded. */
#include "cli/output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define GAP 2
/* A column is not cut below this. */
#define CUT_MIN 6

int output_flush(void)
{
	int err;

	errno = 0;
	if (fflush(stdout) == 0 && ferror(stdout) == 0)
		return 0;
	err = errno;
	__fpurge(stdout);
	clearerr(stdout);
	if (err == EBADF)
		return 0;
	fprintf(stderr, "edgeproxy: not all could be written to standard output: %s\n",
	        strerror(err != 0 ? err : EIO));
	return err != 0 ? -err : -EIO;
}

/* ---- texts ---- */

/* Bytes that continue a character of UTF-8 take no column of their own. */
static bool continues(char c)
{
	return ((unsigned char)c & 0xC0) == 0x80;
}

size_t output_width(const char *text)
{
	size_t width = 0;

	for (; *text != '\0'; text++)
		width += !continues(*text);
	return width;
}

/* At most `most` columns. */
static void print_cut(const char *text, size_t most)
{
	size_t column = 0;

	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (!continues(*text) && column++ == most)
			return;
		putchar(c < ' ' || c == 0x7F ? '?' : c);
	}
}

void output_print(const char *text)
{
	print_cut(text, SIZE_MAX);
}

void output_raw(const char *text, size_t len)
{
	fwrite(text, 1, len, stdout);
	if (len == 0 || text[len - 1] != '\n')
		putchar('\n');
}

/* ---- tables ---- */

struct text_table {
	const struct text_column *columns;
	size_t column_count;
	size_t width[TEXT_TABLE_COLUMNS_MAX];
	char **cells; /* row by row */
	size_t count;
	size_t room;
	bool incomplete;
};

struct text_table *text_table_new(const struct text_column *columns, size_t count)
{
	struct text_table *t = calloc(1, sizeof(*t));

	CHECK(count <= TEXT_TABLE_COLUMNS_MAX);
	if (t == NULL)
		return NULL;
	t->columns = columns;
	t->column_count = count;
	for (size_t i = 0; i < count; i++)
		t->width[i] = output_width(columns[i].head);
	return t;
}

void text_table_free(struct text_table *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < t->count; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t);
}

static bool make_room(struct text_table *t)
{
	size_t room = 2 * t->room + 64 * t->column_count;
	char **cells;

	if (t->count + t->column_count <= t->room)
		return true;
	cells = realloc(t->cells, room * sizeof(*cells));
	if (cells == NULL)
		return false;
	t->cells = cells;
	t->room = room;
	return true;
}

void text_table_add(struct text_table *t, const char *const *cells)
{
	size_t begin = t->count;

	if (!make_room(t)) {
		t->incomplete = true;
		return;
	}
	for (size_t i = 0; i < t->column_count; i++) {
		char *cell = strdup(cells[i] != NULL ? cells[i] : "-");

		if (cell == NULL) {
			while (t->count > begin)
				free(t->cells[--t->count]);
			t->incomplete = true;
			return;
		}
		t->cells[t->count++] = cell;
		if (output_width(cell) > t->width[i])
			t->width[i] = output_width(cell);
	}
}

static size_t terminal_width(void)
{
	struct winsize size;

	if (!isatty(STDOUT_FILENO))
		return SIZE_MAX;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
		return OUTPUT_WIDTH;
	return size.ws_col;
}

/* Takes columns from the widest of those that may be cut until the table fits. */
static void fit(const struct text_table *t, size_t width[TEXT_TABLE_COLUMNS_MAX])
{
	size_t most = terminal_width();
	size_t total = GAP * (t->column_count - 1);

	for (size_t i = 0; i < t->column_count; i++)
		total += width[i];
	while (total > most) {
		size_t *widest = NULL;

		for (size_t i = 0; i < t->column_count; i++)
			if (t->columns[i].cut && width[i] > CUT_MIN &&
			    (widest == NULL || width[i] > *widest))
				widest = &width[i];
		if (widest == NULL)
			return;
		(*widest)--;
		total--;
	}
}

/* ends: nothing but a blank cell follows. */
static void print_cell(const struct text_table *t, size_t column, size_t width, const char *cell,
                       bool ends)
{
	size_t taken = output_width(cell);
	size_t pad = taken < width ? width - taken : 0;
	bool last = column + 1 == t->column_count;

	if (t->columns[column].right)
		printf("%*s", (int)pad, "");
	if (taken > width) {
		print_cut(cell, width - 1);
		fputs("~", stdout);
	} else {
		output_print(cell);
	}
	if (!last && !ends)
		printf("%*s", (int)(t->columns[column].right ? GAP : pad + GAP), "");
	else if (last)
		putchar('\n');
}

void text_table_print(const struct text_table *t)
{
	size_t width[TEXT_TABLE_COLUMNS_MAX];

	CHECK(t->column_count > 0);
	memcpy(width, t->width, sizeof(width));
	fit(t, width);
	for (size_t i = 0; i < t->column_count; i++)
		print_cell(t, i, width[i], t->columns[i].head, false);
	for (size_t i = 0; i < t->count; i++) {
		size_t column = i % t->column_count;
		bool ends = column + 2 == t->column_count && t->cells[i + 1][0] == '\0';

		print_cell(t, column, width[column], t->cells[i], ends);
	}
	if (t->incomplete)
		fputs("edgeproxy: out of memory: some rows are left out\n", stderr);
}

void text_table_end(struct text_table *t)
{
	if (t != NULL && (t->count > 0 || t->incomplete))
		text_table_print(t);
	text_table_free(t);
}

/* ---- numbers ---- */

char *output_secs(uint64_t secs, char buf[OUTPUT_TEXT_MAX])
{
	if (secs < 120)
		snprintf(buf, OUTPUT_TEXT_MAX, "%" PRIu64 " s", secs);
	else if (secs < 7200)
		snprintf(buf, OUTPUT_TEXT_MAX, "%" PRIu64 "m %" PRIu64 "s", secs / 60, secs % 60);
	else if (secs < 172800)
		snprintf(buf, OUTPUT_TEXT_MAX, "%" PRIu64 "h %" PRIu64 "m", secs / 3600,
		         secs / 60 % 60);
	else
		snprintf(buf, OUTPUT_TEXT_MAX, "%" PRIu64 "d %" PRIu64 "h", secs / 86400,
		         secs / 3600 % 24);
	return buf;
}

char *output_us(uint64_t us, char buf[OUTPUT_TEXT_MAX])
{
	if (us < 1000)
		snprintf(buf, OUTPUT_TEXT_MAX, "%" PRIu64 " us", us);
	else if (us < 1000000)
		snprintf(buf, OUTPUT_TEXT_MAX, "%.3g ms", (double)us / 1000);
	else
		snprintf(buf, OUTPUT_TEXT_MAX, "%.3g s", (double)us / 1000000);
	return buf;
}

char *output_bytes(uint64_t bytes, char buf[OUTPUT_TEXT_MAX])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}
	if (unit == 0)
		snprintf(buf, OUTPUT_TEXT_MAX, "%" PRIu64 " B", bytes);
	else
		snprintf(buf, OUTPUT_TEXT_MAX, "%.*f %s", value < 10 ? 1 : 0, value, units[unit]);
	return buf;
}

char *output_age(uint64_t secs, char buf[OUTPUT_TEXT_MAX])
{
	if (secs < 120)
		snprintf(buf, OUTPUT_TEXT_MAX, "%" PRIu64 "s", secs);
	else if (secs < 7200)
		snprintf(buf, OUTPUT_TEXT_MAX, "%" PRIu64 "m", secs / 60);
	else if (secs < 172800)
		snprintf(buf, OUTPUT_TEXT_MAX, "%" PRIu64 "h", secs / 3600);
	else
		snprintf(buf, OUTPUT_TEXT_MAX, "%" PRIu64 "d", secs / 86400);
	return buf;
}

char *output_size(uint64_t bytes, char buf[OUTPUT_TEXT_MAX])
{
	static const char units[] = "BKMGTPE";
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 2 < sizeof(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(buf, OUTPUT_TEXT_MAX, unit == 0 || value >= 10 ? "%.0f%c" : "%.1f%c", value,
	         units[unit]);
	return buf;
}

/* ---- JSON ---- */

const char *output_text(const json_t *object, const char *key, const char *otherwise)
{
	const json_t *value = json_object_get(object, key);

	return json_is_string(value) ? json_string_value(value) : otherwise;
}

uint64_t output_uint(const json_t *object, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(object, key));

	return value > 0 ? (uint64_t)value : 0;
}

bool output_bool(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}
