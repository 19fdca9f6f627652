/* Hashing for in-memory tables. hash_mix() is the finaliser of splitmix64 (Steele, Lea, Flood,
 * "Fast Splittable Pseudorandom Number Generators", 2014); hash_bytes() takes words of eight bytes,
 * each a step that loses nothing (an odd factor, a shifted copy), and ends with it. A value is good
 * on this machine and for this version: the order of bytes is part of it. Callers whose keys come
 * from clients pass a secret seed. Any thread. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

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
	uint64_t h = seed ^ (len + 1) * UINT64_C(0x9e3779b97f4a7c15);
	uint64_t word;

	for (; len >= sizeof(word); len -= sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 32; /* or the top bits of a word would stay at the top */
	}
	word = 0;
	memcpy(&word, p, len);
	return hash_mix((h ^ word) * UINT64_C(0xff51afd7ed558ccd));
}

/* FNV-1a, 64 bits, mixed: the same in every version and on every machine, for what outlives the
 * process. A byte at a time, so slower. */
static inline uint64_t hash_stable(const void *data, size_t len, uint64_t seed)
{
	const unsigned char *p = data;
	uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3);
	return hash_mix(h);
}

#endif
