/* Faults of backends are set in several places, and at any time: by health checks in their thread,
 * by outlier detection here. What follows from them is done in one place: here, at the next tick.
 * That a fault has changed is seen by live's version, so a tick in which nothing happens costs next
 * to nothing; when it has, all backends are looked at.
 *
 * The decisions are made below, in route/ (outlier, panic, slowstart, drain); this file feeds them
 * and writes the lines. It never touches a table's rows or a session.
 *
 * What a process has seen goes to the next one from here, as does what that one takes over: here is
 * everybody who has to know of it, but for the checker, which starts later and finds its faults in
 * live. Values that come from outside are clamped to what this process could have come to. */
#include "control/fault_watch.h"

#include "base/log.h"
#include "control/state_seen.h"
#include "route/drain.h"
#include "route/panic.h"
#include "route/slowstart.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A trial has come to nothing when it is not known so long after its connect timed out. */
#define TRIAL_PATIENCE_MS 10000

struct fault_watch {
	struct fault_watch_options options;
	struct table *table; /* a reference; NULL before the first */
	struct outlier *outlier;
	struct slowstart *slowstart;
	struct drain_rules drain;
	uint8_t *faults_seen; /* by slot, LIVE_SLOTS_MAX, memory only where touched */
	uint32_t fault_version;
	bool end_sessions; /* the workers are still to be told */
	struct fault_watch_counters counters;
};

/* ---- lines ---- */

static void on_outlier(void *arg, const struct outlier_change *change)
{
	struct fault_watch *w = arg;
	const struct backend *b = table_backend_in_slot(w->table, change->slot);
	struct log_line l;

	counter_add(change->ejected ? &w->counters.ejected[change->cause] : &w->counters.returned,
	            1);
	log_begin(&l, change->ejected ? LOG_WARN : LOG_INFO,
	          change->ejected ? "backend_ejected" : "backend_returned");
	log_str(&l, "backend", live_id(w->options.live, change->slot));
	if (b != NULL)
		log_str(&l, "app", b->app);
	if (change->ejected) {
		log_str(&l, "why", outlier_cause_word(change->cause));
		log_uint(&l, "failures_in_a_row", change->outcomes.failures_in_a_row);
		log_uint(&l, "ejections", change->ejections);
		log_ms(&l, "ejected_ms", change->ms * 1000000);
	} else {
		log_ms(&l, "after_ms", change->ms * 1000000);
	}
	log_end(&l);
}

/* Every app has a pool; panic is worth a line only where a service sends its clients there. */
static bool is_served(const struct table *t, const struct pool *p)
{
	const char *app = p->app != NULL ? p->app : "";

	for (uint32_t i = 0; i < t->service_count; i++)
		if (strcmp(t->services[i]->app, app) == 0)
			return true;
	return false;
}

static void on_panic(void *arg, const struct panic_change *change)
{
	struct fault_watch *w = arg;
	struct log_line l;

	/* Sessions that panic has kept where something speaks against their backend. */
	if (!change->panic)
		w->end_sessions |= w->drain.shutdown_sessions;
	if (!is_served(change->table, change->pool))
		return;
	if (change->panic)
		counter_add(&w->counters.panics, 1);

	log_begin(&l, change->panic ? LOG_ERROR : LOG_INFO,
	          change->panic ? "panic_entered" : "panic_left");
	if (change->pool->app != NULL)
		log_str(&l, "app", change->pool->app);
	log_uint(&l, "sound", change->sound);
	log_uint(&l, "backends", change->pool->member_count);
	log_uint(&l, "threshold_percent", w->options.config->healthy_panic_threshold);
	if (change->panic)
		log_str(&l, "advice",
		        "health checks and ejections are ignored for it until more "
		        "are sound");
	log_end(&l);
}

/* ---- what follows from faults ---- */

static void count_faults(struct fault_watch *w, unsigned before, unsigned now)
{
	for (unsigned bit = 0; bit < LIVE_FAULTS; bit++) {
		if ((~before & now & 1u << bit) != 0)
			counter_add(&w->counters.came[bit], 1);
		if ((before & ~now & 1u << bit) != 0)
			counter_add(&w->counters.went[bit], 1);
	}
}

/* Who has come back begins slowly; who is down may lose its sessions. */
static void compare_faults(struct fault_watch *w, uint64_t now_ms)
{
	const struct table *t = w->table;

	for (uint32_t i = 0; i < t->backend_count; i++) {
		uint32_t slot = t->backends[i].slot;
		uint8_t now = (uint8_t)live_faults(w->options.live, slot);
		uint8_t before = w->faults_seen[slot];

		if (now == before)
			continue;
		w->faults_seen[slot] = now;
		count_faults(w, before, now);
		if (now == 0)
			slowstart_begin(w->slowstart, slot, now_ms);
		else if (before == 0)
			slowstart_cancel(w->slowstart, slot);
		/* Which of them end a session, and which do not, drain_judge() says. */
		if ((now & ~before) != 0)
			w->end_sessions |= w->drain.shutdown_sessions;
	}
}

static void follow_faults(struct fault_watch *w, uint64_t now_ms)
{
	uint32_t version = live_fault_version(w->options.live);

	if (version == w->fault_version)
		return;
	w->fault_version = version;
	compare_faults(w, now_ms);
	panic_update(w->table, w->table, (uint32_t)w->options.config->healthy_panic_threshold,
	             on_panic, w);
}

static void tell_workers(struct fault_watch *w)
{
	if (w->end_sessions && w->options.end_sessions(w->options.arg) == 0)
		w->end_sessions = false;
}

void fault_watch_tick(struct fault_watch *w, uint64_t now_ms)
{
	if (w->table == NULL)
		return;
	outlier_tick(w->outlier, w->table, now_ms, on_outlier, w);
	follow_faults(w, now_ms);
	slowstart_tick(w->slowstart, now_ms);
	tell_workers(w);
}

/* ---- tables ---- */

/* What the operator has brought back, or added to others, begins slowly. */
static void begin_slowly(struct fault_watch *w, const struct table *t, uint64_t now_ms)
{
	const struct table *was = w->table;

	for (uint32_t i = 0; i < t->backend_count; i++) {
		const struct backend *b = &t->backends[i];
		const struct backend *before = was == NULL ? NULL
		                                           : table_backend_in_slot(was, b->slot);

		if (before == NULL)
			w->faults_seen[b->slot] = (uint8_t)live_faults(w->options.live, b->slot);
		/* Where there was nobody, there is nobody else who could take the load. */
		if (was == NULL || was->usable_count == 0 || !backend_usable(b))
			continue;
		if (before == NULL || !backend_usable(before))
			slowstart_begin(w->slowstart, b->slot, now_ms);
	}
}

void fault_watch_table(struct fault_watch *w, struct table *t, uint64_t now_ms)
{
	const struct config *c = w->options.config;
	struct table *was = w->table;

	begin_slowly(w, t, now_ms);
	drain_begin(t, was, c->drain_grace_secs * 1000, now_ms);
	panic_update(t, was, (uint32_t)c->healthy_panic_threshold, on_panic, w);
	w->end_sessions |= drain_is_due(&w->drain, t, was);
	w->table = table_ref(t);
	table_unref(was);
}

/* ---- from process to process ---- */

/* The health thread's. */
#define CHECKER_FAULTS (LIVE_CHECK_DOWN | LIVE_AGENT_DOWN | LIVE_AGENT_DRAIN | LIVE_AGENT_MAINT)

bool fault_watch_recall(const struct fault_watch *w, uint32_t slot, uint64_t now_ms,
                        struct state_seen *ret_seen)
{
	const struct live *live = w->options.live;
	const struct backend *b = w->table != NULL ? table_backend_in_slot(w->table, slot) : NULL;
	struct state_seen seen = {.slot = slot};
	struct outlier_memory ejection;

	if (b == NULL)
		return false;
	memcpy(seen.ip, b->addr.ip.b, sizeof(seen.ip));
	seen.port = b->addr.port;
	seen.faults = (uint8_t)(live_faults(live, slot) & CHECKER_FAULTS);
	seen.weight_percent = (uint8_t)live_weight_percent(live, slot);
	seen.start_ms = slowstart_past_ms(w->slowstart, slot, now_ms);
	if (outlier_recall(w->outlier, slot, now_ms, &ejection)) {
		seen.ejected = ejection.ejected;
		seen.ejections = ejection.ejections;
		seen.ejection_left_ms = ejection.left_ms;
		seen.ejected_ms = ejection.ejected_ms;
	}
	if (b->state == STATE_DRAIN) {
		seen.drains = 1;
		seen.grace_left_ms = live_grace_ms(live, slot, now_ms);
	}
	*ret_seen = seen;
	return seen.faults != 0 || seen.weight_percent != 100 || seen.start_ms != 0 ||
	       seen.ejections != 0 || seen.drains != 0;
}

static uint64_t less(uint64_t left_ms, uint64_t age_ms)
{
	return left_ms > age_ms ? left_ms - age_ms : 0;
}

static uint64_t more(uint64_t past_ms, uint64_t age_ms)
{
	return past_ms + age_ms >= past_ms ? past_ms + age_ms : UINT64_MAX;
}

/* The grace that drain_begin() has just given anew began earlier. */
static void restore_drain(const struct fault_watch *w, const struct backend *b, uint64_t left_ms,
                          uint64_t now_ms)
{
	uint64_t most_ms = live_grace_ms(w->options.live, b->slot, now_ms);

	if (b->state == STATE_DRAIN && left_ms < most_ms)
		live_set_grace(w->options.live, b->slot, left_ms > 0 ? now_ms + left_ms : 0);
}

static void restore_faults(struct fault_watch *w, const struct state_seen *seen, uint32_t slot,
                           uint64_t age_ms, uint64_t now_ms)
{
	struct live *live = w->options.live;
	const struct outlier_memory ejection = {
		.ejected = seen->ejected != 0,
		.ejections = seen->ejections,
		.left_ms = less(seen->ejection_left_ms, age_ms),
		.ejected_ms = more(seen->ejected_ms, age_ms),
	};

	for (unsigned bit = 1; bit <= CHECKER_FAULTS; bit <<= 1)
		if ((seen->faults & CHECKER_FAULTS & bit) != 0)
			live_set_fault(live, slot, (enum live_fault)bit, true);
	live_set_weight_percent(live, slot,
	                        seen->weight_percent < 100 ? seen->weight_percent : 100);
	outlier_restore(w->outlier, slot, &ejection, now_ms);
	if (seen->start_ms != 0)
		slowstart_restore(w->slowstart, slot, more(seen->start_ms, age_ms), now_ms);
	/* It is no change: nobody begins slowly anew because of it, and no session ends. */
	w->faults_seen[slot] = (uint8_t)live_faults(live, slot);
}

bool fault_watch_restore(struct fault_watch *w, uint32_t slot, const struct state_seen *seen,
                         uint64_t age_ms, uint64_t now_ms)
{
	const struct backend *b = w->table != NULL ? table_backend_in_slot(w->table, slot) : NULL;
	struct endpoint addr = {.port = seen->port};

	if (b == NULL)
		return false;
	if (seen->drains != 0)
		restore_drain(w, b, less(seen->grace_left_ms, age_ms), now_ms);
	memcpy(addr.ip.b, seen->ip, sizeof(seen->ip));
	if (!endpoint_equal(&b->addr, &addr))
		return false;
	restore_faults(w, seen, slot, age_ms, now_ms);
	return live_faults(w->options.live, slot) != 0;
}

int fault_watch_new(const struct fault_watch_options *options, uint64_t now_ms,
                    struct fault_watch **ret_watch)
{
	const struct config *c = options->config;
	const struct outlier_options outlier = {
		.consecutive_failures = (uint32_t)c->outlier_consecutive_failures,
		.stdev_factor = (uint32_t)c->outlier_success_rate_stdev_factor,
		.min_hosts = (uint32_t)c->outlier_success_rate_min_hosts,
		.request_volume = (uint32_t)c->outlier_success_rate_request_volume,
		.max_ejection_percent = (uint32_t)c->outlier_max_ejection_percent,
		.interval_ms = c->outlier_interval_secs * 1000,
		.base_ejection_ms = c->outlier_base_ejection_secs * 1000,
		.max_ejection_ms = c->outlier_max_ejection_secs * 1000,
		.trial_ms = c->connect_timeout_ms + TRIAL_PATIENCE_MS,
	};
	struct fault_watch *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return -ENOMEM;
	w->options = *options;
	w->drain.close_spread_ms = c->close_spread_secs * 1000;
	w->drain.shutdown_sessions = c->on_marked_down == MARKED_DOWN_SHUTDOWN_SESSIONS;
	w->outlier = outlier_new(&outlier, options->live, now_ms);
	w->slowstart = slowstart_new(options->live, c->slowstart_secs * 1000);
	w->faults_seen = calloc(LIVE_SLOTS_MAX, sizeof(*w->faults_seen));
	if (w->outlier == NULL || w->slowstart == NULL || w->faults_seen == NULL) {
		fault_watch_free(w);
		return -ENOMEM;
	}
	*ret_watch = w;
	return 0;
}

const struct fault_watch_counters *fault_watch_counters(const struct fault_watch *w)
{
	return &w->counters;
}

void fault_watch_free(struct fault_watch *w)
{
	if (w == NULL)
		return;
	table_unref(w->table);
	outlier_free(w->outlier);
	slowstart_free(w->slowstart);
	free(w->faults_seen);
	free(w);
}
