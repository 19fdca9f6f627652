/* The screen from top to bottom: the process, totals, rates, latencies, decisions, ends; then
 * backends with the room that is left, then places with a quarter of the screen; the keys last. On
 * a small screen what comes later gives way first, but backends never quite. A line has one style,
 * so it can be cut anywhere. */
#include "cli/top_frame.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 32
/* Below so many rows there is only room for the most important. */
#define ROWS_SMALL 14
/* Columns of the names of backends: at least, at most. */
#define NAME_MIN 12
#define NAME_MAX 40
/* What the other columns of a backend take. */
#define BACKEND_REST 66
#define STYLE_MAX 16

enum style { PLAIN, BOLD, DIM, RED, YELLOW, REVERSE };

struct canvas {
	const struct top_view *view;
	unsigned columns;
	unsigned rows;
	unsigned used; /* rows */
	char *text;
	size_t len;
};

/* ---- lines ---- */

static void put(struct canvas *c, const char *text)
{
	size_t n = strlen(text);

	memcpy(c->text + c->len, text, n);
	c->len += n;
}

/* At most the width of the screen, and nothing that a terminal would obey. */
static void put_cut(struct canvas *c, const char *text)
{
	unsigned column = 0;

	for (; *text != '\0'; text++) {
		unsigned char b = (unsigned char)*text;

		if ((b & 0xC0) != 0x80 && column++ == c->columns)
			return;
		/* A character of UTF-8 has at most three bytes behind its first. */
		c->text[c->len++] = b < ' ' || b == 0x7F ? '?' : (char)b;
	}
}

/* UTF-8 that is none could put any number of such bytes there: a line is cut by bytes, too. */
#define LINE_BYTES (4 * TOP_COLUMNS_MAX)

__attribute__((format(printf, 3, 4))) static void line(struct canvas *c, enum style style,
                                                       const char *format, ...)
{
	static const char *const codes[] = {
		[PLAIN] = "",       [BOLD] = "\033[1m",    [DIM] = "\033[2m",
		[RED] = "\033[31m", [YELLOW] = "\033[33m", [REVERSE] = "\033[7m",
	};
	char text[LINE_BYTES + 1];
	bool styled = c->view->colours && style != PLAIN;
	va_list args;

	if (c->used == c->rows)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (c->used++ > 0)
		put(c, "\n");
	if (styled)
		put(c, codes[style]);
	put_cut(c, text);
	if (styled)
		put(c, "\033[0m");
}

static unsigned left(const struct canvas *c)
{
	return c->rows - c->used;
}

/* ---- numbers ---- */

static const char *scaled(double value, const char *unit, char buf[TEXT_MAX])
{
	static const char *const steps[] = {"", "k", "M", "G", "T", "P"};
	size_t step = 0;

	while (value >= 1000 && step + 1 < sizeof(steps) / sizeof(steps[0])) {
		value /= 1000;
		step++;
	}
	snprintf(buf, TEXT_MAX, "%.*f%s%s%s", value < 10 && (step > 0 || value > 0) ? 1 : 0, value,
	         unit[0] != '\0' || step > 0 ? " " : "", steps[step], unit);
	return buf;
}

static const char *duration(double us, char buf[TEXT_MAX])
{
	if (us < 1000)
		snprintf(buf, TEXT_MAX, "%.0f us", us);
	else if (us < 1e6)
		snprintf(buf, TEXT_MAX, "%.3g ms", us / 1000);
	else
		snprintf(buf, TEXT_MAX, "%.3g s", us / 1e6);
	return buf;
}

static const char *quantile(const struct histogram_sum *h, double q, char buf[TEXT_MAX])
{
	if (h->count == 0)
		return "-";
	return duration((double)histogram_quantile_us(h, q), buf);
}

static const char *rate(const struct top_model *m, double value, const char *unit,
                        char buf[TEXT_MAX])
{
	return m->has_rates ? scaled(value, unit, buf) : "-";
}

static const char *uptime(uint64_t secs, char buf[TEXT_MAX])
{
	if (secs < 86400)
		snprintf(buf, TEXT_MAX, "%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64, secs / 3600,
		         secs / 60 % 60, secs % 60);
	else
		snprintf(buf, TEXT_MAX, "%" PRIu64 "d %02" PRIu64 ":%02" PRIu64, secs / 86400,
		         secs / 3600 % 24, secs / 60 % 60);
	return buf;
}

/* A whole number, in full as long as it is short. */
static const char *count(uint64_t n, char buf[TEXT_MAX])
{
	if (n >= 1000)
		return scaled((double)n, "", buf);
	snprintf(buf, TEXT_MAX, "%" PRIu64, n);
	return buf;
}

/* ---- the parts ---- */

static void draw_head(struct canvas *c, const struct top_model *m)
{
	char a[TEXT_MAX], b[TEXT_MAX], d[TEXT_MAX], e[TEXT_MAX];

	line(c, BOLD, "edgeproxy %s  POP %s  app %s  up %s", m->version, m->region,
	     m->app[0] != '\0' ? m->app : "any", uptime(m->uptime_secs, a));
	b[0] = '\0';
	if (m->max > 0)
		snprintf(b, sizeof(b), " of %" PRIu64, m->max);
	line(c, PLAIN,
	     "sessions %" PRIu64 "%s  queue %" PRIu64 "  accepted %" PRIu64 "  bindings %" PRIu64,
	     m->active, b, m->queued, m->accepted, m->bindings);
	line(c, PLAIN, "rates    %s conn/s  in %s  out %s  failures %s/s",
	     rate(m, m->accept_rate, "", a), rate(m, m->in_rate, "B/s", b),
	     rate(m, m->out_rate, "B/s", d), rate(m, m->failure_rate, "", e));
	line(c, PLAIN, "latency  connect p50 %s p99 %s  loop p99 %s", quantile(&m->connect, 0.5, a),
	     quantile(&m->connect, 0.99, b), quantile(&m->turn, 0.99, d));
}

static void draw_decisions(struct canvas *c, const struct top_model *m)
{
	line(c, PLAIN,
	     "chosen   own region %.0f%%  POP's %.0f%%  other %.0f%%  had it before %.0f%%",
	     m->scores[0] * 100, m->scores[1] * 100, m->scores[2] * 100, m->affinity_share * 100);
}

static void draw_ends(struct canvas *c, const struct top_model *m)
{
	char text[LINE_BYTES] = "";
	char number[TEXT_MAX];
	size_t len = 0;

	for (size_t i = 0; i < m->end_count && len + 128 < sizeof(text); i++) {
		int n = snprintf(text + len, sizeof(text) - len, "%s%.40s %s%s", i > 0 ? "  " : "",
		                 m->ends[i].reason,
		                 m->has_rates ? scaled(m->ends[i].rate, "", number)
		                              : count(m->ends[i].count, number),
		                 m->has_rates ? "/s" : "");

		len += n > 0 ? (size_t)n : 0;
	}
	line(c, PLAIN, "ends     %s", m->end_count > 0 ? text : "none yet");
}

static unsigned name_width(const struct canvas *c)
{
	unsigned room = c->columns > BACKEND_REST ? c->columns - BACKEND_REST : 0;

	return room < NAME_MIN ? NAME_MIN : room > NAME_MAX ? NAME_MAX : room;
}

/* printf pads by bytes; names may be UTF-8. */
static void pad_name(char *to, size_t room, const char *name, unsigned width)
{
	size_t n = 0;
	unsigned column = 0;

	for (; *name != '\0' && n + 1 < room; name++) {
		if (((unsigned char)*name & 0xC0) != 0x80 && column++ == width) {
			column = width;
			break;
		}
		to[n++] = *name;
	}
	while (column++ < width && n + 1 < room)
		to[n++] = ' ';
	to[n] = '\0';
}

static enum style style_of(const struct top_backend *b)
{
	if (b->excluded[0] != '\0')
		return strcmp(b->excluded, "hard-limit") == 0 ? YELLOW : RED;
	return b->connections > b->soft_limit ? YELLOW : PLAIN;
}

static void draw_backend(struct canvas *c, const struct top_model *m, const struct top_backend *b)
{
	char name[4 * NAME_MAX + 1], region[4 * 8 + 1];
	char r[TEXT_MAX], t[TEXT_MAX], f[TEXT_MAX];

	pad_name(name, sizeof(name), b->id, name_width(c));
	pad_name(region, sizeof(region), b->region, 8);
	line(c, style_of(b), "%s %7" PRIu64 " %7" PRIu64 " %7s %8s %7s %s %2.2s %s", name,
	     b->connections, b->soft_limit, rate(m, b->rate, "", r),
	     b->rtt_us > 0 ? duration((double)b->rtt_us, t) : "-", count(b->failures, f), region,
	     b->country[0] != '\0' ? b->country : "--", b->excluded);
}

static void draw_backends(struct canvas *c, const struct top_model *m, unsigned rows)
{
	char name[4 * NAME_MAX + 1];

	if (rows < 2)
		return;
	pad_name(name, sizeof(name), "BACKEND", name_width(c));
	line(c, REVERSE, "%s %7s %7s %7s %8s %7s %-8s %2s %s", name, "CONNS", "SOFT", "CONN/S",
	     "RTT", "FAILED", "REGION", "CC", "OUT");
	for (unsigned i = 0; i + 1 < rows && i < m->backend_count; i++) {
		if (i + 2 == rows && i + 1 < m->backend_count) {
			line(c, DIM, "and %zu more of %" PRIu64, m->backend_count - i,
			     m->backends_total);
			return;
		}
		draw_backend(c, m, &m->backends[i]);
	}
	if (m->backend_count == 0)
		line(c, DIM, "%s", c->view->filter[0] != '\0' ? "none fits the filter" : "none");
}

static void draw_places(struct canvas *c, const struct top_model *m, unsigned rows)
{
	if (rows < 2 || m->place_count == 0)
		return;
	line(c, REVERSE, "%-8s %-12s %8s %11s %9s %9s", "CLIENTS", "REGION", "SHARE", "OWN REGION",
	     "POP'S", "OTHER");
	for (unsigned i = 0; i + 1 < rows && i < m->place_count; i++) {
		const struct top_place *p = &m->places[i];

		line(c, PLAIN, "%-8.8s %-12.12s %7.1f%% %10.1f%% %8.1f%% %8.1f%%",
		     p->country[0] != '\0' ? p->country : "unknown",
		     p->region[0] != '\0' ? p->region : "-", p->share * 100, p->scores[0] * 100,
		     p->scores[1] * 100, p->scores[2] * 100);
	}
}

static void draw_keys(struct canvas *c)
{
	const struct top_view *v = c->view;

	if (!v->keys)
		return;
	while (left(c) > 1)
		line(c, PLAIN, "%s", "");
	if (v->message != NULL)
		line(c, YELLOW, "%s", v->message);
	else if (v->typing)
		line(c, BOLD, "filter: %s_   Enter keeps it, Esc clears it", v->filter);
	else
		line(c, DIM,
		     "q quit  sort: c conns r rate t rtt f failed i id  / filter%s%s  by %s",
		     v->filter[0] != '\0' ? ": " : "", v->filter, top_sort_word(v->sort));
}

char *top_frame_new(struct top_model *m, const struct top_view *view)
{
	struct canvas c = {
		.view = view,
		.columns = view->columns < TOP_COLUMNS_MAX ? view->columns : TOP_COLUMNS_MAX,
		.rows = view->rows < TOP_ROWS_MAX ? view->rows : TOP_ROWS_MAX,
	};
	unsigned last = view->keys ? 1 : 0;
	unsigned places, wanted;

	c.text = malloc((size_t)(c.rows + 1) * (LINE_BYTES + 2 * STYLE_MAX + 2));
	if (c.text == NULL)
		return NULL;
	top_model_sort(m, view->sort, view->filter);
	draw_head(&c, m);
	if (c.rows >= ROWS_SMALL) {
		draw_decisions(&c, m);
		draw_ends(&c, m);
		line(&c, PLAIN, "%s", "");
	}
	places = c.rows >= ROWS_SMALL ? c.rows / 4 : 0;
	if (places > m->place_count + 1)
		places = m->place_count > 0 ? (unsigned)m->place_count + 1 : 0;
	wanted = left(&c) > last + places ? left(&c) - last - places : 0;
	if (places > 0 && wanted > 0)
		wanted--; /* an empty line between */
	draw_backends(&c, m, wanted);
	if (places > 0) {
		line(&c, PLAIN, "%s", "");
		draw_places(&c, m, places);
	}
	draw_keys(&c);
	c.text[c.len] = '\0';
	return c.text;
}
