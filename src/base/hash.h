/* Hashing for in-memory tables. hash_mix() is the finaliser of splitmix64 (Steele, Lea, Flood,
 * "Fast Splittable Pseudorandom Number Generators", 2014); hash_bytes() is FNV-1a, 64 bits, passed
 * through it. Callers whose keys come from clients pass a secret seed. Any thread. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t hash_mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	x ^= x >> 31;
	return x;
}

static inline uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
	const unsigned char *p = data;
	uint64_t h = 0xcbf29ce484222325u ^ seed;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3u;
	return hash_mix(h);
}

#endif
