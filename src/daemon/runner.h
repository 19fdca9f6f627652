/* What the parts of the running proxy's composition (run.c, successor.c, predecessor.c) share. The
 * control thread only. */
#ifndef DAEMON_RUNNER_H
#define DAEMON_RUNNER_H

#include "api/api.h"
#include "base/check.h"
#include "base/watchdog.h"
#include "config/config.h"
#include "control/fault_watch.h"
#include "control/geo_watch.h"
#include "control/handover.h"
#include "control/reload.h"
#include "control/state_file.h"
#include "health/checker.h"
#include "observe/access_sink.h"
#include "proxy/crew.h"
#include "route/affinity.h"
#include "route/client_limits.h"
#include "route/live.h"
#include "route/queue.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A process that this one, or one before it, has taken over from, and that still drains. */
struct predecessor {
	int link; /* it sends NEWS there; its end is the end of the process */
	int own_fd;
	pid_t pid;
};

struct predecessors {
	struct predecessor all[PREDECESSORS_MAX];
	unsigned count;
	uint32_t *slots; /* held in live for them, until the last has gone */
	size_t slot_count;
};

enum successor_state {
	SUCCESSOR_NONE,
	SUCCESSOR_STARTING, /* until it says READY */
	SUCCESSOR_COPYING,  /* what has been learnt is being written for it */
	SUCCESSOR_READING,  /* until it has read that */
	SUCCESSOR_PAUSING,  /* until no worker accepts any more */
	SUCCESSOR_TAKING,   /* until it says ACCEPTING */
	SUCCESSOR_SERVES,   /* this process has retired */
};

/* The process that takes over from this one. */
struct successor {
	enum successor_state state;
	pid_t pid;
	int link;
	int own_fd; /* its counts, from READY on */
	bool greeted;
	uint64_t started_ns;
	uint64_t deadline_ms; /* of the present state */
	struct state_writer *writer;
	int state_fd;
	uint64_t copied_ms;     /* what was used since then has not been copied yet */
	uint32_t told_sessions; /* as many went on when it was told the last news */
	uint64_t news_ms;
};

struct runner {
	struct config config;
	const char *path; /* of the program, for its successor */
	struct live *live;
	struct affinity *affinity;
	struct client_limits *client_limits; /* NULL: none are set */
	struct queue *queue;
	struct geo_watch *geo;
	struct reload *reload;
	struct state_file *state_file;
	struct fault_watch *faults;
	struct checker *checker; /* NULL until the first table is there, and in a retired process */
	struct access_sink *access_log; /* NULL: sessions are in the main log, or in none */
	struct crew *crew;              /* NULL until the first table is there */
	struct api *api;                /* NULL: not yet, or this process has retired */
	int signal_fd;
	int status_fd;
	bool hurry;
	bool reload_waits;   /* SIGHUP came while an upgrade was under way */
	uint64_t collect_ms; /* when bindings are collected next */
	struct affinity_cursor collected;
	uint64_t alive_every_ms; /* WATCHDOG=1 for the service manager; 0: never */
	uint64_t alive_at_ms;
	int takeover_link; /* to the process that this one takes over from; -1: there is none */
	pid_t takeover_pid;
	struct heartbeat beat;
	struct successor successor;
	struct predecessors predecessors;
};

#endif
