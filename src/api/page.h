/* The live page: one HTML document, made at build time from src/page/ and data/map/, and the header
 * that says what it may do. Read-only; any thread. */
#ifndef API_PAGE_H
#define API_PAGE_H

#include <stdint.h>

extern const char page_data[];
extern const uint64_t page_bytes;
/* Its Content-Security-Policy: nothing but its own script and style, and this API. */
extern const char page_policy[];

#endif
