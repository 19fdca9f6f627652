/* The country database inside the binary: the bytes of the file that GEO_EMBEDDED_FILE named when
 * it was built. Read-only; any thread. */
#ifndef GEO_EMBEDDED_H
#define GEO_EMBEDDED_H

#include <stdint.h>

extern const uint8_t geo_embedded_data[];
extern const uint64_t geo_embedded_bytes;

#endif
