/* The state as bytes: round trips into other tables, ages on two clocks, damage of every byte,
 * other versions, records of a type that this program does not know; and the file, with what may
 * lie in its place. */
#include "control/state.h"

#include "base/clock.h"
#include "control/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define TTL_MS 600000

static struct affinity *table(void)
{
	struct affinity *a = affinity_new(&(struct affinity_options){
		.max_entries = 10000, .ttl_ms = TTL_MS, .v4_bits = 32, .v6_bits = 64, .seed = 7});

	assert_non_null(a);
	return a;
}

static struct ip client(uint32_t n)
{
	const uint8_t b[4] = {10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

	return ip_from_v4(b);
}

static uint32_t hold(struct live *l, const char *id)
{
	uint32_t slot;

	assert_int_equal(live_hold(l, id, &slot), 0);
	return slot;
}

static void put(struct affinity *a, struct live *l, uint32_t n, uint32_t slot, uint64_t used_ms)
{
	struct ip ip = client(n);

	affinity_put(a, &ip, 5, (struct binding){slot, live_generation(l, slot)}, used_ms);
}

/* The backend's id, or NULL. */
static const char *whose(struct affinity *a, struct live *l, uint32_t n, uint64_t now_ms)
{
	struct ip ip = client(n);
	struct binding b;

	if (!affinity_find(a, &ip, 5, now_ms, &b))
		return NULL;
	assert_int_equal(live_generation(l, b.slot), b.generation);
	return live_id(l, b.slot);
}

static int write_state(struct live *l, struct affinity *a, uint64_t since_ms)
{
	struct state_writer *w;
	int fd = memfd_create("state", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(state_writer_new(fd,
	                                  &(struct state_source){
						  .live = l, .affinity = a, .since_ms = since_ms},
	                                  &w),
	                 0);
	assert_int_equal(state_writer_finish(w), 0);
	state_writer_free(w);
	return fd;
}

static const char *const ids[] = {"a", "bb", "ccc", "dddd", "a-rather-long-name-of-a-backend"};
#define ID_COUNT (sizeof(ids) / sizeof(ids[0]))

/* An old process with some backends and count bindings, the first of them the oldest. */
static struct live *old_life(struct affinity *a, unsigned count, uint64_t now_ms)
{
	struct live *l = live_new();
	uint32_t gone = hold(l, "gone");

	for (unsigned i = 0; i < ID_COUNT; i++)
		(void)hold(l, ids[i]);
	for (unsigned i = 0; i < count; i++)
		put(a, l, i, live_find(l, ids[i % ID_COUNT]), now_ms - (count - i) * 10);
	put(a, l, 77777, gone, now_ms);
	live_let_go(l, gone);
	assert_int_equal(live_collect(l), 1);
	return l;
}

static void test_round_trip(void **state)
{
	struct affinity *a = table(), *b = table();
	uint64_t now_ms = clock_now_ms();
	struct live *old = old_life(a, 5000, now_ms), *new = live_new();
	int fd = write_state(old, a, 0);
	struct state_summary s;
	char error[STATE_ERROR_MAX];

	(void)state;
	/* Other slots, and one backend less. */
	for (unsigned i = ID_COUNT; i-- > 1;)
		(void)hold(new, ids[i]);
	assert_int_equal(state_import(fd, &(struct state_import){new, b, TTL_MS, false, NULL}, &s,
	                              error),
	                 0);
	assert_int_equal(s.bindings, 4000);
	assert_int_equal(s.unknown, 1000);
	assert_int_equal(s.expired, 0);
	for (unsigned i = 0; i < 5000; i++) {
		const char *id = whose(b, new, i, now_ms);

		if (i % ID_COUNT == 0)
			assert_null(id);
		else
			assert_string_equal(id, ids[i % ID_COUNT]);
	}
	assert_null(whose(b, new, 77777, now_ms));
	close(fd);
	live_free(old);
	live_free(new);
	affinity_free(a);
	affinity_free(b);
}

/* Eviction and collection go by the time of the last use: ages stay what they were. */
static void test_ages(void **state)
{
	struct affinity *a = table(), *b = table();
	uint64_t now_ms = clock_now_ms();
	struct live *l = old_life(a, 1000, now_ms);
	int fd = write_state(l, a, 0);
	struct affinity_cursor cursor = {0};
	struct state_summary s;
	char error[STATE_ERROR_MAX];

	(void)state;
	assert_int_equal(
		state_import(fd, &(struct state_import){l, b, TTL_MS, false, NULL}, &s, error), 0);
	assert_int_equal(s.bindings, 1000);
	now_ms += TTL_MS - 5000; /* half of them are older than 5 s */
	while (affinity_collect(b, &cursor, now_ms))
		;
	assert_in_range(affinity_counts(b).expirations, 495, 560);
	assert_null(whose(b, l, 100, now_ms));
	assert_non_null(whose(b, l, 900, now_ms));
	close(fd);

	/* Only what is new; and what has expired meanwhile is not taken. */
	fd = write_state(l, a, clock_now_ms() - 1005);
	assert_int_equal(
		state_import(fd, &(struct state_import){l, b, 500, false, NULL}, &s, error), 0);
	assert_in_range(s.bindings + s.expired, 90, 101);
	assert_in_range(s.bindings, 30, 50);
	close(fd);
	live_free(l);
	affinity_free(a);
	affinity_free(b);
}

/* What a process that drains has to say does not take a client away from where it went since. */
static void test_late_news(void **state)
{
	struct affinity *a = table(), *b = table();
	uint64_t now_ms = clock_now_ms();
	struct live *l = live_new();
	struct state_summary s;
	char error[STATE_ERROR_MAX];
	int fd;

	(void)state;
	(void)hold(l, "x");
	(void)hold(l, "y");
	put(a, l, 1, 0, now_ms);
	put(a, l, 2, 0, now_ms);
	put(b, l, 1, 1, now_ms - 1000);
	fd = write_state(l, a, 0);
	assert_int_equal(
		state_import(fd, &(struct state_import){l, b, TTL_MS, true, NULL}, &s, error), 0);
	assert_string_equal(whose(b, l, 1, now_ms), "y");
	assert_string_equal(whose(b, l, 2, now_ms), "x");
	assert_int_equal(
		state_import(fd, &(struct state_import){l, b, TTL_MS, false, NULL}, &s, error), 0);
	assert_string_equal(whose(b, l, 1, now_ms), "x");
	close(fd);
	live_free(l);
	affinity_free(a);
	affinity_free(b);
}

static void test_age_on_two_clocks(void **state)
{
	const uint8_t here[STATE_BOOT_BYTES] = {1}, there[STATE_BOOT_BYTES] = {2};
	const uint8_t unknown[STATE_BOOT_BYTES] = {0};
	struct state_header h = {.wall_ms = 1000000, .monotonic_ms = 5000};
	struct state_times now = {.wall_ms = 1007000, .monotonic_ms = 9000};

	(void)state;
	memcpy(h.boot, here, sizeof(here));
	assert_int_equal(state_age_ms(&h, &now, here), 4000); /* whatever the wall clock says */
	assert_int_equal(state_age_ms(&h, &now, there), 7000);
	now.monotonic_ms = 10; /* just booted, or in another container's time */
	assert_int_equal(state_age_ms(&h, &now, there), 7000);
	assert_int_equal(state_age_ms(&h, &now, here), 7000);
	now.wall_ms = 1; /* the wall clock was set back */
	assert_int_equal(state_age_ms(&h, &now, there), 0);
	memset(h.boot, 0, sizeof(h.boot));
	now = (struct state_times){.wall_ms = 1007000, .monotonic_ms = 9000};
	assert_int_equal(state_age_ms(&h, &now, unknown), 7000);
}

static int nothing(void *arg, uint32_t slot, uint32_t generation, const char *id)
{
	(void)slot;
	(void)generation;
	(void)id;
	++*(unsigned *)arg;
	return 0;
}

static void nothing_either(void *arg, const struct state_binding *b)
{
	(void)b;
	++*(unsigned *)arg;
}

static void test_any_damage_is_seen(void **state)
{
	struct affinity *a = table();
	struct live *l = old_life(a, 40, clock_now_ms());
	int fd = write_state(l, a, 0);
	struct state_header h;
	unsigned calls = 0;
	const struct state_reader reader = {nothing, nothing_either, NULL, &calls};
	char error[STATE_ERROR_MAX];
	uint8_t *data;
	size_t bytes;

	(void)state;
	assert_int_equal(state_slurp(fd, &data, &bytes, error), 0);
	assert_int_equal(state_parse(data, bytes, &reader, &h, error), 0);
	assert_int_equal(calls, 40 + ID_COUNT);
	calls = 0;
	for (size_t i = 0; i < bytes; i++) {
		data[i] ^= 0x10;
		error[0] = '\0';
		assert_true(state_parse(data, bytes, &reader, &h, error) < 0);
		assert_true(error[0] != '\0');
		data[i] ^= 0x10;
	}
	for (size_t i = 0; i < bytes; i++) {
		uint8_t *cut = malloc(i + 1); /* a read behind the end is seen */

		memcpy(cut, data, i);
		assert_int_equal(state_parse(cut, i, &reader, &h, error), -EBADMSG);
		free(cut);
	}
	assert_int_equal(calls, 0);
	free(data);
	close(fd);
	live_free(l);
	affinity_free(a);
}

static void test_versions_and_unknown_records(void **state)
{
	struct affinity *a = table();
	struct live *l = old_life(a, 4, clock_now_ms());
	int fd = write_state(l, a, 0);
	struct state_record strange = {.type = 4711, .bytes = 24};
	const uint8_t payload[24] = "whatever comes some day";
	struct state_end end;
	struct state_header h;
	unsigned calls = 0;
	const struct state_reader reader = {nothing, nothing_either, NULL, &calls};
	char error[STATE_ERROR_MAX];
	uint8_t *data, *longer;
	size_t bytes;

	(void)state;
	assert_int_equal(state_slurp(fd, &data, &bytes, error), 0);
	longer = malloc(bytes + sizeof(strange) + sizeof(payload));
	strange.checksum = state_checksum(payload, sizeof(payload), strange.type);
	memcpy(longer, data, sizeof(h));
	memcpy(longer + sizeof(h), &strange, sizeof(strange));
	memcpy(longer + sizeof(h) + sizeof(strange), payload, sizeof(payload));
	memcpy(longer + sizeof(h) + sizeof(strange) + sizeof(payload), data + sizeof(h),
	       bytes - sizeof(h));
	bytes += sizeof(strange) + sizeof(payload);
	/* One record more. */
	memcpy(&end, longer + bytes - sizeof(end), sizeof(end));
	end.records++;
	memcpy(longer + bytes - sizeof(end), &end, sizeof(end));
	strange = (struct state_record){STATE_END, sizeof(end),
	                                state_checksum(&end, sizeof(end), STATE_END)};
	memcpy(longer + bytes - sizeof(end) - sizeof(strange), &strange, sizeof(strange));
	assert_int_equal(state_parse(longer, bytes, &reader, &h, error), 0);
	assert_int_equal(calls, 4 + ID_COUNT);

	longer[8]++; /* the version */
	assert_int_equal(state_parse(longer, bytes, &reader, &h, error), -EPROTO);
	assert_non_null(strstr(error, "version 2"));
	free(longer);
	free(data);
	close(fd);
	live_free(l);
	affinity_free(a);
}

static void test_file(void **state)
{
	char dir[] = "/tmp/edgeproxy-state-XXXXXX";
	struct affinity *a = table(), *b = table();
	uint64_t now_ms = clock_now_ms();
	struct live *l = old_life(a, 3000, now_ms);
	struct state_file_options o = {mkdtemp(dir), 1000, l, a, TTL_MS, NULL};
	char path[PATH_MAX];
	struct state_file *f;
	struct stat st;

	(void)state;
	snprintf(path, sizeof(path), "%s/%s", dir, STATE_FILE_NAME);
	assert_int_equal(state_file_new(&o, &f), 0);
	state_file_load(f);                      /* there is none */
	assert_null(whose(a, l, 99999, now_ms)); /* a change */
	state_file_tick(f, now_ms);
	state_file_tick(f, now_ms + 999);
	assert_int_equal(stat(path, &st), -1);
	for (int i = 0; i < 1000 && stat(path, &st) != 0; i++)
		state_file_tick(f, now_ms + 1000);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	/* Nothing has changed: nothing is written. */
	assert_int_equal(unlink(path), 0);
	for (int i = 0; i < 10; i++)
		state_file_tick(f, now_ms + 10000 * (unsigned)i);
	assert_int_equal(stat(path, &st), -1);
	state_file_save(f);
	state_file_free(f);

	o.affinity = b;
	assert_int_equal(state_file_new(&o, &f), 0);
	state_file_load(f);
	assert_int_equal(affinity_counts(b).entries, 3000);
	/* One that was given up leaves nothing behind. */
	assert_non_null(whose(b, l, 1, now_ms));
	state_file_tick(f, now_ms);
	state_file_tick(f, now_ms + 1000);
	state_file_cancel(f);
	state_file_free(f);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
	live_free(l);
	affinity_free(a);
	affinity_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_ages),
		cmocka_unit_test(test_late_news),
		cmocka_unit_test(test_age_on_two_clocks),
		cmocka_unit_test(test_any_damage_is_seen),
		cmocka_unit_test(test_versions_and_unknown_records),
		cmocka_unit_test(test_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
