#include "geo/geo_db.h"

#include "base/rng.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* The fixtures are made by tests/data/make_mmdb.py, which says what is in them. */
#define DATA(name) TEST_DATA_DIR "/" name ".mmdb"
#define BUILD_EPOCH 1700000000
#define FIXTURE_MAX (16 << 10)

static struct geo_db *open_or_fail(const char *path)
{
	char error[GEO_ERROR_MAX] = "";
	struct geo_db *db = NULL;

	if (geo_db_open(path, &db, error) != 0)
		fail_msg("%s: %s", path, error);
	assert_non_null(db);
	return db;
}

static struct geo_record find(const struct geo_db *db, const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(text, &ip), 0);
	return geo_db_find(db, &ip);
}

static void assert_country(const struct geo_db *db, const char *text, const char *country)
{
	struct geo_record record = find(db, text);

	assert_true(record.found);
	assert_string_equal(record.country, country);
}

static void assert_not_found(const struct geo_db *db, const char *text)
{
	struct geo_record record = find(db, text);

	assert_false(record.found);
	assert_string_equal(record.country, "");
	assert_int_equal(record.net_bits, 0);
}

/* The open must fail with err and an error that contains part, and leave *ret_db alone. */
static void assert_refused(const char *path, int err, const char *part)
{
	char error[GEO_ERROR_MAX] = "";
	struct geo_db *untouched = (struct geo_db *)&error;
	struct geo_db *db = untouched;

	assert_int_equal(geo_db_open(path, &db, error), err);
	assert_ptr_equal(db, untouched);
	if (!strstr(error, part))
		fail_msg("%s: \"%s\" lacks \"%s\"", path, error, part);
	assert_null(strchr(error, '\n'));
}

static size_t file_load(const char *path, uint8_t data[FIXTURE_MAX])
{
	FILE *f = fopen(path, "re");
	size_t n;

	assert_non_null(f);
	n = fread(data, 1, FIXTURE_MAX, f);
	fclose(f);
	assert_true(n > 0 && n < FIXTURE_MAX);
	return n;
}

static void file_save(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

static char scratch[] = "/tmp/geo_db_test.XXXXXX";

/* A path in the directory of this run; the text is good until the next call. */
static const char *scratch_path(const char *name)
{
	static char path[sizeof(scratch) + 32];

	snprintf(path, sizeof(path), "%s/%s", scratch, name);
	return path;
}

static int fds_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void embedded(void **state)
{
	char error[GEO_ERROR_MAX];
	struct geo_db *db = NULL;

	(void)state;
	assert_int_equal(geo_db_open_embedded(&db, error), 0);
	assert_country(db, "8.8.8.8", "US");
	assert_country(db, "200.147.3.157", "BR");
	assert_country(db, "193.0.6.139", "NL");
	assert_country(db, "91.0.0.1", "DE");
	assert_country(db, "133.11.0.1", "JP");
	assert_country(db, "2001:4860::1", "US");
	assert_country(db, "::ffff:8.8.8.8", "US");
	assert_true(geo_db_build_epoch(db) > BUILD_EPOCH);
	assert_true(geo_db_bytes(db) > 1 << 20);
	assert_true(strlen(geo_db_type(db)) > 0);
	geo_db_unref(db);
}

/* The three layouts give the same answers. */
static void layouts(void **state)
{
	static const struct {
		const char *path;
		const char *type;
	} files[] = {
		{DATA("maxmind-country"), "Test-Country"},
		{DATA("maxmind-city"), "Test-City"},
		{DATA("plain-country"), "test country"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct geo_db *db = open_or_fail(files[i].path);
		struct stat st;

		assert_string_equal(geo_db_type(db), files[i].type);
		assert_int_equal(geo_db_build_epoch(db), BUILD_EPOCH);
		assert_int_equal(stat(files[i].path, &st), 0);
		assert_int_equal(geo_db_bytes(db), st.st_size);
		/* Twice: the second answer is the remembered one. */
		for (int turn = 0; turn < 2; turn++) {
			assert_country(db, "8.8.8.8", "US");
			assert_country(db, "91.63.255.255", "DE");
			assert_country(db, "133.11.0.1", "JP");
			assert_country(db, "193.0.6.139", "NL");
			assert_country(db, "200.147.3.157", "BR");
			assert_country(db, "2001:4860::1", "US");
			assert_country(db, "2804::1", "BR");
			assert_not_found(db, "91.64.0.0");
			assert_not_found(db, "203.0.113.1");
			assert_not_found(db, "2a00::1");
		}
		geo_db_unref(db);
	}
}

static void registered_country(void **state)
{
	struct geo_db *db = open_or_fail(DATA("maxmind-country"));

	(void)state;
	assert_country(db, "1.1.1.1", "AU"); /* nothing but registered */
	assert_country(db, "5.5.5.5", "FR"); /* registered in DE */
	assert_country(db, "6.6.6.6", "");   /* neither */
	assert_country(db, "6.6.6.6", "");
	geo_db_unref(db);
}

static void only_two_letters_are_a_country(void **state)
{
	struct geo_db *db = open_or_fail(DATA("plain-country"));

	(void)state;
	for (int turn = 0; turn < 2; turn++) {
		assert_country(db, "7.0.1.1", "FR");  /* "fr" */
		assert_country(db, "7.0.2.1", "");    /* "ZZ" */
		assert_country(db, "7.0.3.1", "");    /* "FRA" */
		assert_country(db, "7.0.4.1", "");    /* "" */
		assert_country(db, "7.0.5.1", "");    /* "A1" */
		assert_country(db, "7.0.6.1", "");    /* a number */
		assert_country(db, "7.0.7.1", "");    /* a map */
		assert_country(db, "7.0.8.1", "IT");  /* country is no map, country_code is right */
		assert_country(db, "7.0.9.1", "");    /* the record is no map */
		assert_country(db, "7.0.10.1", "ES"); /* country.iso_code "" */
	}
	geo_db_unref(db);
}

/* Lengths count the 128 bits of the form in which addresses are held. */
static void network_lengths(void **state)
{
	struct geo_db *db = open_or_fail(DATA("maxmind-country"));

	(void)state;
	assert_int_equal(find(db, "8.8.8.8").net_bits, 96 + 24);
	assert_int_equal(find(db, "133.11.0.1").net_bits, 96 + 16);
	assert_int_equal(find(db, "2804::1").net_bits, 16);
	assert_int_equal(find(db, "2001:4860::1").net_bits, 32);
	geo_db_unref(db);
	db = open_or_fail(DATA("ipv4-only"));
	assert_int_equal(find(db, "133.11.0.1").net_bits, 96 + 16);
	geo_db_unref(db);
}

static void ipv4_only(void **state)
{
	struct geo_db *db = open_or_fail(DATA("ipv4-only"));

	(void)state;
	assert_country(db, "8.8.8.8", "US");
	assert_country(db, "::ffff:200.147.3.157", "BR");
	assert_not_found(db, "2001:4860::1");
	assert_not_found(db, "::");
	assert_not_found(db, "9.255.255.255");
	geo_db_unref(db);
}

/* MaxMind's trees answer for the IPv4 address inside a 6to4 or Teredo address. */
static void aliased_networks(void **state)
{
	struct geo_db *db = open_or_fail(DATA("maxmind-country"));

	(void)state;
	assert_country(db, "2002:808:808::1", "US");
	assert_int_equal(find(db, "2002:808:808::1").net_bits, 16 + 24);
	assert_country(db, "::ffff:200.147.3.157", "BR");
	geo_db_unref(db);
}

/* Records that share a slot of the cache take turns in it and are never taken for each other. */
static void records_that_share_a_slot(void **state)
{
	struct geo_db *db = open_or_fail(DATA("same-slot"));

	(void)state;
	for (int turn = 0; turn < 3; turn++) {
		assert_country(db, "8.1.1.1", "US");
		assert_country(db, "200.1.1.1", "BR");
		assert_country(db, "200.1.1.1", "BR");
		assert_country(db, "9.1.1.1", "");
	}
	geo_db_unref(db);
}

static void files_that_are_no_database(void **state)
{
	const int before = fds_open();
	const char *path;
	int fd;

	(void)state;
	assert_refused(DATA("broken-truncated"), -EBADMSG, "metadata");
	assert_refused(DATA("broken-marker"), -EBADMSG, "metadata");
	assert_refused(DATA("broken-no-country"), -EBADMSG, "Test-ASN");
	assert_refused(DATA("broken-elsewhere"), -EBADMSG, "well-known");

	assert_refused(scratch_path("missing"), -ENOENT, "No such file");
	assert_refused(scratch, -EINVAL, "not a regular file");
	path = scratch_path("fifo");
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_refused(path, -EINVAL, "not a regular file");
	path = scratch_path("empty");
	file_save(path, "", 0);
	assert_refused(path, -EBADMSG, "empty");
	path = scratch_path("text");
	file_save(path, "not a database\n", 15);
	assert_refused(path, -EBADMSG, "metadata");

	path = scratch_path("large");
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)GEO_FILE_MAX_BYTES + 1), 0);
	close(fd);
	assert_refused(path, -EFBIG, "bytes long");

	assert_int_equal(fds_open(), before);
}

/* A file of which the end is still to come is refused at whatever byte it stops. */
static void truncated_anywhere(void **state)
{
	uint8_t data[FIXTURE_MAX];
	size_t len = file_load(DATA("plain-country"), data);
	const char *path = scratch_path("truncated");

	(void)state;
	for (size_t n = 0; n < len; n++) {
		char error[GEO_ERROR_MAX] = "";
		struct geo_db *db = NULL;

		file_save(path, data, n);
		if (geo_db_open(path, &db, error) == 0)
			fail_msg("accepted with %zu of %zu bytes", n, len);
		assert_null(db);
		assert_true(error[0] != '\0');
	}
}

/* A damaged file may be refused or may give other answers, but it does not hurt. */
static void damaged_anywhere(void **state)
{
	static const char *const files[] = {DATA("plain-country"), DATA("maxmind-country"),
	                                    DATA("maxmind-city")};
	static const char *const addresses[] = {"8.8.8.8",         "91.0.0.1", "7.0.7.1", "2804::1",
	                                        "255.255.255.255", "::",       "ffff::"};
	const char *path = scratch_path("damaged");
	struct rng rng = {.state = 1};

	(void)state;
	for (size_t f = 0; f < sizeof(files) / sizeof(files[0]); f++) {
		uint8_t data[FIXTURE_MAX];
		size_t len = file_load(files[f], data);

		for (size_t at = 0; at < len; at++) {
			char error[GEO_ERROR_MAX];
			uint8_t right = data[at];
			struct geo_db *db;

			data[at] ^= (uint8_t)(1 + rng_below(&rng, 255));
			file_save(path, data, len);
			data[at] = right;
			if (geo_db_open(path, &db, error) != 0)
				continue;
			for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
				struct geo_record record = find(db, addresses[i]);

				assert_true(strlen(record.country) == 0 ||
				            strlen(record.country) == 2);
			}
			geo_db_unref(db);
		}
	}
}

/* Whatever happens to the file later, the database in use is its copy. */
static void the_file_is_not_needed_any_more(void **state)
{
	uint8_t data[FIXTURE_MAX], zeroes[FIXTURE_MAX] = {0};
	size_t len = file_load(DATA("maxmind-country"), data);
	const char *path = scratch_path("replaced");
	struct geo_db *db;

	(void)state;
	file_save(path, data, len);
	db = open_or_fail(path);
	file_save(path, zeroes, len);
	assert_country(db, "8.8.8.8", "US");
	assert_int_equal(truncate(path, 0), 0);
	assert_country(db, "2804::1", "BR");
	assert_int_equal(unlink(path), 0);
	assert_country(db, "133.11.0.1", "JP");
	assert_string_equal(geo_db_type(db), "Test-Country");
	geo_db_unref(db);
}

static void no_descriptor_stays_open(void **state)
{
	const int before = fds_open();
	struct geo_db *db = open_or_fail(DATA("moved"));

	(void)state;
	assert_int_equal(fds_open(), before);
	assert_country(db, "8.8.8.8", "DE");
	geo_db_unref(db);
	assert_int_equal(fds_open(), before);
}

static void references(void **state)
{
	struct geo_db *db = open_or_fail(DATA("moved"));

	(void)state;
	assert_null(geo_db_ref(NULL));
	geo_db_unref(NULL);
	assert_ptr_equal(geo_db_ref(db), db);
	geo_db_unref(db);
	assert_country(db, "200.147.3.157", "JP"); /* the last reference is still there */
	geo_db_unref(db);
}

static atomic_bool toucher_stop;

/* Changes the time of a file over and over. */
static void *toucher(void *arg)
{
	int fd = *(int *)arg;

	for (long n = 0; !atomic_load(&toucher_stop); n = (n + 1) % 1000000000) {
		struct timespec times[2] = {{.tv_sec = 1, .tv_nsec = n},
		                            {.tv_sec = 1, .tv_nsec = n}};

		if (futimens(fd, times) != 0)
			break;
	}
	return NULL;
}

static void a_file_that_changes_while_it_is_read(void **state)
{
	uint8_t data[FIXTURE_MAX];
	size_t len = file_load(DATA("moved"), data);
	const char *path = scratch_path("changing");
	pthread_t thread;
	int err, fd;

	(void)state;
	file_save(path, data, len);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pthread_create(&thread, NULL, toucher, &fd), 0);
	do {
		char error[GEO_ERROR_MAX] = "";
		struct geo_db *db = NULL;

		err = geo_db_open(path, &db, error);
		if (err == 0)
			geo_db_unref(db);
		else
			assert_string_equal(error, "changed while it was read");
	} while (err == 0);
	assert_int_equal(err, -EAGAIN);
	atomic_store(&toucher_stop, true);
	pthread_join(thread, NULL);
	close(fd);
	geo_db_unref(open_or_fail(path));
}

#define THREADS 4
#define LOOKUPS 20000

struct finder {
	pthread_t thread;
	struct geo_db *db; /* a reference of its own */
	uint64_t checksum;
};

/* The same addresses in each thread, all into a cache that is still empty. */
static void *finder(void *arg)
{
	struct finder *f = arg;
	struct rng rng = {.state = 7};

	for (int i = 0; i < LOOKUPS; i++) {
		uint32_t bits = (uint32_t)rng_next(&rng);
		struct ip ip = ip_from_v4((const uint8_t *)&bits);
		struct geo_record record = geo_db_find(f->db, &ip);

		f->checksum = hash_mix(f->checksum ^ (uint64_t)(uint8_t)record.country[0] << 16 ^
		                       (uint64_t)(uint8_t)record.country[1] << 8 ^ record.net_bits);
	}
	geo_db_unref(f->db);
	return NULL;
}

static void many_threads(void **state)
{
	char error[GEO_ERROR_MAX];
	struct finder finders[THREADS] = {0}, alone = {0};
	struct geo_db *db = NULL;

	(void)state;
	assert_int_equal(geo_db_open_embedded(&db, error), 0);
	for (int i = 0; i < THREADS; i++) {
		finders[i].db = geo_db_ref(db);
		assert_int_equal(pthread_create(&finders[i].thread, NULL, finder, &finders[i]), 0);
	}
	geo_db_unref(db); /* the last thread closes it */
	for (int i = 0; i < THREADS; i++)
		pthread_join(finders[i].thread, NULL);

	assert_int_equal(geo_db_open_embedded(&alone.db, error), 0);
	finder(&alone);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(finders[i].checksum, alone.checksum);
}

static int scratch_make(void **state)
{
	(void)state;
	return mkdtemp(scratch) ? 0 : -1;
}

static int scratch_remove(void **state)
{
	DIR *dir = opendir(scratch);
	struct dirent *entry;

	(void)state;
	while (dir && (entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	return rmdir(scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(embedded),
		cmocka_unit_test(layouts),
		cmocka_unit_test(registered_country),
		cmocka_unit_test(only_two_letters_are_a_country),
		cmocka_unit_test(network_lengths),
		cmocka_unit_test(ipv4_only),
		cmocka_unit_test(aliased_networks),
		cmocka_unit_test(records_that_share_a_slot),
		cmocka_unit_test(files_that_are_no_database),
		cmocka_unit_test(truncated_anywhere),
		cmocka_unit_test(damaged_anywhere),
		cmocka_unit_test(the_file_is_not_needed_any_more),
		cmocka_unit_test(no_descriptor_stays_open),
		cmocka_unit_test(references),
		cmocka_unit_test(a_file_that_changes_while_it_is_read),
		cmocka_unit_test(many_threads),
	};

	return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
