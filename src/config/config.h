/* The configuration: the environment, checked and typed. Read once at the start; immutable from
 * then on, so any thread may read it. The options are the rows of config/options.def. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include "base/check.h"
#include "base/log.h"
#include "net/addr.h"
#include "net/log_target.h"
#include "net/prefix.h"
#include "net/status_set.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum retry_on { RETRY_CONN_FAILURE, RETRY_EARLY_RESET };
enum relay_mode { RELAY_AUTO, RELAY_COPY, RELAY_SPLICE };
/* The first ones of enum check_type in route/health_check.h. */
enum health_check_option {
	HEALTH_CHECK_OPTION_NONE,
	HEALTH_CHECK_OPTION_TCP,
	HEALTH_CHECK_OPTION_HTTP,
	HEALTH_CHECK_OPTION_GRPC,
};
enum on_marked_down { MARKED_DOWN_NONE, MARKED_DOWN_SHUTDOWN_SESSIONS };

/* The words of each CHOICE option stand in config.c, in the order of its enum (log_level and
 * log_format: base/log.h). */
#define CONFIG_TYPE_STRING char *
#define CONFIG_TYPE_PATH char *
#define CONFIG_TYPE_WORD char *
#define CONFIG_TYPE_STATUSES struct status_set
#define CONFIG_TYPE_UINT uint64_t
#define CONFIG_TYPE_BOOL bool
#define CONFIG_TYPE_ENDPOINT struct endpoint
#define CONFIG_TYPE_PREFIXES struct prefix_map *
#define CONFIG_TYPE_LOG_TARGET struct log_target
#define CONFIG_TYPE_CHOICE int

struct config {
#define OPTION(type, field, variable, default_text, least, most, unit, group, help) \
	CONFIG_TYPE_##type field;
#include "config/options.def"
#undef OPTION
};

/* Called for each problem, with one line without an end, free of control characters. A fatal one
 * stops the start; others are warnings (an unknown EDGEPROXY_* variable, with the nearest known
 * name). */
struct config_report {
	void (*problem)(void *arg, bool fatal, const char *text);
	void *arg;
};

/* Reads environ-style "NAME=value" strings; of two of one name the first counts. Every problem is
 * reported, not just the first. DEBUG and the log level debug come out as both or neither.
 * 0; -EINVAL or -ENOMEM when a fatal one was (then *ret_config is not written). */
MUST_CHECK int config_read(char *const *environment, const struct config_report *report,
                           struct config *ret_config);
void config_done(struct config *c);
/* How the log is to be written, also where another option is wrong; a wrong one of these counts as
 * not set. */
void config_read_log(char *const *environment, enum log_level *ret_level,
                     enum log_format *ret_format);

/* False for an empty EDGEPROXY_LISTEN_ADDR, the all-zero endpoint. Any other one with port 0
 * listens on a port of the kernel's choice. */
bool config_listens(const struct config *c);

/* The option table, for --help: variable, default, range, meaning, by group. */
void config_print_options(FILE *to);

#endif
