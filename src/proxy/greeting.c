/* A trusted peer (EDGEPROXY_TRUSTED_PROXIES) names the client in a PROXY header; any other peer is
 * the client, and its first bytes are its own. Nothing of a header is believed before all of it is
 * there, and nothing behind it is touched. */
#include "proxy/greeting.h"

#include "net/prefix.h"
#include "net/proxy_protocol.h"
#include "proxy/access_log.h"
#include "proxy/admission.h"
#include "proxy/dial.h"
#include "proxy/session.h"
#include "proxy/worker.h"
#include "route/policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* It is known who the client is. */
static void admit(struct session *s, const struct endpoint *dst)
{
	struct worker *w = s->worker;
	struct place place = policy_locate(w->table, w->geo, &s->client.ip);

	memcpy(s->country, place.country, sizeof(s->country));
	s->region = place.region;
	s->place_source = (uint8_t)place.source;
	s->located = true;
	counter_add(&w->counters.places[place.source], 1);
	if (admission_enter(s, &place))
		dial_start(s, &place, dst);
}

static bool header_expected(const struct session *s)
{
	return s->service->accept_proxy &&
	       prefix_map_find(s->worker->shared->config->trusted_proxies, &s->client.ip) != NULL;
}

/* The client is another than who connected. False: out of memory, and the session is closed. */
static bool name_client(struct session *s, const struct endpoint *client)
{
	s->peer = malloc(sizeof(*s->peer));
	if (s->peer == NULL) {
		session_close(s, CLOSE_RESOURCES);
		return false;
	}
	*s->peer = s->client;
	s->client = *client;
	return true;
}

/* Looks at the first bytes without taking them: only the header itself is taken off the stream. */
void greeting_event(struct session *s)
{
	uint8_t *buffer = s->worker->relay.buffer;
	int fd = s->end[CLIENT].fd;
	struct proxy_header header;
	const char *why;
	ssize_t n = recv(fd, buffer, PROXY_HEADER_MAX, MSG_PEEK);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		session_close(s, CLOSE_CLIENT_GONE);
		return;
	}
	switch (proxy_protocol_parse(buffer, (size_t)n, &header, &why)) {
	case PROXY_MORE:
		if (s->end[CLIENT].hangup)
			session_close(s, CLOSE_CLIENT_GONE);
		return;
	case PROXY_BAD:
		access_log_header_bad(s, why);
		session_close(s, CLOSE_HEADER_BAD);
		return;
	case PROXY_OK:
		break;
	}
	if (recv(fd, buffer, header.length, 0) != (ssize_t)header.length) {
		session_close(s, CLOSE_CLIENT_GONE);
		return;
	}
	if (!header.local && !name_client(s, &header.src))
		return;
	admit(s, header.local ? NULL : &header.dst);
}

void greeting_start(struct session *s)
{
	if (!header_expected(s)) {
		admit(s, NULL);
		return;
	}
	session_arm(s, s->worker->now_ms + s->worker->shared->config->proxy_header_timeout_ms);
	greeting_event(s);
}
