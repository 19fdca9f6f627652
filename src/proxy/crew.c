/* Starting, addressing and ending the workers as one. */
#include "proxy/crew.h"

#include "base/rng.h"
#include "proxy/loop.h"
#include "proxy/mail.h"
#include "proxy/worker.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

/* A worker that cannot be told to leave for want of memory is told again so often. */
#define CREW_RETRY_NS 10000000

struct crew {
	struct worker_shared shared;
	unsigned started;
	atomic_uint starved;
};

int crew_new(const struct crew_options *options, struct table *table, struct geo_db *geo,
             struct crew **ret_crew)
{
	struct crew *c = calloc(1, sizeof(*c));
	struct rng seeds = {.state = options->seed};
	int err = 0;

	if (c == NULL)
		return -ENOMEM;
	c->shared = (struct worker_shared){
		.config = options->config,
		.live = options->live,
		.affinity = options->affinity,
		.client_limits = options->client_limits,
		.queue = options->queue,
		.access_log = options->access_log,
		.max_conn = options->max_conn,
		.starved = &c->starved,
		.workers = aligned_alloc(_Alignof(struct worker),
	                                 options->workers * sizeof(struct worker)),
		.worker_count = options->workers,
	};
	if (c->shared.workers == NULL) {
		free(c);
		return -ENOMEM;
	}
	/* Any worker may look at the load of any other as soon as it runs. */
	for (unsigned i = 0; i < options->workers; i++) {
		err = loop_init(&c->shared.workers[i], &c->shared, rng_next(&seeds), table, geo,
		                options->paused);
		if (err != 0)
			break;
		c->started++;
	}
	for (unsigned i = 0; err == 0 && i < options->workers; i++)
		err = loop_start(&c->shared.workers[i]);
	if (err != 0) {
		crew_free(c);
		return err;
	}
	*ret_crew = c;
	return 0;
}

int crew_post_table(struct crew *c, struct table *table)
{
	int err = 0;

	for (unsigned i = 0; i < c->started; i++)
		if (mail_table(&c->shared.workers[i], table) != 0)
			err = -ENOMEM;
	return err;
}

int crew_post_geo(struct crew *c, struct geo_db *geo)
{
	int err = 0;

	for (unsigned i = 0; i < c->started; i++)
		if (mail_geo(&c->shared.workers[i], geo) != 0)
			err = -ENOMEM;
	return err;
}

static int post_all(struct crew *c, int (*post)(struct worker *w))
{
	int err = 0;

	for (unsigned i = 0; i < c->started; i++)
		if (post(&c->shared.workers[i]) != 0)
			err = -ENOMEM;
	return err;
}

int crew_sweep(struct crew *c)
{
	return post_all(c, mail_sweep);
}

void crew_census(struct crew *c, struct census *census)
{
	for (unsigned i = 0; i < c->started; i++) {
		struct census_part *part = census_part(census, i);

		if (mail_census(&c->shared.workers[i], part) != 0)
			census_leave(part);
	}
}

int crew_stop(struct crew *c)
{
	return post_all(c, mail_stop);
}

int crew_pause(struct crew *c)
{
	return post_all(c, mail_pause);
}

int crew_resume(struct crew *c)
{
	return post_all(c, mail_resume);
}

bool crew_stopped(const struct crew *c)
{
	for (unsigned i = 0; i < c->started; i++)
		if (!atomic_load_explicit(&c->shared.workers[i].stopped, memory_order_acquire))
			return false;
	return true;
}

void crew_counters(const struct crew *c, struct counters_sum *sum)
{
	for (unsigned i = 0; i < c->started; i++)
		counters_add_to(&c->shared.workers[i].counters, sum);
}

unsigned crew_size(const struct crew *c)
{
	return c->started;
}

struct flight *crew_flight(struct crew *c, unsigned n)
{
	CHECK(n < c->started);
	return &c->shared.workers[n].flight;
}

void crew_free(struct crew *c)
{
	static const struct timespec pause = {.tv_nsec = CREW_RETRY_NS};

	if (c == NULL)
		return;
	for (unsigned i = 0; i < c->started; i++)
		while (mail_leave(&c->shared.workers[i]) != 0)
			nanosleep(&pause, NULL);
	for (unsigned i = 0; i < c->started; i++)
		loop_join(&c->shared.workers[i]);
	/* Only now is nobody left who could hand a client to another. */
	for (unsigned i = 0; i < c->started; i++)
		loop_done(&c->shared.workers[i]);
	free(c->shared.workers);
	free(c);
}
