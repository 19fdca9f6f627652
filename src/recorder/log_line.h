/* A line of the log read back: its fields, whichever format it was written in. Pure; any thread. */
#ifndef RECORDER_LOG_LINE_H
#define RECORDER_LOG_LINE_H

#include <jansson.h>

/* {"time": …, "level": …, "event": …, …} in the order of the line; texts stay texts in the text
 * format. NULL: it is no such line, or out of memory. */
json_t *log_line_json(const char *line);

#endif
