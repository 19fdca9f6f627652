/* Telling a service manager how things are (sd_notify(3)), without linking its library. Where there
 * is none (NOTIFY_SOCKET is not set) nothing happens. Control thread. */
#ifndef CONTROL_NOTIFY_H
#define CONTROL_NOTIFY_H

#include "base/check.h"

#include <stdbool.h>
#include <stdint.h>

#define NOTIFY_WAIT_MS 2000

/* What has changed, in lines such as "READY=1\nSTATUS=…". The kernel holds few datagrams for a
 * manager that is slow to read (net.unix.max_dgram_qlen, 10): the thread waits until there is room,
 * NOTIFY_WAIT_MS at the most, since such a line is said once only. A manager that does not listen
 * is no error. */
void notify_send(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, and never waits. False: there is no room now; whoever needs it heard tries again. */
MUST_CHECK bool notify_try(const char *text);
/* WATCHDOG=1. Never waits: another one follows. */
void notify_alive(void);
/* How often the manager wants to hear WATCHDOG=1, halved, as it advises; 0: never. */
uint64_t notify_watchdog_ms(void);

#endif
