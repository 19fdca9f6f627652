/* The entry point that libFuzzer and replay.c call. It returns 0; whatever it finds wrong ends the
 * process (CHECK, or a sanitizer). */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
