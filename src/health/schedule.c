/* When targets are checked. Each has a timer for its next check. When it is due the target takes a
 * place among those under way, or waits in line for one, first come first served; scripts, which
 * cost a process each, have a line of their own. A check under way is a flight: a probe, and the
 * timer that ends its time. What comes of it goes to health/target.c, and the next check is due an
 * interval after this one began.
 *
 * What this machine lacks (descriptors, memory, ports) never counts against a backend. Whose
 * targets these are, and which table they come from, is the checker's. */
#include "health/schedule.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

/* A check under way. */
struct flight {
	struct probe probe;
	struct timer deadline;
	struct target *target;
};

/* Kinds of timers in the wheel. */
enum { TIMER_DUE, TIMER_DEADLINE };

void schedule_trouble(struct schedule *s, const char *event, const struct target *t,
                      const char *reason, uint64_t now_ms)
{
	struct log_line l;

	if (s->trouble_ms != 0 && now_ms - s->trouble_ms < SCHEDULE_TROUBLE_QUIET_MS)
		return;
	s->trouble_ms = now_ms;
	log_begin(&l, LOG_WARN, event);
	log_str(&l, "backend", live_id(s->live, t->slot));
	log_str(&l, "reason", reason);
	log_end(&l);
}

static struct schedule_lane *lane_of(struct schedule *s, const struct check_spec *spec)
{
	return &s->lanes[spec->kind == PROBE_SCRIPT ? SCHEDULE_SCRIPT : SCHEDULE_CONNECT];
}

/* ---- when ---- */

static void arm_due(struct target *t, uint64_t due_ms)
{
	uint64_t ticks = (due_ms + SCHEDULE_TICK_MS - 1) / SCHEDULE_TICK_MS;

	timer_arm(&t->schedule->wheel, &t->due, ticks * SCHEDULE_TICK_MS);
}

static void arm_first(struct target *t, const struct check_spec *spec, uint64_t now_ms)
{
	arm_due(t, check_first_ms(&spec->timing, now_ms, &t->schedule->rng));
}

static void arm_next(struct target *t, const struct check_spec *spec, uint64_t now_ms)
{
	uint64_t due_ms = check_next_ms(&t->state, &spec->timing, t->started_ms, &t->schedule->rng);

	arm_due(t, due_ms > now_ms ? due_ms : now_ms + 1);
}

/* All start from schedule_start(), after what ends in this turn has given back its place. */
static void on_due(struct timer *timer, uint64_t now_ms)
{
	struct target *t = list_entry(timer, struct target, due);
	struct check_spec spec;

	CHECK(target_spec(t, t->schedule->config, &spec));
	t->wanted_ms = now_ms;
	list_push_back(&lane_of(t->schedule, &spec)->waiting, &t->queue);
}

/* ---- flights ---- */

/* Gives its place back. Who waits for it is served by schedule_start(). */
static void end_flight(struct target *t)
{
	struct schedule *s = t->schedule;
	struct flight *f = t->flight;

	timer_cancel(&s->wheel, &f->deadline);
	lane_of(s, &f->probe.spec)->under_way--;
	t->flight = NULL;
	object_pool_put(&s->flights, f);
}

static void finish(struct flight *f, enum probe_verdict verdict, uint64_t now_ms)
{
	struct target *t = f->target;
	struct schedule *s = t->schedule;
	struct check_spec spec = f->probe.spec;

	if (verdict == PROBE_GOING)
		return;
	if (verdict == PROBE_NOT_RUN)
		schedule_trouble(s, "health_not_run", t, f->probe.reason, now_ms);
	else
		target_result(t, s->live, &spec, verdict, &f->probe, now_ms);
	end_flight(t);
	arm_next(t, &spec, now_ms);
}

static void on_deadline(struct timer *timer, uint64_t now_ms)
{
	struct flight *f = list_entry(timer, struct flight, deadline);

	finish(f, probe_expire(&f->probe), now_ms);
}

static void start(struct target *t, const struct check_spec *spec, struct schedule_lane *lane,
                  uint64_t now_ms)
{
	struct schedule *s = t->schedule;
	const struct backend *b = table_backend_in_slot(s->table, t->slot);
	struct flight *f = object_pool_get(&s->flights);
	struct script_about about = {
		.backend = b->id,
		.app = b->app,
		.addr = spec->addr,
		.connections = live_connections(s->live, t->slot),
		.hard_limit = b->hard_limit,
	};

	t->started_ms = now_ms;
	if (f == NULL) {
		schedule_trouble(s, "health_not_run", t, "out of memory", now_ms);
		arm_next(t, spec, now_ms);
		return;
	}
	f->target = t;
	t->flight = f;
	lane->under_way++;
	timer_init(&f->deadline, TIMER_DEADLINE);
	timer_arm(&s->wheel, &f->deadline, now_ms + spec->timing.timeout_ms);
	finish(f, probe_start(&f->probe, spec, &about, &s->context), now_ms);
}

/* ---- a turn ---- */

int schedule_wait_ms(const struct schedule *s, uint64_t now_ms)
{
	return timer_wheel_wait_ms(&s->wheel, now_ms);
}

void schedule_event(struct schedule *s, struct probe *probe, uint32_t events, uint64_t now_ms)
{
	struct flight *f = list_entry(probe, struct flight, probe);

	finish(f, probe_event(probe, events, &s->context), now_ms);
}

void schedule_advance(struct schedule *s, uint64_t now_ms)
{
	timer_wheel_advance(&s->wheel, now_ms);
}

void schedule_start(struct schedule *s, uint64_t now_ms)
{
	for (int i = 0; i < SCHEDULE_LANES; i++) {
		struct schedule_lane *lane = &s->lanes[i];

		while (lane->under_way < lane->places && !list_empty(&lane->waiting)) {
			struct target *t = list_entry(lane->waiting.next, struct target, queue);
			struct check_spec spec;

			list_remove(&t->queue);
			CHECK(target_spec(t, s->config, &spec));
			if (now_ms - t->wanted_ms > spec.timing.inter_ms)
				schedule_trouble(
					s, "health_late", t,
					"too many checks under way: EDGEPROXY_HEALTH_CONCURRENCY",
					now_ms);
			start(t, &spec, lane, now_ms);
		}
	}
}

/* ---- targets ---- */

void schedule_add(struct schedule *s, struct target *t, const struct check_spec *spec,
                  uint64_t now_ms)
{
	t->schedule = s;
	t->flight = NULL;
	list_init(&t->queue);
	timer_init(&t->due, TIMER_DUE);
	arm_first(t, spec, now_ms);
}

void schedule_remove(struct target *t)
{
	if (t->flight != NULL) {
		probe_cancel(&t->flight->probe);
		end_flight(t);
	}
	list_remove(&t->queue);
	timer_cancel(&t->schedule->wheel, &t->due);
}

void schedule_restart(struct target *t, const struct check_spec *spec, uint64_t now_ms)
{
	schedule_remove(t);
	arm_first(t, spec, now_ms);
}

void schedule_respec(struct target *t, const struct check_spec *spec)
{
	if (t->flight != NULL)
		t->flight->probe.spec = *spec;
}

/* ---- the whole ---- */

int schedule_init(struct schedule *s, const struct schedule_options *options, uint64_t now_ms)
{
	uint32_t scripts = options->concurrency < SCHEDULE_SCRIPTS_MAX ? options->concurrency
	                                                               : SCHEDULE_SCRIPTS_MAX;

	*s = (struct schedule){
		.config = options->config,
		.live = options->live,
		.rng = {.state = options->seed},
		.context = {.epoll_fd = options->epoll_fd, .script_dir = options->script_dir},
		.lanes = {[SCHEDULE_CONNECT].places = options->concurrency,
	                  [SCHEDULE_SCRIPT].places = scripts},
	};
	s->context.buffer = malloc(PROBE_BUFFER_BYTES);
	if (s->context.buffer == NULL)
		return -ENOMEM;
	timer_wheel_init(&s->wheel, now_ms);
	timer_wheel_on(&s->wheel, TIMER_DUE, on_due);
	timer_wheel_on(&s->wheel, TIMER_DEADLINE, on_deadline);
	object_pool_init(&s->flights, sizeof(struct flight));
	for (int i = 0; i < SCHEDULE_LANES; i++)
		list_init(&s->lanes[i].waiting);
	return 0;
}

void schedule_done(struct schedule *s)
{
	if (s->context.buffer == NULL)
		return;
	object_pool_done(&s->flights);
	free(s->context.buffer);
	s->context.buffer = NULL;
}
