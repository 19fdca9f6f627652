/* Two rings, one of decisions and one of lines, whose numbers come from one counter: each ring has
 * ascending numbers, so an event is found by halving. A decision is kept where it is, in the
 * history, and only pointed to. Of one call the events are sorted by time; events of different
 * calls keep the order of the calls, so a number once given never changes its place. */
#include "recorder/event_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TAKE_LINES 256

struct decision {
	uint64_t number;
	uint64_t record; /* of the history */
};

struct line {
	uint64_t number;
	uint64_t at_ns;
	char *text;
};

/* One that is to get its number. */
struct arrival {
	uint64_t at_ns;
	uint64_t order; /* among those of the same time */
	uint64_t record;
	char *text; /* NULL: a decision */
};

struct event_log {
	uint64_t latest;
	uint64_t records_taken; /* the next of the history */
	uint64_t decision_end;  /* ever */
	uint64_t line_end;
	struct decision decisions[HISTORY_RECORDS];
	struct line lines[EVENT_LINES];
	struct arrival arrivals[HISTORY_RECORDS + EVENT_LINES];
};

struct event_log *event_log_new(void)
{
	struct event_log *e = malloc(sizeof(*e));

	if (e == NULL)
		return NULL;
	memset(e, 0xff, sizeof(*e)); /* its pages are taken now: see flight_init() */
	e->latest = e->records_taken = e->decision_end = e->line_end = 0;
	for (size_t i = 0; i < EVENT_LINES; i++)
		e->lines[i] = (struct line){0};
	return e;
}

void event_log_free(struct event_log *e)
{
	if (e == NULL)
		return;
	for (size_t i = 0; i < EVENT_LINES; i++)
		free(e->lines[i].text);
	free(e);
}

uint64_t event_line_time(const char *line)
{
	static const char *const beginnings[] = {"time=", "{\"time\":\""};
	struct tm tm = {0};
	unsigned us = 0;

	for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++) {
		size_t n = strlen(beginnings[i]);

		if (strncmp(line, beginnings[i], n) == 0 &&
		    sscanf(line + n, "%4d-%2d-%2dT%2d:%2d:%2d.%6uZ", &tm.tm_year, &tm.tm_mon,
		           &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &us) == 7) {
			tm.tm_year -= 1900;
			tm.tm_mon -= 1;
			return (uint64_t)timegm(&tm) * 1000000000u + us * 1000u;
		}
	}
	return 0;
}

static int arrival_compare(const void *a, const void *b)
{
	const struct arrival *x = a;
	const struct arrival *y = b;

	if (x->at_ns != y->at_ns)
		return x->at_ns < y->at_ns ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static size_t arrive_records(struct event_log *e, const struct history *h)
{
	size_t n = 0;

	if (e->records_taken < history_first(h))
		e->records_taken = history_first(h);
	for (; e->records_taken < history_next(h); e->records_taken++) {
		const struct flight_record *r = history_find(h, e->records_taken);

		e->arrivals[n] = (struct arrival){
			.at_ns = r->at_ns, .order = n, .record = e->records_taken};
		n++;
	}
	return n;
}

/* A line whose time cannot be right has come just now. */
static size_t arrive_lines(struct event_log *e, size_t n, uint64_t now_ns, uint64_t wall_ns)
{
	char *lines[TAKE_LINES];
	size_t end = n + EVENT_LINES;
	size_t most = TAKE_LINES;
	size_t got;

	while (n < end && (got = log_ring_take(lines, most)) > 0) {
		for (size_t i = 0; i < got; i++, n++) {
			uint64_t time_ns = event_line_time(lines[i]);
			bool likely = time_ns <= wall_ns && wall_ns - time_ns <= now_ns;

			e->arrivals[n] = (struct arrival){
				.at_ns = likely ? now_ns - (wall_ns - time_ns) : now_ns,
				.order = n,
				.text = lines[i],
			};
		}
		most = end - n < TAKE_LINES ? end - n : TAKE_LINES;
	}
	return n;
}

void event_log_update(struct event_log *e, const struct history *h, uint64_t now_ns,
                      uint64_t wall_ns)
{
	size_t n = arrive_lines(e, arrive_records(e, h), now_ns, wall_ns);

	qsort(e->arrivals, n, sizeof(e->arrivals[0]), arrival_compare);
	for (size_t i = 0; i < n; i++) {
		const struct arrival *a = &e->arrivals[i];

		e->latest++;
		if (a->text == NULL) {
			e->decisions[e->decision_end++ % HISTORY_RECORDS] = (struct decision){
				.number = e->latest, .record = a->record};
		} else {
			struct line *l = &e->lines[e->line_end++ % EVENT_LINES];

			free(l->text);
			*l = (struct line){.number = e->latest, .at_ns = a->at_ns, .text = a->text};
		}
	}
}

static uint64_t decision_number(const struct event_log *e, uint64_t place)
{
	return e->decisions[place % HISTORY_RECORDS].number;
}

static uint64_t line_number(const struct event_log *e, uint64_t place)
{
	return e->lines[place % EVENT_LINES].number;
}

/* The place of the first one of a ring whose number is above after; end: none. The ring has room
 * for so many. */
static uint64_t place_above(const struct event_log *e,
                            uint64_t (*number_at)(const struct event_log *, uint64_t), uint64_t end,
                            uint64_t room, uint64_t after)
{
	uint64_t low = end > room ? end - room : 0;
	uint64_t high = end;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (number_at(e, middle) > after)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

bool event_log_find(const struct event_log *e, const struct history *h, uint64_t after,
                    struct event *ret_event)
{
	uint64_t d = place_above(e, decision_number, e->decision_end, HISTORY_RECORDS, after);
	uint64_t l = place_above(e, line_number, e->line_end, EVENT_LINES, after);
	const struct flight_record *record = NULL;
	const struct decision *decision;
	const struct line *line;

	/* What the history has overwritten since is passed over. */
	for (; d < e->decision_end && record == NULL; d += record == NULL)
		record = history_find(h, e->decisions[d % HISTORY_RECORDS].record);
	if (record == NULL && l == e->line_end)
		return false;
	decision = &e->decisions[d % HISTORY_RECORDS];
	line = &e->lines[l % EVENT_LINES];
	if (record != NULL && (l == e->line_end || decision->number < line->number))
		*ret_event = (struct event){
			.number = decision->number, .at_ns = record->at_ns, .record = record};
	else
		*ret_event = (struct event){
			.number = line->number, .at_ns = line->at_ns, .line = line->text};
	return true;
}

uint64_t event_log_latest(const struct event_log *e)
{
	return e->latest;
}
