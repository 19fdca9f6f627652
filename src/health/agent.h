/* What an agent says of its backend: one line, as HAProxy's agent-check has it. Pure. */
#ifndef HEALTH_AGENT_H
#define HEALTH_AGENT_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>

/* Longest line that is read, its end left out. */
#define AGENT_LINE_MAX 512

enum agent_health { AGENT_HEALTH_SAME, AGENT_UP, AGENT_DOWN };
enum agent_admin { AGENT_ADMIN_SAME, AGENT_READY, AGENT_DRAIN, AGENT_MAINT };

struct agent_line {
	enum agent_health health;
	enum agent_admin admin;
	int weight_percent;           /* 0..100, or -1: the same */
	char why[AGENT_LINE_MAX + 1]; /* what stands behind '#', cleaned of control characters */
};

/* text: one line of len bytes without its end. Words are separated by spaces, tabs and commas, in
 * any case; of words for the same thing the last counts. maxconn:N is read and has no effect. More
 * than 100% counts as 100%. 0; -EINVAL for a line without a word, or with one that is none of these
 * (then nothing of it counts). */
MUST_CHECK int agent_line_parse(const char *text, size_t len, struct agent_line *ret_line);

#endif
