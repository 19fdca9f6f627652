/* The description of the API that is served at /openapi.json: the bytes of openapi.json. Read-only;
 * any thread. */
#ifndef API_OPENAPI_H
#define API_OPENAPI_H

#include <stdint.h>

extern const char openapi_data[];
extern const uint64_t openapi_bytes;

#endif
