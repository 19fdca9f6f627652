/* Telling a service manager how things are (sd_notify(3)), without linking its library. Where there
 * is none (NOTIFY_SOCKET is not set) nothing happens. Control thread. */
#ifndef CONTROL_NOTIFY_H
#define CONTROL_NOTIFY_H

#include <stdint.h>

/* Lines such as "READY=1\nSTATUS=…". Never blocks; a manager that does not listen is no error. */
void notify_send(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* How often the manager wants to hear WATCHDOG=1, halved, as it advises; 0: never. */
uint64_t notify_watchdog_ms(void);

#endif
