/* The command line's way to a running proxy: HTTP over its control socket, found where
 * EDGEPROXY_CONTROL_SOCKET says. What goes wrong is said on standard error, with what to do about
 * it; callers only pass the exit status on. One thread; libcurl is loaded by
 * control_open(), so `run` never has it. */
#ifndef CLI_CONTROL_H
#define CLI_CONTROL_H

#include "base/check.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Exit statuses of every command that asks a proxy. */
#define CONTROL_OK 0
#define CONTROL_FAILED 1    /* no proxy, or it refused */
#define CONTROL_ARGUMENTS 2 /* the command line is wrong */

/* An answer must be whole after so long, a connection made after so long. */
#define CONTROL_ANSWER_MS 30000
#define CONTROL_CONNECT_MS 2000
/* Longest answer that is kept, and longest line of a stream. */
#define CONTROL_ANSWER_MAX (256 * 1024 * 1024)
#define CONTROL_LINE_MAX (1024 * 1024)

struct control;
struct control_path;

/* command goes before each message: "edgeproxy status: …". Connects to nothing yet. CONTROL_OK or
 * CONTROL_FAILED. */
MUST_CHECK int control_open(const char *command, struct control **ret_control);
/* The same without a word, for those who can do without a proxy. */
bool control_find(const char *command, struct control **ret_control);
void control_close(struct control *c); /* NULL-safe */
/* The socket's path, as configured. */
const char *control_socket(const struct control *c);
/* Does a proxy accept connections there? Says nothing. */
bool control_is_there(const char *path);
/* From now on (or no more) errors of connecting and of answers are not said: for who draws on the
 * terminal. */
void control_set_quiet(struct control *c, bool quiet);

struct control_answer {
	long status; /* of HTTP; 0: none came */
	char *text;  /* as it came, with a NUL behind it */
	size_t len;
	json_t *json; /* NULL: it is no JSON */
};

/* One request without a body. CONTROL_OK: 2xx with JSON in *ret_answer, the caller's to
 * control_answer_done(); otherwise nothing is held. */
MUST_CHECK int control_ask(struct control *c, const char *method, const struct control_path *path,
                           struct control_answer *ret_answer);
void control_answer_done(struct control_answer *a);

/* Gives each line of an endless answer (server-sent events) to line(), without its end, until that
 * returns false or the proxy ends. line NULL-terminated, valid during the call. tick() is called
 * a few times a second whatever comes (may be NULL); false ends too. CONTROL_OK: ended by the
 * callbacks or by the proxy. */
MUST_CHECK int control_stream(struct control *c, const struct control_path *path,
                              bool (*line)(void *arg, const char *line), bool (*tick)(void *arg),
                              void *arg);

#endif
