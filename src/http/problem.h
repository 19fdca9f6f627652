/* RFC 9457 problem details, the body of every error. Any thread. */
#ifndef HTTP_PROBLEM_H
#define HTTP_PROBLEM_H

#include <jansson.h>

#define PROBLEM_DETAIL_MAX 256

/* {"type":"about:blank","title":…,"status":…,"detail":…,"field":…}. field NULL: the error is of no
 * one field. The caller's to json_decref(); NULL: out of memory. */
json_t *problem_json(unsigned status, const char *field, const char *detail);
/* The phrase of a status that the API uses. Static. */
const char *problem_title(unsigned status);

#endif
