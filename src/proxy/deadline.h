/* Until when a relaying session may go on as it is. Monotonic milliseconds; the worker's thread. */
#ifndef PROXY_DEADLINE_H
#define PROXY_DEADLINE_H

#include "proxy/session.h"

#include <stdint.h>

/* The earliest of all that it waits for. Activity moves it later. */
uint64_t deadline_ms(const struct session *s);
/* What ends a relaying session when nothing moves any more, and after how long: whoever is being
 * waited for is at fault. */
enum close_reason deadline_idle(const struct session *s, uint64_t *ret_ms);
/* By when something must have been said; UINT64_MAX: no limit, or it has been. */
uint64_t deadline_first_byte_ms(const struct session *s);
/* due_ms in full; it is less than 2^31 ms away as long as it matters. */
uint64_t deadline_due_ms(const struct session *s);

#endif
