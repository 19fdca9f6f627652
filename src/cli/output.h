/* What the commands that ask a proxy print: tables in columns, sizes and times for people, and the
 * answer as it came for programs. Whatever a proxy says reaches the terminal through here: control
 * characters are shown as "?". Standard output; one thread. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "base/check.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Columns of a screen where nothing else is known. */
#define OUTPUT_WIDTH 80
/* Columns of a table. */
#define TEXT_TABLE_COLUMNS_MAX 16

/* Has all of it been written? Complains on standard error where it has not, and forgets what is
 * left, so that it is said once. A standard output that the caller has closed is wanted by nobody:
 * that is no error. 0 or -errno. */
MUST_CHECK int output_flush(void);

/* ---- tables ---- */

struct text_column {
	const char *head;
	bool right; /* numbers */
	bool cut;   /* may be shortened where the table is wider than the terminal */
};

struct text_table;

/* columns outlive it. NULL: out of memory. */
struct text_table *text_table_new(const struct text_column *columns, size_t count);
void text_table_free(struct text_table *t); /* NULL-safe */
/* One row: as many texts as there are columns; copied. NULL is "-". Without memory the row is left
 * out, and text_table_print() says so. */
void text_table_add(struct text_table *t, const char *const *cells);
/* The head and the rows, in lines that fit the terminal where standard output is one; elsewhere
 * nothing is shortened. */
void text_table_print(const struct text_table *t);
/* Prints it where it has rows, and frees it. NULL-safe. */
void text_table_end(struct text_table *t);

/* ---- numbers ---- */

#define OUTPUT_TEXT_MAX 48

/* All return buf. "3d 4h", "12 s"; "850 us", "1.25 ms"; "1.5 GiB". */
char *output_secs(uint64_t secs, char buf[OUTPUT_TEXT_MAX]);
char *output_us(uint64_t us, char buf[OUTPUT_TEXT_MAX]);
char *output_bytes(uint64_t bytes, char buf[OUTPUT_TEXT_MAX]);
/* The same for narrow columns: "3d", "12s"; "1.5G". */
char *output_age(uint64_t secs, char buf[OUTPUT_TEXT_MAX]);
char *output_size(uint64_t bytes, char buf[OUTPUT_TEXT_MAX]);

/* ---- JSON ---- */

/* A field of an object, or what stands for one that is not there or of another type. */
const char *output_text(const json_t *object, const char *key, const char *otherwise);
uint64_t output_uint(const json_t *object, const char *key);
bool output_bool(const json_t *object, const char *key);

/* The answer as it came, and a line's end. */
void output_raw(const char *text, size_t len);
/* Prints a text without its control characters. */
void output_print(const char *text);
/* Columns that a text takes on a terminal. */
size_t output_width(const char *text);

#endif
