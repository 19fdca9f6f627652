/* Asks the control thread of the proxy with the same EDGEPROXY_LISTEN_ADDR (control/status.h). It
 * does not connect to the listener: that would be a client, with a line in the log and a backend's
 * slot. */
#include "cli/healthcheck.h"

#include "config/config.h"
#include "control/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void print_problem(void *arg, bool fatal, const char *text)
{
	(void)arg;
	if (fatal)
		fprintf(stderr, "edgeproxy: %s\n", text);
}

static const char *explain_error(int err)
{
	switch (err) {
	case -ECONNREFUSED:
		return "no proxy runs with this EDGEPROXY_LISTEN_ADDR";
	case -ETIMEDOUT:
		return "the proxy does not answer";
	default:
		return strerror(-err);
	}
}

int healthcheck_main(void)
{
	static const char ready[] = "ready";
	const struct config_report report = {.problem = print_problem};
	char line[STATUS_TEXT_MAX];
	struct config config;
	char listen[ENDPOINT_TEXT_MAX];
	int rc;

	if (config_read(environ, &report, &config) != 0)
		return 1;
	endpoint_format(&config.listen_addr, listen);
	config_done(&config);
	rc = status_ask(listen, HEALTHCHECK_TIMEOUT_MS, line);
	if (rc != 0) {
		fprintf(stderr, "unhealthy: %s\n", explain_error(rc));
		return 1;
	}
	if (strncmp(line, ready, sizeof(ready) - 1) != 0 ||
	    (line[sizeof(ready) - 1] != ' ' && line[sizeof(ready) - 1] != '\0')) {
		fprintf(stderr, "unhealthy: %s\n", line);
		return 1;
	}
	printf("%s\n", line);
	return 0;
}
