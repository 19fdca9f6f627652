/* From the result of a probe to what the balancer sees.
 *
 * A check and an agent own different bits, so neither can take back what the other has said. An
 * agent that cannot be asked, or that says nothing that can be understood, changes nothing, as in
 * HAProxy: whether the backend can be reached is for its check to find out. What it said last goes
 * on being true.
 *
 * Each change is one line; each probe only at level debug. */
#include "health/target.h"

#include "base/log.h"

#include <string.h>

bool target_spec(const struct target *t, const struct config *config, struct check_spec *ret_spec)
{
	return t->agent ? spec_of_agent(config, t->row, &t->addr, ret_spec)
	                : spec_of_check(config, t->row, &t->addr, ret_spec);
}

static void begin_line(struct log_line *l, enum log_level level, const char *event,
                       const struct target *t, const struct live *live,
                       const struct check_spec *spec)
{
	char addr[ENDPOINT_TEXT_MAX];

	log_begin(l, level, event);
	log_str(l, "backend", live_id(live, t->slot));
	log_str(l, "backend_addr", endpoint_format(&t->addr, addr));
	log_str(l, "check", probe_kind_word(spec->kind));
}

/* ---- checks ---- */

static void log_change(const struct target *t, const struct live *live,
                       const struct check_spec *spec, const char *reason, uint32_t attempts,
                       uint64_t lasted_ms)
{
	bool down = t->state.down;
	struct log_line l;

	begin_line(&l, down ? LOG_WARN : LOG_INFO, down ? "health_down" : "health_up", t, live,
	           spec);
	log_str(&l, "reason", down ? reason : NULL);
	log_uint(&l, "attempts", attempts);
	log_uint(&l, down ? "up_ms" : "down_ms", lasted_ms);
	log_end(&l);
}

static void check_ended(struct target *t, struct live *live, const struct check_spec *spec,
                        bool passed, const char *reason, uint64_t now_ms)
{
	uint64_t since_ms = t->state.changed_ms;
	uint32_t attempts = t->state.streak + 1;

	if (check_result(&t->state, &spec->timing, passed, now_ms) == CHECK_UNCHANGED)
		return;
	live_set_fault(live, t->slot, LIVE_CHECK_DOWN, t->state.down);
	log_change(t, live, spec, reason, attempts, now_ms - since_ms);
}

/* ---- agents ---- */

static void log_agent(const struct target *t, struct live *live, const struct check_spec *spec,
                      const char *why)
{
	unsigned faults = live_faults(live, t->slot);
	struct log_line l;

	begin_line(&l, LOG_INFO, "agent_changed", t, live, spec);
	log_str(&l, "health", (faults & LIVE_AGENT_DOWN) != 0 ? "down" : "up");
	log_str(&l, "state",
	        (faults & LIVE_AGENT_MAINT) != 0   ? "maint"
	        : (faults & LIVE_AGENT_DRAIN) != 0 ? "drain"
	                                           : "ready");
	log_uint(&l, "weight_percent", live_weight_percent(live, t->slot));
	log_str(&l, "why", why[0] != '\0' ? why : NULL);
	log_end(&l);
}

static void agent_said(struct target *t, struct live *live, const struct check_spec *spec,
                       const struct agent_line *line)
{
	const unsigned mine = LIVE_AGENT_DOWN | LIVE_AGENT_DRAIN | LIVE_AGENT_MAINT;
	unsigned faults = live_faults(live, t->slot) & mine;
	unsigned percent = live_weight_percent(live, t->slot);

	if (line->health != AGENT_HEALTH_SAME)
		live_set_fault(live, t->slot, LIVE_AGENT_DOWN, line->health == AGENT_DOWN);
	if (line->admin != AGENT_ADMIN_SAME) {
		live_set_fault(live, t->slot, LIVE_AGENT_DRAIN, line->admin == AGENT_DRAIN);
		live_set_fault(live, t->slot, LIVE_AGENT_MAINT, line->admin == AGENT_MAINT);
	}
	if (line->weight_percent >= 0)
		live_set_weight_percent(live, t->slot, (unsigned)line->weight_percent);
	if (faults != (live_faults(live, t->slot) & mine) ||
	    percent != live_weight_percent(live, t->slot))
		log_agent(t, live, spec, line->why);
}

static void agent_ended(struct target *t, struct live *live, const struct check_spec *spec,
                        const struct probe *probe, bool answered)
{
	struct log_line l;

	if (answered)
		agent_said(t, live, spec, &probe->agent);
	if (answered != t->silent)
		return;
	t->silent = !answered;
	begin_line(&l, answered ? LOG_INFO : LOG_WARN, answered ? "agent_answers" : "agent_silent",
	           t, live, spec);
	log_str(&l, "reason", answered ? NULL : probe->reason);
	log_end(&l);
}

/* ---- both ---- */

static void log_probe(const struct target *t, const struct live *live,
                      const struct check_spec *spec, bool passed, const char *reason,
                      uint64_t took_ms)
{
	struct log_line l;

	begin_line(&l, LOG_DEBUG, "health_probe", t, live, spec);
	log_str(&l, "result", passed ? "passed" : "failed");
	log_str(&l, "reason", passed ? NULL : reason);
	log_uint(&l, "took_ms", took_ms);
	log_end(&l);
}

void target_result(struct target *t, struct live *live, const struct check_spec *spec,
                   enum probe_verdict verdict, const struct probe *probe, uint64_t now_ms)
{
	bool passed = verdict == PROBE_PASSED;

	if (log_wanted(LOG_DEBUG))
		log_probe(t, live, spec, passed, probe->reason, now_ms - t->started_ms);
	if (t->agent)
		agent_ended(t, live, spec, probe, passed);
	else
		check_ended(t, live, spec, passed, probe->reason, now_ms);
}

void target_adopt(struct target *t, const struct live *live, bool continued)
{
	bool down = (live_faults(live, t->slot) & LIVE_CHECK_DOWN) != 0;

	/* What an agent said last is in live, and needs nothing here. */
	if (!t->agent && (down || continued))
		check_adopt(&t->state, down);
}

void target_forget(const struct target *t, struct live *live)
{
	if (!t->agent) {
		live_set_fault(live, t->slot, LIVE_CHECK_DOWN, false);
		return;
	}
	live_set_fault(live, t->slot, LIVE_AGENT_DOWN, false);
	live_set_fault(live, t->slot, LIVE_AGENT_DRAIN, false);
	live_set_fault(live, t->slot, LIVE_AGENT_MAINT, false);
	live_set_weight_percent(live, t->slot, 100);
}
