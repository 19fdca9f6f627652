/* The clients of the last hours, in bounded memory: for each of the heaviest prefixes (IPv4 /24,
 * IPv6 /48) and services, about how many connections it made and where the latest one went.
 *
 * Space-Saving (Metwally, Agrawal, El Abbadi 2005) with exponential forward decay (Cormode et al.
 * 2009): a connection counts 1 when it comes and half of that a half-life later, so that what is
 * kept is about the last few half-lives. With N the weight of all connections, decayed as well, and
 * m entries:
 *
 *     true weight <= weight <= true weight + error, and error <= N / m
 *     whatever has a true weight above N / m has an entry
 *
 * One thread. Times are milliseconds of a monotonic clock, never going back. */
#ifndef RECORDER_CLIENT_SKETCH_H
#define RECORDER_CLIENT_SKETCH_H

#include "net/addr.h"
#include "net/prefix.h"
#include "route/region.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_SKETCH_ENTRIES 4096
#define CLIENT_SKETCH_HALF_LIFE_MS 3600000u
#define CLIENT_SKETCH_V4_BITS 24
#define CLIENT_SKETCH_V6_BITS 48

struct client_sketch;

/* One connection. */
struct client_seen {
	struct ip client;
	uint32_t service; /* its key */
	uint32_t slot;    /* with generation: its backend; LIVE_NO_SLOT: it got none */
	uint32_t generation;
	region_id region;
	char country[3]; /* "" when unknown */
	uint8_t region_score;
};

struct client_entry {
	struct prefix prefix;
	struct client_seen latest; /* its slot is that of the latest that got one */
	uint64_t latest_ms;
	double weight; /* connections, decayed until now */
	double error;  /* how much of that may not be this prefix's */
};

/* entries 1..65536, half_life_ms > 0; seed is a secret. NULL: out of memory. */
struct client_sketch *client_sketch_new(size_t entries, uint64_t half_life_ms, uint64_t seed);
void client_sketch_free(struct client_sketch *s); /* NULL-safe */
void client_sketch_note(struct client_sketch *s, const struct client_seen *seen, uint64_t now_ms);
size_t client_sketch_count(const struct client_sketch *s);
/* Entry i of client_sketch_count(), in no order. */
struct client_entry client_sketch_entry(const struct client_sketch *s, size_t i, uint64_t now_ms);
/* The weight of all connections, N. */
double client_sketch_total(const struct client_sketch *s, uint64_t now_ms);

#endif
