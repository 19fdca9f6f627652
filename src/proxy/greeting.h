/* Who the client is (state HEADER): the peer itself, or whom a PROXY header of it names. Then the
 * client is located, admitted or turned away, and its search for a backend begins.
 *
 * The worker's thread only. */
#ifndef PROXY_GREETING_H
#define PROXY_GREETING_H

struct session;

/* The session has just begun. It may be closed on return. */
void greeting_start(struct session *s);
/* There may be more of the header. The session may be closed on return. */
void greeting_event(struct session *s);

#endif
