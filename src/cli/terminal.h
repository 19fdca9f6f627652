/* The terminal of a command that draws: as it was found again on whatever end, signals included.
 * One at a time in a process; one thread. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>

/* Can this be drawn on: standard input and output are a terminal that knows more than plain text?
 */
bool terminal_can_draw(void);
/* Does it want colours (NO_COLOR, TERM)? */
bool terminal_wants_colours(void);

/* Takes the terminal: another screen, keys one by one and unseen. 0 or -errno. */
MUST_CHECK int terminal_open(void);
/* Gives it back. Nothing happens where it was not taken. */
void terminal_close(void);
/* Columns and rows; 80 and 24 where it does not say. */
void terminal_size(unsigned *ret_columns, unsigned *ret_rows);
/* Shows a frame (lines separated by '\n') with one write. False: nobody sees it any more. */
bool terminal_show(const char *frame);
/* Waits for a key, at most so long. The key; 0: time is up, or the size has changed; -1: the end of
 * the input. */
int terminal_key(int wait_ms);

#endif
