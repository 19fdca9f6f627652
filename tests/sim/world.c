/* The world of a simulation. It does for a client what dial.c, waiting.c and places.c of proxy/ do,
 * with happenings on the agenda in the place of sockets, timers and mail. The control thread's
 * tick, its health checks and its new tables are happenings as well; workers get a table a few
 * milliseconds apart, so that decisions are made by old tables too.
 *
 * Two thirds of a world are turmoil: backends fail and come back, rows change. Then it calms down:
 * everything is repaired, and what is still wrong afterwards is a fault of ours. */
#include "world.h"

#include "invariants.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As the control thread's and the workers'. */
#define TICK_MS 50
#define OFFER_EVERY_MS 100
#define PASSES_MAX 64

enum kind {
	ARRIVAL,   /* a client */
	ANSWER,    /* of a backend, to a session's connect */
	END,       /* of a session */
	GIVE_UP,   /* a session's queue timeout */
	TURN,      /* a backend fails, or is repaired */
	EDIT,      /* somebody writes rows */
	NEW_TABLE, /* a worker gets the newest table */
	PLACES,    /* a worker's sessions were given places */
	OFFER,     /* a worker offers all places that there may be */
	CHECK_DUE, /* of a backend */
	TICK,      /* the control thread's */
};

static const char *const regions[REGIONS_MOST] = {"sa", "us", "eu"};
static const char *const countries[REGIONS_MOST] = {"BR", "US", "DE"};
static const char *const apps[APPS_MOST] = {"web", "db", "game"};

static uint64_t below(struct world *w, uint64_t n)
{
	return rng_below(&w->rng, n);
}

static bool one_in(struct world *w, uint64_t n)
{
	return below(w, n) == 0;
}

__attribute__((format(printf, 2, 3))) static void tell(struct world *w, const char *format, ...)
{
	va_list args;

	if (!w->trace)
		return;
	printf("%8llu ms  ", (unsigned long long)w->now_ms);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

void world_violated(struct world *w, const char *format, ...)
{
	va_list args;
	int n;

	if (w->violation[0] != '\0')
		return;
	n = snprintf(w->violation, sizeof(w->violation),
	             "at %llu ms: ", (unsigned long long)w->now_ms);
	va_start(args, format);
	vsnprintf(w->violation + n, sizeof(w->violation) - (size_t)n, format, args);
	va_end(args);
	tell(w, "VIOLATED %s", w->violation);
}

uint32_t world_backend(const struct world *w, const struct backend *b)
{
	uint32_t i = (uint32_t)strtoul(b->id + 1, NULL, 10);

	CHECK(i < w->backend_count);
	return i;
}

static void later(struct world *w, uint64_t ms, enum kind kind, uint32_t subject, uint64_t token)
{
	agenda_add(&w->agenda, w->now_ms + ms, (int)kind, subject, token);
}

static bool calm(const struct world *w)
{
	return w->now_ms >= w->end_ms * 2 / 3;
}

/* ---- tables ---- */

static void make_table(struct world *w)
{
	struct table_options options = {
		.local_region = "sa",
		.services = w->services,
		.service_count = w->app_count,
		.panics = w->config.healthy_panic_threshold > 0,
	};
	struct route_rows rows;
	struct table *t;

	route_rows_init(&rows);
	for (uint32_t i = 0; i < w->backend_count; i++)
		if (w->backends[i].listed)
			CHECK(route_rows_add_backend(&rows, &w->backends[i].row) == 0);
	CHECK(table_new(&rows, &options, w->live, &t) == 0);
	route_rows_done(&rows);
	if (w->table != NULL)
		check_limits(w);
	fault_watch_table(w->faults, t, w->now_ms);
	table_unref(w->table);
	w->table = t;
	w->counts.tables++;
	(void)live_collect(w->live);
	for (uint32_t i = 0; i < w->worker_count; i++)
		later(w, below(w, 20), NEW_TABLE, i, 0);
}

/* A backend's row as nobody would complain of it. */
static void sound_row(struct world *w, struct sim_backend *b)
{
	b->listed = true;
	b->row.healthy = true;
	b->row.deleted = false;
	b->row.state = STATE_READY;
	b->row.weight = 1 + (uint32_t)below(w, 4);
}

static void edit(struct world *w)
{
	struct sim_backend *b = &w->backends[below(w, w->backend_count)];

	switch (below(w, 7)) {
	case 0:
		b->listed = !b->listed;
		break;
	case 1:
		b->row.healthy = !b->row.healthy;
		break;
	case 2:
		b->row.deleted = !b->row.deleted;
		break;
	case 3:
		b->row.state = (enum admin_state)below(w, 3);
		break;
	case 4:
		b->row.weight = (uint32_t)below(w, 4);
		break;
	case 5:
		b->row.hard_limit = 1 + (uint32_t)below(w, 12);
		b->row.soft_limit = 1 + (uint32_t)below(w, b->row.hard_limit);
		break;
	default:
		sound_row(w, b);
		break;
	}
	tell(w, "edit %s: listed %d healthy %d deleted %d state %d weight %u limit %u", b->id,
	     b->listed, b->row.healthy, b->row.deleted, (int)b->row.state, b->row.weight,
	     b->row.hard_limit);
	make_table(w);
}

/* ---- places: as proxy/places.c ---- */

static void told(struct world *w, uint32_t owner)
{
	later(w, below(w, 3), PLACES, owner, 0);
}

static void offer(struct world *w, const struct table *t, const struct backend *b)
{
	const struct balancer_query anybody = {
		.app = b->app, .country = "", .region = REGION_NONE, .now_ms = w->now_ms};

	while (queue_wanted(w->queue, b->app) &&
	       balancer_judge(t, b, &anybody).exclusion == EXCLUDED_NOT) {
		uint32_t owner = queue_offer(w->queue, w->live, b);

		if (owner == QUEUE_NOBODY)
			return;
		(void)!live_admit(w->live, b->slot); /* a trial, if it is ejected */
		told(w, owner);
	}
}

static void release_slot(struct world *w, uint32_t worker, uint32_t slot)
{
	const struct table *t = w->workers[worker].table;
	const struct backend *b;

	live_release(w->live, slot);
	b = table_backend_in_slot(t, slot);
	if (b != NULL && queue_length(w->queue) != 0)
		offer(w, t, b);
}

static void offer_all(struct world *w, uint32_t worker)
{
	const struct table *t = w->workers[worker].table;

	for (uint32_t i = 0; i < t->backend_count && queue_length(w->queue) != 0; i++)
		offer(w, t, &t->backends[i]);
}

/* ---- a client's way: as proxy/dial.c ---- */

static void try_next(struct world *w, struct sim_session *s);

static uint32_t number_of(const struct world *w, const struct sim_session *s)
{
	return (uint32_t)(s - w->sessions);
}

static void move(struct world *w, struct sim_session *s, enum sim_state state)
{
	s->state = state;
	s->token = ++w->agenda.order;
}

static uint32_t slot_of(const struct world *w, uint32_t backend)
{
	uint32_t slot;

	/* Held by a connection of ours, so it is found, and given back at once. */
	CHECK(live_hold(w->live, w->backends[backend].id, &slot) == 0);
	live_let_go(w->live, slot);
	return slot;
}

static void finish(struct world *w, struct sim_session *s)
{
	tried_done(&s->tried);
	tried_init(&s->tried);
	move(w, s, FREE);
}

static void refuse(struct world *w, struct sim_session *s, const char *why)
{
	tell(w, "client %u turned away: %s", s->client, why);
	w->counts.refused++;
	finish(w, s);
}

static void take_place(struct world *w, struct sim_session *s, uint32_t backend)
{
	s->backend = backend;
	w->backends[backend].connections++;
	check_limit(w, backend);
}

static uint32_t give_up_place(struct world *w, struct sim_session *s)
{
	uint32_t slot = slot_of(w, s->backend);

	w->backends[s->backend].connections--;
	s->backend = NOBODY;
	return slot;
}

static void connect_to(struct world *w, struct sim_session *s, uint32_t backend)
{
	const struct sim_backend *b = &w->backends[backend];
	uint64_t patience = w->config.connect_timeout_ms;
	uint64_t took = b->condition == HANGS ? patience : 1 + below(w, 80);

	take_place(w, s, backend);
	move(w, s, DIALLING);
	later(w, took, ANSWER, number_of(w, s), s->token);
}

static int find_place(struct world *w, struct sim_session *s, struct choice *ret_choice)
{
	struct sim_client *c = &w->clients[s->client];
	struct sim_worker *worker = &w->workers[s->worker];
	const struct policy_query query = {
		.table = worker->table,
		.affinity = w->affinity,
		.service = w->services[c->app],
		.client = &c->ip,
		.place = &c->place,
		.tried = &s->tried,
		.now_ms = w->now_ms,
		.rng = &worker->rng,
	};

	for (int i = 0; i < PASSES_MAX; i++) {
		int err = policy_choose(&query, ret_choice);
		uint32_t owner;

		w->counts.decisions++;
		if (err == 0)
			check_choice(w, s, ret_choice);
		/* A lookup that hits is a use. */
		if (c->bound != NOBODY &&
		    w->now_ms - c->bound_used_ms < w->config.binding_ttl_secs * 1000)
			c->bound_used_ms = w->now_ms;
		if (err != 0)
			return err;
		if (!backend_usable(ret_choice->backend))
			return 0;
		owner = queue_pass(w->queue, ret_choice->backend);
		if (owner == QUEUE_NOBODY)
			return 0;
		told(w, owner);
	}
	return -EAGAIN;
}

static void wait_for_place(struct world *w, struct sim_session *s)
{
	struct choice choice;

	if (s->waiter.ticket == 0)
		s->queue_deadline_ms = w->now_ms + w->config.queue_timeout_ms;
	s->waiter.app = w->services[w->clients[s->client].app]->app;
	s->waiter.tried = &s->tried;
	s->waiter.owner = s->worker;
	if (w->now_ms >= s->queue_deadline_ms) {
		refuse(w, s, "queue-timeout");
		return;
	}
	if (queue_join(w->queue, &s->waiter) != 0) {
		check_waited(w, s, "queue-full");
		refuse(w, s, "queue-full");
		return;
	}
	check_waits(w, s);
	move(w, s, WAITING);
	w->counts.waited++;
	later(w, s->queue_deadline_ms - w->now_ms, GIVE_UP, number_of(w, s), s->token);
	if (w->workers[s->worker].waiting++ == 0)
		later(w, OFFER_EVERY_MS, OFFER, s->worker, 0);
	if (find_place(w, s, &choice) == 0)
		release_slot(w, s->worker, choice.binding.slot);
}

static void try_next(struct world *w, struct sim_session *s)
{
	struct choice choice;

	if (w->now_ms >= s->dial_deadline_ms) {
		refuse(w, s, "connect-budget");
		return;
	}
	switch (find_place(w, s, &choice)) {
	case 0:
		tell(w, "client %u to %s%s", s->client, choice.backend->id,
		     choice.from_affinity ? ", which it had" : "");
		connect_to(w, s, world_backend(w, choice.backend));
		break;
	case -EAGAIN:
		wait_for_place(w, s);
		break;
	case -EHOSTUNREACH:
		check_refusal(w, s, "connect-failed");
		refuse(w, s, "connect-failed");
		break;
	default:
		check_refusal(w, s, "no-backend");
		refuse(w, s, "no-backend");
		break;
	}
}

static void dial(struct world *w, struct sim_session *s)
{
	s->dial_deadline_ms = w->now_ms + w->config.connect_budget_ms;
	try_next(w, s);
}

/* A place that it was given: dial_resume(). */
static void resume(struct world *w, struct sim_session *s, uint32_t slot)
{
	const struct table *t = w->workers[s->worker].table;
	const struct backend *b = table_backend_in_slot(t, slot);

	w->workers[s->worker].waiting--;
	s->dial_deadline_ms = w->now_ms + w->config.connect_budget_ms;
	if (b == NULL || !backend_usable(b) ||
	    strcmp(b->app, w->services[w->clients[s->client].app]->app) != 0) {
		release_slot(w, s->worker, slot);
		try_next(w, s);
		return;
	}
	tell(w, "client %u to %s, for which it waited", s->client, b->id);
	connect_to(w, s, world_backend(w, b));
}

static void arrival(struct world *w)
{
	struct sim_session *s = w->sessions;

	while (s < w->sessions + SESSIONS_MOST && s->state != FREE)
		s++;
	if (s == w->sessions + SESSIONS_MOST)
		return; /* the machine is full: max-conn */
	s->client = (uint32_t)below(w, w->client_count);
	s->worker = (uint32_t)below(w, w->worker_count);
	s->backend = NOBODY;
	s->began_ms = w->now_ms;
	s->waiter = (struct waiter){0};
	w->counts.clients++;
	dial(w, s);
}

static void connected(struct world *w, struct sim_session *s)
{
	struct sim_client *c = &w->clients[s->client];
	uint32_t slot = slot_of(w, s->backend);
	struct binding binding = {.slot = slot, .generation = live_generation(w->live, slot)};

	live_note_success(w->live, slot);
	affinity_put(w->affinity, &c->ip, w->services[c->app]->key, binding, w->now_ms);
	c->bound = s->backend;
	c->binding = binding;
	c->bound_used_ms = w->now_ms;
	w->counts.served++;
	move(w, s, SERVED);
	later(w, 1 + below(w, one_in(w, 8) ? 3500 : 400), END, number_of(w, s), s->token);
}

static void answer(struct world *w, struct sim_session *s)
{
	uint32_t slot;

	if (w->backends[s->backend].condition == ANSWERS) {
		connected(w, s);
		return;
	}
	tell(w, "client %u: %s fails", s->client, w->backends[s->backend].id);
	w->counts.retries++;
	slot = give_up_place(w, s);
	live_note_failure(w->live, slot);
	CHECK(tried_add(&s->tried, slot) == 0);
	release_slot(w, s->worker, slot);
	try_next(w, s);
}

static void end(struct world *w, struct sim_session *s)
{
	struct sim_client *c = &w->clients[s->client];
	uint32_t backend = s->backend;
	uint32_t slot = slot_of(w, backend);
	struct binding binding = {.slot = slot, .generation = live_generation(w->live, slot)};

	affinity_touch(w->affinity, &c->ip, w->services[c->app]->key, binding, w->now_ms);
	if (w->now_ms - c->bound_used_ms >= w->config.binding_ttl_secs * 1000 &&
	    c->bound != backend)
		world_violated(w, "not modelled: a binding that expired under a longer session");
	if (c->bound == backend && c->binding.slot == slot &&
	    c->binding.generation == binding.generation)
		c->bound_used_ms = w->now_ms;
	release_slot(w, s->worker, give_up_place(w, s));
	finish(w, s);
}

static void give_up(struct world *w, struct sim_session *s)
{
	uint32_t slot = queue_leave(w->queue, &s->waiter);

	if (slot != LIVE_NO_SLOT) {
		resume(w, s, slot);
		return;
	}
	w->workers[s->worker].waiting--;
	check_waited(w, s, "queue-timeout");
	refuse(w, s, "queue-timeout");
}

static void places(struct world *w, uint32_t worker)
{
	struct waiter *waiter;
	uint32_t slot;

	while ((waiter = queue_take(w->queue, worker, &slot)) != NULL)
		resume(w, list_entry(waiter, struct sim_session, waiter), slot);
}

/* ---- backends ---- */

static void turn(struct world *w, uint32_t number)
{
	struct sim_backend *b = &w->backends[number];

	b->condition = b->condition == ANSWERS ? (one_in(w, 3) ? HANGS : REFUSES) : ANSWERS;
	if (b->condition == ANSWERS)
		b->answers_since_ms = w->now_ms;
	tell(w, "%s %s", b->id,
	     b->condition == ANSWERS ? "answers"
	     : b->condition == HANGS ? "hangs"
	                             : "refuses");
	if (!calm(w))
		later(w, 300 + below(w, 6000), TURN, number, 0);
}

static void check_due(struct world *w, uint32_t number)
{
	struct sim_backend *b = &w->backends[number];
	bool passed = b->condition == ANSWERS;
	uint32_t slot;

	if (check_result(&b->check, &w->timing, passed, w->now_ms) != CHECK_UNCHANGED)
		tell(w, "%s is %s by its checks", b->id, b->check.down ? "down" : "up");
	for (uint32_t i = 0; i < w->table->backend_count; i++) {
		if (world_backend(w, &w->table->backends[i]) != number)
			continue;
		slot = w->table->backends[i].slot;
		live_set_fault(w->live, slot, LIVE_CHECK_DOWN, b->check.down);
	}
	agenda_add(&w->agenda,
	           check_next_ms(&b->check, &w->timing, w->now_ms, &w->rng) + below(w, 5),
	           CHECK_DUE, number, 0);
}

static void repair_everything(struct world *w)
{
	tell(w, "calm");
	for (uint32_t i = 0; i < w->backend_count; i++) {
		struct sim_backend *b = &w->backends[i];

		sound_row(w, b);
		if (b->condition != ANSWERS)
			b->answers_since_ms = w->now_ms;
		b->condition = ANSWERS;
	}
	make_table(w);
}

/* ---- the clock ---- */

static void happen_to_session(struct world *w, const struct happening *h)
{
	struct sim_session *s = &w->sessions[h->subject];

	if (h->token != s->token)
		return; /* it has moved on */
	if (h->kind == ANSWER)
		answer(w, s);
	else if (h->kind == END)
		end(w, s);
	else
		give_up(w, s);
}

static void tick(struct world *w)
{
	bool was_calm = w->now_ms >= TICK_MS && w->now_ms - TICK_MS >= w->end_ms * 2 / 3;

	if (calm(w) && !was_calm)
		repair_everything(w);
	fault_watch_tick(w->faults, w->now_ms);
	check_panic(w);
	check_books(w);
	if (w->now_ms < w->end_ms)
		later(w, TICK_MS, TICK, 0, 0);
}

static void happen(struct world *w, const struct happening *h)
{
	uint32_t n = h->subject;

	w->now_ms = h->at_ms;
	switch ((enum kind)h->kind) {
	case ARRIVAL:
		arrival(w);
		if (w->now_ms < w->end_ms)
			later(w, below(w, h->token), ARRIVAL, 0, h->token);
		break;
	case ANSWER:
	case END:
	case GIVE_UP:
		happen_to_session(w, h);
		break;
	case TURN:
		if (!calm(w))
			turn(w, n);
		break;
	case EDIT:
		if (!calm(w)) {
			edit(w);
			later(w, 200 + below(w, 6000), EDIT, 0, 0);
		}
		break;
	case NEW_TABLE:
		check_limits(w);
		table_unref(w->workers[n].table);
		w->workers[n].table = table_ref(w->table);
		offer_all(w, n);
		break;
	case PLACES:
		places(w, n);
		break;
	case OFFER:
		offer_all(w, n);
		places(w, n);
		if (w->workers[n].waiting != 0)
			later(w, OFFER_EVERY_MS, OFFER, n, 0);
		break;
	case CHECK_DUE:
		if (w->now_ms < w->end_ms)
			check_due(w, n);
		break;
	case TICK:
		tick(w);
		break;
	}
}

/* ---- making one ---- */

static int nobody_to_tell(void *arg)
{
	(void)arg;
	return 0;
}

static void make_backends(struct world *w)
{
	const uint8_t loopback[4] = {127, 0, 0, 1};

	w->backend_count = 1 + (uint32_t)below(w, BACKENDS_MOST);
	for (uint32_t i = 0; i < w->backend_count; i++) {
		struct sim_backend *b = &w->backends[i];
		unsigned region = (unsigned)below(w, REGIONS_MOST);

		snprintf(b->id, sizeof(b->id), "b%u", i);
		b->row = (struct backend_row){
			.id = b->id,
			.app = apps[below(w, w->app_count)],
			.region = regions[region],
			.addr = {.ip = ip_from_v4(loopback), .port = (uint16_t)(9000 + i)},
			.hard_limit = 1 + (uint32_t)below(w, one_in(w, 2) ? 4 : 40),
		};
		b->row.soft_limit = 1 + (uint32_t)below(w, b->row.hard_limit);
		if (one_in(w, 2))
			memcpy(b->row.country, countries[region], 3);
		sound_row(w, b);
		check_begin(&b->check, &w->timing, 0);
		later(w, below(w, 8000), TURN, i, 0);
		if (w->checked)
			agenda_add(&w->agenda, check_first_ms(&w->timing, 0, &w->rng), CHECK_DUE, i,
			           0);
	}
}

static void make_clients(struct world *w)
{
	w->client_count = 1 + (uint32_t)below(w, CLIENTS_MOST);
	for (uint32_t i = 0; i < w->client_count; i++) {
		struct sim_client *c = &w->clients[i];
		const uint8_t address[4] = {203, 0, 113, (uint8_t)i};
		unsigned region = (unsigned)below(w, REGIONS_MOST + 1);

		c->ip = ip_from_v4(address);
		c->app = (unsigned)below(w, w->app_count);
		c->bound = NOBODY;
		if (region == REGIONS_MOST)
			continue; /* nobody knows where it is */
		memcpy(c->place.country, countries[region], 3);
		CHECK(region_intern(regions[region], &c->place.region) == 0);
	}
}

static void make_config(struct world *w)
{
	static char *const nothing[] = {NULL};
	const struct config_report report = {.problem = NULL};

	CHECK(config_read(nothing, &report, &w->config) == 0);
	w->config.binding_ttl_secs = 4 +
	                             below(w, one_in(w, 2) ? 10 : 600); /* no session is longer */
	w->config.queue_max = one_in(w, 3) ? below(w, 20) : 10000;
	w->config.queue_timeout_ms = 500 + below(w, 8000);
	w->config.outlier_consecutive_failures = below(w, 6);
	w->config.outlier_base_ejection_secs = 1 + below(w, 5);
	w->config.outlier_max_ejection_secs = 10 + below(w, 10);
	w->config.outlier_max_ejection_percent = 1 + below(w, 100);
	w->config.healthy_panic_threshold = below(w, 101);
	w->config.slowstart_secs = one_in(w, 2) ? below(w, 20) : 0;
	w->config.drain_grace_secs = below(w, 30);
	w->timing = (struct check_timing){
		.inter_ms = 500 + (uint32_t)below(w, 3000),
		.fastinter_ms = 200 + (uint32_t)below(w, 500),
		.downinter_ms = 500 + (uint32_t)below(w, 3000),
		.timeout_ms = 400,
		.rise = 1 + (uint32_t)below(w, 3),
		.fall = 1 + (uint32_t)below(w, 3),
	};
	w->checked = one_in(w, 2);
}

static void make(struct world *w, uint64_t seed, bool trace)
{
	struct affinity_options affinity = {.max_entries = 4096, .v4_bits = 32, .v6_bits = 64};
	struct endpoint listen = {.port = 80};
	struct fault_watch_options faults = {.config = &w->config, .end_sessions = nobody_to_tell};
	uint64_t rush;

	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->trace = trace;
	w->rng.state = seed;
	w->end_ms = 4000 + below(w, 9000);
	w->app_count = 1 + (unsigned)below(w, APPS_MOST);
	w->worker_count = 1 + (uint32_t)below(w, WORKERS_MOST);
	agenda_init(&w->agenda);
	make_config(w);
	affinity.ttl_ms = w->config.binding_ttl_secs * 1000;
	affinity.seed = seed;
	w->live = live_new();
	w->affinity = affinity_new(&affinity);
	w->queue = queue_new((uint32_t)w->config.queue_max, w->worker_count);
	faults.live = w->live;
	CHECK(w->live != NULL && w->affinity != NULL && w->queue != NULL);
	CHECK(fault_watch_new(&faults, 0, &w->faults) == 0);
	for (unsigned i = 0; i < w->app_count; i++, listen.port++) {
		w->services[i] = service_new(&listen, apps[i], false, 0, NULL);
		CHECK(w->services[i] != NULL);
	}
	for (uint32_t i = 0; i < SESSIONS_MOST; i++)
		tried_init(&w->sessions[i].tried);
	make_backends(w);
	make_clients(w);
	make_table(w);
	for (uint32_t i = 0; i < w->worker_count; i++) {
		w->workers[i].table = table_ref(w->table);
		w->workers[i].rng.state = rng_next(&w->rng);
	}
	rush = 20 + below(w, one_in(w, 2) ? 200 : 1500);
	later(w, 1, ARRIVAL, 0, rush);
	later(w, below(w, 3000), EDIT, 0, 0);
	later(w, TICK_MS, TICK, 0, 0);
}

static void unmake(struct world *w)
{
	/* A world that was stopped still has sessions. */
	for (uint32_t i = 0; i < SESSIONS_MOST; i++) {
		(void)queue_leave(w->queue, &w->sessions[i].waiter);
		tried_done(&w->sessions[i].tried);
	}
	for (uint32_t i = 0; i < w->worker_count; i++)
		table_unref(w->workers[i].table);
	fault_watch_free(w->faults);
	table_unref(w->table);
	for (unsigned i = 0; i < w->app_count; i++)
		service_unref(w->services[i]);
	queue_free(w->queue);
	affinity_free(w->affinity);
	live_free(w->live);
	config_done(&w->config);
	agenda_done(&w->agenda);
}

void world_run(struct world *w, uint64_t seed, bool trace)
{
	struct happening next;

	make(w, seed, trace);
	while (w->violation[0] == '\0' && agenda_take(&w->agenda, &next))
		happen(w, &next);
	if (w->violation[0] == '\0')
		check_end(w);
	unmake(w);
}
