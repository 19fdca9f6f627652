/* The flight recorder's wire: what a worker has just decided, for whoever keeps the history. A ring
 * of FLIGHT_RECORDS with one writer (the worker) and one reader (the API thread), neither of which
 * ever waits. What the reader is too slow for, or nobody reads, is counted and gone. */
#ifndef PROXY_FLIGHT_H
#define PROXY_FLIGHT_H

#include "base/check.h"
#include "net/addr.h"
#include "route/region.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A power of two. A reader that comes every 100 ms sees all of 40,000 connections a second. */
#define FLIGHT_RECORDS 4096

enum flight_kind {
	FLIGHT_ROUTED, /* a backend has been connected for a client */
	FLIGHT_FAILED, /* a try to connect failed */
	FLIGHT_ENDED,  /* a session ended otherwise than `done` */
};

struct flight_record {
	uint64_t at_ns; /* monotonic */
	struct ip client;
	uint32_t slot; /* with generation: the backend; LIVE_NO_SLOT: none */
	uint32_t generation;
	uint32_t service;    /* its key */
	uint32_t connect_us; /* of ROUTED */
	uint32_t queue_us;
	region_id region; /* the client's */
	uint16_t retries;
	char country[2];      /* zeroes: unknown */
	uint8_t kind;         /* enum flight_kind */
	uint8_t detail;       /* ENDED: enum close_reason; FAILED: errno */
	uint8_t region_score; /* where a backend was chosen */
	uint8_t place_source;
	bool from_affinity;
};

struct flight {
	struct flight_record *records;
	_Alignas(64) _Atomic uint64_t written; /* the worker's */
	uint64_t read_seen;                    /* the worker's: what it knows of `read` */
	_Atomic uint64_t dropped;
	_Alignas(64) _Atomic uint64_t read; /* the reader's */
};

/* 0 or -ENOMEM. */
MUST_CHECK int flight_init(struct flight *f);
void flight_done(struct flight *f);
/* The writer. */
void flight_note(struct flight *f, const struct flight_record *record);
/* The reader: the oldest ones, at most `most`. Returns how many. */
size_t flight_take(struct flight *f, struct flight_record *records, size_t most);
/* Any thread. */
uint64_t flight_dropped(const struct flight *f);

#endif
