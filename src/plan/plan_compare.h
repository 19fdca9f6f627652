/* What a change of the routing database would move: two worlds, made from the rows as they are and
 * as they would be, in which the same clients decide anew by the functions that the workers run.
 * Pure but for memory: no files, no clock; the same input gives the same answer. */
#ifndef PLAN_PLAN_COMPARE_H
#define PLAN_PLAN_COMPARE_H

#include "base/check.h"
#include "plan/plan_input.h"
#include "plan/plan_result.h"

/* 0; -ENOMEM, -ENOSPC or -EINVAL. *ret_result, of input where it points, is the caller's to
 * plan_result_done(). */
MUST_CHECK int plan_compare(const struct plan_input *input, struct plan_result *ret_result);

#endif
