/* One try to find out how a backend is: a connection, or a process. It never blocks. The health
 * thread only. */
#ifndef HEALTH_PROBE_H
#define HEALTH_PROBE_H

#include "base/check.h"
#include "health/agent.h"
#include "health/grpc.h"
#include "health/http.h"
#include "health/script.h"
#include "health/spec.h"
#include "net/proxy_protocol.h"

#include <stdint.h>

#define PROBE_REASON_MAX 128
/* What is read at one time. */
#define PROBE_BUFFER_BYTES 16384

enum probe_verdict {
	PROBE_GOING,
	PROBE_PASSED,
	PROBE_FAILED,  /* probe.reason says why */
	PROBE_NOT_RUN, /* this machine's fault: nothing is known of the backend; probe.reason */
};

struct probe {
	struct check_spec spec;
	int fd; /* the socket; -1: none */
	bool connected;
	bool sent; /* anything */
	struct script script;
	struct grpc_check *grpc;
	struct http_reply http;
	struct agent_line agent; /* what it said, when an agent's probe has passed */
	char line[AGENT_LINE_MAX + 1];
	size_t line_len;
	char out[PROXY_HEADER_WRITE_MAX + HTTP_REQUEST_MAX]; /* to be sent */
	size_t out_len;
	size_t out_sent;
	char reason[PROBE_REASON_MAX];
};

struct probe_context {
	int epoll_fd; /* gets the probe's descriptor, edge-triggered, with the probe as data */
	const char *script_dir; /* absolute */
	char *buffer;           /* PROBE_BUFFER_BYTES */
};

/* Each returns PROBE_GOING, or the end, after which the probe holds nothing. */
MUST_CHECK enum probe_verdict probe_start(struct probe *p, const struct check_spec *spec,
                                          const struct script_about *about,
                                          const struct probe_context *context);
/* events: what epoll said of its descriptor. */
MUST_CHECK enum probe_verdict probe_event(struct probe *p, uint32_t events,
                                          const struct probe_context *context);
/* Its time is over. A script is killed, and still PROBE_GOING until it has ended. */
MUST_CHECK enum probe_verdict probe_expire(struct probe *p);
/* Ends it without a verdict. A script is killed and waited for, but not for long. */
void probe_cancel(struct probe *p);

#endif
