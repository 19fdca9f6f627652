/* Writing and parsing the state of a process. Nothing here knows what the bytes are kept for.
 *
 * Slots and generations mean nothing outside of the process that gave them out: what names a
 * backend in the file is its id, and a slot is only the number by which the file's own bindings
 * refer to it. Of a binding the file has the age at the moment of writing, because no clock of one
 * process can be read in another: a monotonic clock is of one boot, the wall clock can be set.
 *
 * The parser trusts nothing. It looks at every byte before anything is told to anybody, so that a
 * damaged file has no effect rather than half of one. */
#include "control/state.h"

#include "base/clock.h"
#include "base/hash.h"
#include "route/limits.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(struct state_header) == 56, "no padding in the file");
_Static_assert(sizeof(struct state_record) == 16, "no padding in the file");
_Static_assert(sizeof(struct state_backend) == 12, "no padding in the file");
_Static_assert(sizeof(struct state_binding) == 32, "no padding in the file");
_Static_assert(sizeof(struct state_seen) == 64, "no padding in the file");

/* Backends looked at in one step of a writer. */
#define BACKENDS_A_STEP 1024
#define ID_ROOM ((BACKEND_ID_MAX + 3u) / 4 * 4)

uint64_t state_checksum(const void *data, size_t bytes, uint64_t seed)
{
	const unsigned char *p = data;
	uint64_t h = hash_mix(seed ^ bytes);

	for (; bytes >= sizeof(uint64_t); bytes -= sizeof(uint64_t), p += sizeof(uint64_t)) {
		uint64_t word;

		memcpy(&word, p, sizeof(word));
		h = (h ^ word) * 0x9e3779b97f4a7c15u;
		h ^= h >> 32;
	}
	return hash_stable(p, bytes, h);
}

struct state_times state_times_now(void)
{
	struct timespec wall;

	clock_gettime(CLOCK_REALTIME, &wall);
	return (struct state_times){
		.wall_ms = (uint64_t)wall.tv_sec * 1000 + (uint64_t)wall.tv_nsec / 1000000,
		.monotonic_ms = clock_now_ms(),
	};
}

void state_boot_id(uint8_t ret_boot[STATE_BOOT_BYTES])
{
	char text[64] = "";
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	size_t n = 0;
	unsigned high = 0;

	memset(ret_boot, 0, STATE_BOOT_BYTES);
	if (file == NULL)
		return;
	if (fgets(text, sizeof(text), file) == NULL)
		text[0] = '\0';
	fclose(file);
	for (const char *p = text; *p != '\0' && n < STATE_BOOT_BYTES * 2; p++) {
		const char *digits = "0123456789abcdef";
		const char *digit = strchr(digits, *p);

		if (digit == NULL)
			continue; /* a dash */
		if (n % 2 == 0)
			high = (unsigned)(digit - digits);
		else
			ret_boot[n / 2] = (uint8_t)(high << 4 | (unsigned)(digit - digits));
		n++;
	}
}

/* ---- writing ---- */

struct state_writer {
	int fd;
	struct state_source from; /* affinity is NULL once all of it is written */
	struct state_times times;
	bool began;
	uint32_t next_slot;
	uint32_t next_seen; /* the same for what was seen */
	uint32_t slot_end;
	uint32_t *generations; /* of the backends as written, by slot; 0: none */
	struct affinity_cursor cursor;
	uint64_t records;
	uint64_t bindings;
	struct affinity_entry entries[AFFINITY_EXPORT_ENTRIES];
	union {
		struct state_binding bindings[AFFINITY_EXPORT_ENTRIES];
		struct state_seen seen[BACKENDS_A_STEP];
		uint8_t backends[BACKENDS_A_STEP * (sizeof(struct state_backend) + ID_ROOM)];
	} payload;
};

_Static_assert(sizeof(((struct state_writer *)0)->payload) <= STATE_RECORD_MAX, "fits a record");

int state_writer_new(int fd, const struct state_source *from, struct state_writer **ret_writer)
{
	struct state_writer *w = malloc(sizeof(*w));

	if (w == NULL)
		return -ENOMEM;
	w->slot_end = live_slot_end(from->live);
	w->generations = calloc(w->slot_end + 1, sizeof(*w->generations));
	if (w->generations == NULL) {
		free(w);
		return -ENOMEM;
	}
	w->fd = fd;
	w->from = *from;
	w->times = state_times_now();
	w->began = false;
	w->next_slot = 0;
	w->next_seen = from->faults != NULL ? 0 : w->slot_end;
	w->cursor = (struct affinity_cursor){0};
	w->records = 0;
	w->bindings = 0;
	*ret_writer = w;
	return 0;
}

void state_writer_free(struct state_writer *w)
{
	if (w != NULL)
		free(w->generations);
	free(w);
}

uint64_t state_writer_bindings(const struct state_writer *w)
{
	return w->bindings;
}

static int write_all(int fd, const void *data, size_t bytes)
{
	const char *p = data;

	while (bytes > 0) {
		ssize_t n = write(fd, p, bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		bytes -= (size_t)n;
	}
	return 0;
}

static int write_record(struct state_writer *w, enum state_type type, const void *payload,
                        size_t bytes)
{
	const struct state_record record = {
		.type = type,
		.bytes = (uint32_t)bytes,
		.checksum = state_checksum(payload, bytes, type),
	};
	int err = write_all(w->fd, &record, sizeof(record));

	w->records++;
	return err != 0 ? err : write_all(w->fd, payload, bytes);
}

static int write_header(struct state_writer *w)
{
	struct state_header h = {
		.magic = STATE_MAGIC,
		.version = STATE_VERSION,
		.header_bytes = sizeof(h),
		.wall_ms = w->times.wall_ms,
		.monotonic_ms = w->times.monotonic_ms,
	};

	state_boot_id(h.boot);
	h.checksum = state_checksum(&h, offsetof(struct state_header, checksum), 0);
	w->began = true;
	return write_all(w->fd, &h, sizeof(h));
}

static int write_backends(struct state_writer *w)
{
	uint8_t *p = w->payload.backends;
	size_t bytes;

	for (int n = 0; n < BACKENDS_A_STEP && w->next_slot < w->slot_end; n++) {
		uint32_t slot = w->next_slot++;
		struct state_backend b = {.slot = slot};
		const char *id;

		if (!live_is_used(w->from.live, slot))
			continue;
		id = live_id(w->from.live, slot);
		b.generation = live_generation(w->from.live, slot);
		w->generations[slot] = b.generation;
		b.id_bytes = (uint32_t)strlen(id);
		memcpy(p, &b, sizeof(b));
		memset(p + sizeof(b), 0, (b.id_bytes + 3u) / 4 * 4);
		memcpy(p + sizeof(b), id, b.id_bytes);
		p += sizeof(b) + (b.id_bytes + 3u) / 4 * 4;
	}
	bytes = (size_t)(p - w->payload.backends);
	if (bytes % 8 != 0) {
		memset(p, 0, 4);
		bytes += 4;
	}
	return bytes > 0 ? write_record(w, STATE_BACKENDS, w->payload.backends, bytes) : 0;
}

static int write_seen(struct state_writer *w)
{
	size_t kept = 0;

	for (int n = 0; n < BACKENDS_A_STEP && w->next_seen < w->slot_end; n++) {
		uint32_t slot = w->next_seen++;

		/* By the clock of the header; of the backend that was written only. */
		if (w->generations[slot] != 0 &&
		    w->generations[slot] == live_generation(w->from.live, slot) &&
		    fault_watch_recall(w->from.faults, slot, w->times.monotonic_ms,
		                       &w->payload.seen[kept]))
			kept++;
	}
	return kept > 0 ? write_record(w, STATE_SEEN, w->payload.seen,
	                               kept * sizeof(w->payload.seen[0]))
	                : 0;
}

static int write_bindings(struct state_writer *w)
{
	size_t count, kept = 0;

	if (!affinity_export(w->from.affinity, &w->cursor, w->from.since_ms, clock_now_ms(),
	                     w->entries, &count))
		w->from.affinity = NULL;
	for (size_t i = 0; i < count; i++) {
		const struct affinity_entry *e = &w->entries[i];
		struct state_binding *b = &w->payload.bindings[kept];
		int64_t age_ms = (int64_t)(w->times.monotonic_ms - e->used_ms);

		/* Its backend may have gone long ago, or have come since they were written. */
		if (e->binding.slot >= w->slot_end ||
		    w->generations[e->binding.slot] != e->binding.generation)
			continue;
		memcpy(b->client, e->client.b, sizeof(b->client));
		b->service = e->service;
		b->slot = e->binding.slot;
		b->age_ms = age_ms > 0 ? (uint64_t)age_ms : 0;
		kept++;
	}
	w->bindings += kept;
	return kept > 0 ? write_record(w, STATE_BINDINGS, w->payload.bindings,
	                               kept * sizeof(w->payload.bindings[0]))
	                : 0;
}

int state_writer_step(struct state_writer *w)
{
	int err;

	if (!w->began)
		err = write_header(w);
	else if (w->next_slot < w->slot_end)
		err = write_backends(w);
	else if (w->next_seen < w->slot_end)
		err = write_seen(w);
	else if (w->from.affinity != NULL)
		err = write_bindings(w);
	else
		return write_record(w, STATE_END, &(struct state_end){.records = w->records},
		                    sizeof(struct state_end));
	return err != 0 ? err : 1;
}

int state_writer_finish(struct state_writer *w)
{
	int rc;

	do
		rc = state_writer_step(w);
	while (rc > 0);
	return rc;
}

/* ---- parsing ---- */

__attribute__((format(printf, 3, 4))) static int bad(int err, char error[STATE_ERROR_MAX],
                                                     const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, STATE_ERROR_MAX, format, args);
	va_end(args);
	return err;
}

static int parse_header(const uint8_t *data, size_t bytes, struct state_header *ret_header,
                        char error[STATE_ERROR_MAX])
{
	struct state_header h;

	if (bytes < sizeof(h) || memcmp(data, STATE_MAGIC, sizeof(h.magic)) != 0)
		return bad(-EBADMSG, error, "not a state file");
	memcpy(&h, data, sizeof(h));
	if (h.version != STATE_VERSION)
		return bad(-EPROTO, error, "of version %u, and this program reads %u", h.version,
		           STATE_VERSION);
	if (h.header_bytes != sizeof(h) ||
	    h.checksum != state_checksum(data, offsetof(struct state_header, checksum), 0))
		return bad(-EBADMSG, error, "damaged: the header's checksum is wrong");
	*ret_header = h;
	return 0;
}

/* One backend of a record: its bytes, or 0 for the padding at the end, or -EBADMSG. */
static int64_t parse_backend(const uint8_t *p, size_t left, struct state_backend *ret,
                             char ret_id[BACKEND_ID_MAX + 1])
{
	size_t room;

	if (left < sizeof(*ret))
		return left == 4 ? 0 : -EBADMSG;
	memcpy(ret, p, sizeof(*ret));
	if (ret->id_bytes == 0 || ret->id_bytes > BACKEND_ID_MAX)
		return -EBADMSG;
	room = (ret->id_bytes + 3u) / 4 * 4;
	if (room > left - sizeof(*ret) || ret->slot >= LIVE_SLOTS_MAX ||
	    memchr(p + sizeof(*ret), '\0', ret->id_bytes) != NULL)
		return -EBADMSG;
	memcpy(ret_id, p + sizeof(*ret), ret->id_bytes);
	ret_id[ret->id_bytes] = '\0';
	return (int64_t)(sizeof(*ret) + room);
}

struct parser {
	const struct state_reader *reader; /* NULL: only to see whether all is well */
	uint8_t *known;                    /* a bit for each slot that a backend came with */
};

static bool is_known(const struct parser *p, uint32_t slot)
{
	return slot < LIVE_SLOTS_MAX && (p->known[slot / 8] >> slot % 8 & 1) != 0;
}

static int parse_backends(struct parser *p, const uint8_t *payload, size_t bytes)
{
	char id[BACKEND_ID_MAX + 1];
	struct state_backend b;
	int err;

	for (size_t at = 0; at < bytes;) {
		int64_t n = parse_backend(payload + at, bytes - at, &b, id);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		at += (size_t)n;
		if (p->reader == NULL) {
			if (is_known(p, b.slot))
				return -EBADMSG;
			p->known[b.slot / 8] |= (uint8_t)(1u << b.slot % 8);
		} else if (p->reader->backend != NULL) {
			err = p->reader->backend(p->reader->arg, b.slot, b.generation, id);
			if (err != 0)
				return err;
		}
	}
	return 0;
}

static int parse_seen(struct parser *p, const uint8_t *payload, size_t bytes)
{
	struct state_seen seen;

	if (bytes % sizeof(seen) != 0)
		return -EBADMSG;
	for (size_t at = 0; at < bytes; at += sizeof(seen)) {
		memcpy(&seen, payload + at, sizeof(seen));
		if (p->reader == NULL) {
			if (!is_known(p, seen.slot))
				return -EBADMSG;
		} else if (p->reader->seen != NULL) {
			p->reader->seen(p->reader->arg, &seen);
		}
	}
	return 0;
}

static int parse_bindings(struct parser *p, const uint8_t *payload, size_t bytes)
{
	struct state_binding b;

	if (bytes % sizeof(b) != 0)
		return -EBADMSG;
	for (size_t at = 0; at < bytes; at += sizeof(b)) {
		memcpy(&b, payload + at, sizeof(b));
		if (p->reader == NULL) {
			if (!is_known(p, b.slot))
				return -EBADMSG;
		} else if (p->reader->binding != NULL) {
			p->reader->binding(p->reader->arg, &b);
		}
	}
	return 0;
}

/* All records once. 0; -EBADMSG: something is wrong with record *ret_record; what a callback
 * returned. */
static int parse_records(struct parser *p, const uint8_t *data, size_t bytes, uint64_t *ret_record)
{
	struct state_record r;
	struct state_end end;
	int err = 0;

	for (*ret_record = 0; err == 0; (*ret_record)++) {
		if (bytes < sizeof(r))
			return -EBADMSG;
		memcpy(&r, data, sizeof(r));
		data += sizeof(r);
		bytes -= sizeof(r);
		if (r.bytes > bytes || r.bytes > STATE_RECORD_MAX || r.bytes % 8 != 0)
			return -EBADMSG;
		if (p->reader == NULL && r.checksum != state_checksum(data, r.bytes, r.type))
			return -EBADMSG;
		if (r.type == STATE_END) {
			if (r.bytes != sizeof(end) || bytes != sizeof(end))
				return -EBADMSG;
			memcpy(&end, data, sizeof(end));
			return end.records == *ret_record ? 0 : -EBADMSG;
		}
		if (r.type == STATE_BACKENDS)
			err = parse_backends(p, data, r.bytes);
		else if (r.type == STATE_BINDINGS)
			err = parse_bindings(p, data, r.bytes);
		else if (r.type == STATE_SEEN)
			err = parse_seen(p, data, r.bytes);
		data += r.bytes;
		bytes -= r.bytes;
	}
	return err;
}

int state_parse(const uint8_t *data, size_t bytes, const struct state_reader *reader,
                struct state_header *ret_header, char error[STATE_ERROR_MAX])
{
	struct parser p = {.known = calloc(1, LIVE_SLOTS_MAX / 8)};
	uint64_t record = 0;
	int err;

	if (p.known == NULL)
		return bad(-ENOMEM, error, "out of memory");
	err = parse_header(data, bytes, ret_header, error);
	if (err == 0) {
		data += sizeof(*ret_header);
		bytes -= sizeof(*ret_header);
		err = parse_records(&p, data, bytes, &record);
		if (err != 0)
			(void)bad(err, error, "damaged or cut off: record %llu is not whole",
			          (unsigned long long)record);
	}
	if (err == 0) {
		p.reader = reader;
		err = parse_records(&p, data, bytes, &record);
		if (err != 0)
			(void)bad(err, error, "%s", strerror(-err));
	}
	free(p.known);
	return err;
}

uint64_t state_age_ms(const struct state_header *h, const struct state_times *now,
                      const uint8_t boot[STATE_BOOT_BYTES])
{
	static const uint8_t unknown[STATE_BOOT_BYTES];

	if (memcmp(h->boot, boot, STATE_BOOT_BYTES) == 0 &&
	    memcmp(boot, unknown, STATE_BOOT_BYTES) != 0 && now->monotonic_ms >= h->monotonic_ms)
		return now->monotonic_ms - h->monotonic_ms;
	return now->wall_ms > h->wall_ms ? now->wall_ms - h->wall_ms : 0;
}
