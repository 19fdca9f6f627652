/* A plan as text and as JSON. Standard output. */
#ifndef CLI_PLAN_REPORT_H
#define CLI_PLAN_REPORT_H

#include "base/check.h"
#include "plan/plan_input.h"
#include "plan/plan_result.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct plan_report {
	const struct plan_result *result;
	const char *file;    /* of the SQL */
	const char *db_path; /* of the database */
	size_t statements;
	int64_t rows;
	size_t prefixes;
	size_t forgotten;     /* prefixes left out: their listener is no more */
	double error_percent; /* of the sketch */
	unsigned half_life_secs;
	char *const *quarantined; /* lines: rows that only the change makes bad */
	size_t quarantined_count; /* of those lines */
	size_t quarantined_more;  /* not among them */
};

/* Would somebody be worse off? */
bool plan_report_harm(const struct plan_report *p);
void plan_report_print(const struct plan_report *p);
/* 0 or -ENOMEM. */
MUST_CHECK int plan_report_print_json(const struct plan_report *p);

#endif
