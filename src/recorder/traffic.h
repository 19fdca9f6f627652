/* What went where lately: how many clients of each country were connected, and from which country
 * to which backend, in the last TRAFFIC_WINDOW_MS. Summed up from the flight recorder, so it holds
 * no address. Of fixed size: countries are all there; of arcs the rarer give way to others, and are
 * then counted together. Pure, with a clock of its own; the API thread. */
#ifndef RECORDER_TRAFFIC_H
#define RECORDER_TRAFFIC_H

#include "geo/country.h"
#include "proxy/flight.h"

#include <stddef.h>
#include <stdint.h>

/* The window moves in steps. */
#define TRAFFIC_STEPS 12
#define TRAFFIC_STEP_MS 5000
#define TRAFFIC_WINDOW_MS (TRAFFIC_STEPS * TRAFFIC_STEP_MS)
/* Arcs that are kept: in sets by their hash, each with so many places. */
#define TRAFFIC_SETS 256
#define TRAFFIC_WAYS 8
#define TRAFFIC_ARCS_MAX (TRAFFIC_SETS * TRAFFIC_WAYS)
/* Clients whose country is unknown, as an index of one. */
#define TRAFFIC_UNKNOWN COUNTRY_INDEX_MAX
#define TRAFFIC_COUNTRIES (COUNTRY_INDEX_MAX + 1)

struct traffic;

struct traffic_country {
	char country[3]; /* "": unknown */
	uint32_t clients;
};

struct traffic_arc {
	char country[3];
	uint8_t region_score;
	uint32_t slot; /* with generation: the backend */
	uint32_t generation;
	uint32_t clients;
};

/* NULL: out of memory. */
struct traffic *traffic_new(uint64_t now_ms);
void traffic_free(struct traffic *t); /* NULL-safe */
/* Counts it in the present step if a client was connected to a backend; ignores it otherwise. */
void traffic_note(struct traffic *t, const struct flight_record *record);
/* Forgets what is older than the window. Call at least once a step; what was noted before counts
 * for the step that ends. */
void traffic_tick(struct traffic *t, uint64_t now_ms);
/* The first `most` (by clients, then by name) of those that had any, into ret; *ret_rest are the
 * clients of the others. Returns how many. */
size_t traffic_countries(const struct traffic *t, struct traffic_country *ret, size_t most,
                         uint64_t *ret_rest);
/* The same; *ret_rest includes the clients of arcs that gave way. */
size_t traffic_arcs(const struct traffic *t, struct traffic_arc *ret, size_t most,
                    uint64_t *ret_rest);

#endif
