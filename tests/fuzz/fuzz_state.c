/* The state parser: the input is a state file. As checksums would keep nearly all changes from
 * getting any further, each input is tried as it is and once more with every checksum set right.
 *
 * What must hold for every input: nothing is told before all of it was found to be good; a binding
 * names a backend that came before; a refusal has a reason. */
#include "base/check.h"
#include "control/state.h"
#include "fuzz.h"
#include "route/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct seen {
	uint8_t slots[LIVE_SLOTS_MAX];
	unsigned long calls;
};

static int backend(void *arg, uint32_t slot, uint32_t generation, const char *id)
{
	struct seen *s = arg;
	size_t len = strlen(id);

	(void)generation;
	CHECK(slot < LIVE_SLOTS_MAX && len >= 1 && len <= BACKEND_ID_MAX);
	CHECK(s->slots[slot] == 0);
	s->slots[slot] = 1;
	s->calls++;
	return 0;
}

static void binding(void *arg, const struct state_binding *b)
{
	struct seen *s = arg;

	CHECK(b->slot < LIVE_SLOTS_MAX && s->slots[b->slot] == 1);
	s->calls++;
}

static void seen(void *arg, const struct state_seen *what)
{
	struct seen *s = arg;

	CHECK(what->slot < LIVE_SLOTS_MAX && s->slots[what->slot] == 1);
	s->calls++;
}

static void parse(const uint8_t *data, size_t size)
{
	struct seen *s = calloc(1, sizeof(*s));
	const struct state_reader reader = {backend, binding, seen, s};
	char error[STATE_ERROR_MAX] = "";
	struct state_header h;
	int err;

	CHECK(s != NULL);
	err = state_parse(data, size, &reader, &h, error);
	CHECK(err == 0 || err == -EBADMSG || err == -EPROTO);
	CHECK(err == 0 || (s->calls == 0 && error[0] != '\0'));
	free(s);
}

/* Sets the checksums of the header and of as many records as there are. */
static void seal(uint8_t *data, size_t size)
{
	struct state_header h;
	struct state_record r;
	size_t at = sizeof(h);

	if (size < sizeof(h))
		return;
	memcpy(&h, data, sizeof(h));
	memcpy(h.magic, STATE_MAGIC, sizeof(h.magic));
	h.header_bytes = sizeof(h);
	h.checksum = state_checksum(&h, offsetof(struct state_header, checksum), 0);
	memcpy(data, &h, sizeof(h));
	while (size - at >= sizeof(r)) {
		memcpy(&r, data + at, sizeof(r));
		if (r.bytes > size - at - sizeof(r))
			return;
		r.checksum = state_checksum(data + at + sizeof(r), r.bytes, r.type);
		memcpy(data + at, &r, sizeof(r));
		at += sizeof(r) + r.bytes;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1);

	CHECK(copy != NULL);
	parse(data, size);
	if (size > 0)
		memcpy(copy, data, size);
	seal(copy, size);
	parse(copy, size);
	free(copy);
	return 0;
}
