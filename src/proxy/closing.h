/* What a session leaves when it has ended, and gives back: its line in the log, its place, its
 * sockets. The worker's thread only. */
#ifndef PROXY_CLOSING_H
#define PROXY_CLOSING_H

struct worker;

/* Of all sessions that were closed since this was last called. Whoever has let sessions do
 * something calls it before anything else is served. */
void closing_run(struct worker *w);

#endif
