/* CHECK(): an assertion that stays on in release builds.
 *
 * A CHECK guards what only a bug in this program can break. What the world can break (a socket, a
 * file, a row, a packet) is a value: return an error for it instead. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

/* Writes "CHECK failed: …" to standard error and aborts. Any thread; never returns. */
_Noreturn void check_failed(const char *condition, const char *file, int line);

#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

/* The caller must look at the result of a function marked so. */
#define MUST_CHECK __attribute__((warn_unused_result))

#endif
