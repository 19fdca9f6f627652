/* The country database: from an address to a country.
 *
 * Life of a database: its bytes are copied into a memfd that is sealed against any change, opened
 * by libmaxminddb through /proc/self/fd (it opens paths only), validated, shared by reference
 * count, and unmapped by whoever lets go last. The copy costs a few milliseconds and buys that
 * nothing that happens to the file later, a truncation above all (which would be SIGBUS in a
 * worker), can touch a lookup.
 *
 * The search tree has a million nodes but its leaves share few records (the embedded database:
 * 250), and reading the country out of a record costs as much as the walk down the tree. So each
 * database remembers, by the offset of the record, which country it read there: a direct-mapped
 * cache whose slot is one atomic word with key and value in it, so that nobody can see the key of
 * one record with the country of another. Lookups fill it; to fill it at the opening by a walk over
 * the whole tree would cost more than all the rest of the start.
 *
 * Trusts nothing in a file: whatever libmaxminddb reports as damaged is "not found", and what a
 * record gives as country counts only if it is two letters. Never knows of regions, overrides or
 * special-purpose ranges: those come before it (route/policy.h). Never logs. */
#include "geo/geo_db.h"

#include "geo/country.h"
#include "geo/embedded.h"

#include <errno.h>
#include <fcntl.h>
#include <maxminddb.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Slots of the cache: 64 KiB. A power of two. Offsets select slots as they are: records lie side by
 * side, so those of a country database seldom share a slot. */
#define CACHE_SLOTS 8192

struct geo_db {
	MMDB_s mmdb;
	uint64_t bytes;
	/* (offset + 1) << 16 | first letter << 8 | second letter; 0: nothing yet. */
	_Atomic uint64_t *cache;
	atomic_uint refs;
};

/* Where a record may keep its country, the best first. registered_country is where a network is
 * registered: MaxMind gives only that where it does not know in which country it is used. */
static const char *const layouts[][3] = {
	{"country", "iso_code", NULL},
	{"registered_country", "iso_code", NULL},
	{"country_code", NULL, NULL},
};

/* Addresses of which every database of the whole Internet knows some: one or two from each of the
 * regional registries. A file without any of them is of another kind or was made wrongly. */
static const char *const canaries[] = {
	"8.8.8.8",         /* ARIN: Google */
	"200.147.3.157",   /* LACNIC: UOL, Brazil */
	"193.0.6.139",     /* RIPE: the RIPE NCC */
	"133.11.0.1",      /* APNIC: the University of Tokyo */
	"196.216.2.1",     /* AFRINIC: AFRINIC */
	"2001:4860::1",    /* ARIN: Google */
	"2001:200::1",     /* APNIC: the WIDE project */
	"2001:67c:2e8::1", /* RIPE: the RIPE NCC */
};

__attribute__((format(printf, 3, 4))) static int fail(int err, char error[GEO_ERROR_MAX],
                                                      const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, GEO_ERROR_MAX, format, args);
	va_end(args);
	return err;
}

/* "" unless there are two letters there. */
static void country_from_entry(MMDB_entry_s *entry, char ret_country[3])
{
	memset(ret_country, 0, 3);
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
		MMDB_entry_data_s value;
		char code[3] = "";
		int index;

		if (MMDB_aget_value(entry, &value, layouts[i]) != MMDB_SUCCESS || !value.has_data ||
		    value.type != MMDB_DATA_TYPE_UTF8_STRING || value.data_size != 2)
			continue;
		memcpy(code, value.utf8_string, 2);
		index = country_index(code);
		/* ZZ is how some databases spell "unknown". */
		if (index == COUNTRY_INDEX_NONE || index == country_index("ZZ"))
			continue;
		ret_country[0] = (char)('A' + index / 26);
		ret_country[1] = (char)('A' + index % 26);
		return;
	}
}

static void country_cached(const struct geo_db *db, MMDB_entry_s *entry, char ret_country[3])
{
	_Atomic uint64_t *slot = &db->cache[entry->offset % CACHE_SLOTS];
	uint64_t key = (uint64_t)entry->offset + 1;
	/* Relaxed: the word is all there is to it, no other memory is read on its account. */
	uint64_t word = atomic_load_explicit(slot, memory_order_relaxed);

	if (word >> 16 != key) {
		country_from_entry(entry, ret_country);
		word = key << 16 | (uint64_t)(uint8_t)ret_country[0] << 8 | (uint8_t)ret_country[1];
		atomic_store_explicit(slot, word, memory_order_relaxed);
		return;
	}
	ret_country[0] = (char)(word >> 8);
	ret_country[1] = (char)word;
	ret_country[2] = '\0';
}

struct geo_record geo_db_find(const struct geo_db *db, const struct ip *ip)
{
	struct geo_record record = {.found = false};
	MMDB_lookup_result_s result;
	bool v4 = ip_is_v4(ip);
	unsigned bits;
	int error = MMDB_SUCCESS;

	if (v4) {
		struct sockaddr_in sa = {.sin_family = AF_INET};

		memcpy(&sa.sin_addr, ip->b + 12, 4);
		result = MMDB_lookup_sockaddr(&db->mmdb, (struct sockaddr *)&sa, &error);
	} else {
		struct sockaddr_in6 sa = {.sin6_family = AF_INET6};

		memcpy(&sa.sin6_addr, ip->b, 16);
		/* In a database that has IPv4 only this is an error, and so !found. */
		result = MMDB_lookup_sockaddr(&db->mmdb, (struct sockaddr *)&sa, &error);
	}
	if (error != MMDB_SUCCESS || !result.found_entry)
		return record;

	/* An IPv4 tree counts from 0, an IPv6 tree keeps IPv4 below ::/96; a leaf above that covers
	 * all of IPv4. */
	bits = result.netmask;
	if (v4 && db->mmdb.metadata.ip_version == 4)
		bits += 96;
	if (v4 && bits < 96)
		bits = 96;
	record.net_bits = (unsigned char)bits;
	record.found = true;
	country_cached(db, &result.entry, record.country);
	return record;
}

/* Looks the canaries up: a database that gives none of them a country is of no use. */
static int canaries_check(const struct geo_db *db, char error[GEO_ERROR_MAX])
{
	size_t found = 0;

	for (size_t i = 0; i < sizeof(canaries) / sizeof(canaries[0]); i++) {
		struct geo_record record;
		struct ip ip;

		CHECK(ip_parse(canaries[i], &ip) == 0);
		record = geo_db_find(db, &ip);
		if (record.country[0])
			return 0;
		found += record.found;
	}
	if (found == 0)
		return fail(-EBADMSG, error,
		            "holds none of the well-known addresses (%s and others)", canaries[0]);
	return fail(-EBADMSG, error,
	            "has no country (country.iso_code, registered_country.iso_code or "
	            "country_code) in its records; its type is \"%.64s\"",
	            db->mmdb.metadata.database_type);
}

/* What libmaxminddb could not open. errno is as it left it. */
static int open_failed(int mmdb_error, char error[GEO_ERROR_MAX])
{
	int err = errno ? errno : EIO;

	if (mmdb_error == MMDB_OUT_OF_MEMORY_ERROR)
		return fail(-ENOMEM, error, "out of memory");
	if (mmdb_error == MMDB_FILE_OPEN_ERROR || mmdb_error == MMDB_IO_ERROR)
		return fail(-err, error, "opening its copy in /proc/self/fd: %s", strerror(err));
	return fail(-EBADMSG, error, "not a usable MMDB file: %s", MMDB_strerror(mmdb_error));
}

/* Opens the sealed copy in fd, which stays the caller's. */
static int geo_db_new(int fd, uint64_t bytes, struct geo_db **ret_db, char error[GEO_ERROR_MAX])
{
	struct geo_db *db = malloc(sizeof(*db));
	char path[sizeof("/proc/self/fd/") + 10];
	int err;

	if (!db)
		return fail(-ENOMEM, error, "out of memory");
	*db = (struct geo_db){.bytes = bytes};
	atomic_init(&db->refs, 1);

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	errno = 0;
	err = MMDB_open(path, MMDB_MODE_MMAP, &db->mmdb);
	if (err != MMDB_SUCCESS) {
		err = open_failed(err, error);
		free(db);
		return err;
	}
	db->cache = calloc(CACHE_SLOTS, sizeof(*db->cache));
	if (!db->cache)
		err = fail(-ENOMEM, error, "out of memory");
	else if (db->mmdb.metadata.ip_version != 4 && db->mmdb.metadata.ip_version != 6)
		err = fail(-EBADMSG, error, "not a usable MMDB file: its IP version is %u",
		           db->mmdb.metadata.ip_version);
	else
		err = canaries_check(db, error);
	if (err) {
		geo_db_unref(db);
		return err;
	}
	*ret_db = db;
	return 0;
}

static int copy_new(char error[GEO_ERROR_MAX])
{
	int fd = memfd_create("geo", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	return fd < 0 ? fail(-errno, error, "making a copy: %s", strerror(errno)) : fd;
}

static int copy_append(int fd, const uint8_t *data, size_t len, char error[GEO_ERROR_MAX])
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(-errno, error, "making a copy: %s", strerror(errno));
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int copy_seal(int fd, char error[GEO_ERROR_MAX])
{
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return fail(-errno, error, "sealing the copy: %s", strerror(errno));
	return 0;
}

int geo_db_open_embedded(struct geo_db **ret_db, char error[GEO_ERROR_MAX])
{
	int copy = copy_new(error);
	int err;

	if (copy < 0)
		return copy;
	err = copy_append(copy, geo_embedded_data, geo_embedded_bytes, error);
	if (!err)
		err = copy_seal(copy, error);
	if (!err)
		err = geo_db_new(copy, geo_embedded_bytes, ret_db, error);
	close(copy);
	return err;
}

/* Is it a file that may be read? */
static int file_check(int file, struct stat *ret_st, char error[GEO_ERROR_MAX])
{
	if (fstat(file, ret_st) < 0)
		return fail(-errno, error, "reading it: %s", strerror(errno));
	if (!S_ISREG(ret_st->st_mode))
		return fail(-EINVAL, error, "not a regular file");
	if (ret_st->st_size == 0)
		return fail(-EBADMSG, error, "not a usable MMDB file: it is empty");
	if (ret_st->st_size > (off_t)GEO_FILE_MAX_BYTES)
		return fail(-EFBIG, error, "%lld bytes long, more than %u",
		            (long long)ret_st->st_size, GEO_FILE_MAX_BYTES);
	return 0;
}

/* Copies the whole file. One that is written meanwhile would give a copy that is half of the one
 * and half of the other, and might well pass for a database: -EAGAIN. */
static int file_copy(int file, int copy, uint64_t *ret_bytes, char error[GEO_ERROR_MAX])
{
	uint8_t buf[1 << 16];
	struct stat before, after;
	uint64_t bytes = 0;
	int err = file_check(file, &before, error);

	while (!err && bytes <= GEO_FILE_MAX_BYTES) {
		ssize_t n = read(file, buf, sizeof(buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(-errno, error, "reading it: %s", strerror(errno));
		if (n == 0)
			break;
		err = copy_append(copy, buf, (size_t)n, error);
		bytes += (uint64_t)n;
	}
	if (!err)
		err = file_check(file, &after, error);
	if (err)
		return err;
	if (bytes != (uint64_t)before.st_size || before.st_size != after.st_size ||
	    before.st_mtim.tv_sec != after.st_mtim.tv_sec ||
	    before.st_mtim.tv_nsec != after.st_mtim.tv_nsec)
		return fail(-EAGAIN, error, "changed while it was read");
	*ret_bytes = bytes;
	return 0;
}

int geo_db_open(const char *path, struct geo_db **ret_db, char error[GEO_ERROR_MAX])
{
	/* O_NONBLOCK: a path that is a FIFO must not hold the caller up. */
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	uint64_t bytes = 0;
	int copy, err;

	if (file < 0)
		return fail(-errno, error, "opening it: %s", strerror(errno));
	copy = copy_new(error);
	if (copy < 0) {
		close(file);
		return copy;
	}
	err = file_copy(file, copy, &bytes, error);
	close(file);
	if (!err)
		err = copy_seal(copy, error);
	if (!err)
		err = geo_db_new(copy, bytes, ret_db, error);
	close(copy);
	return err;
}

struct geo_db *geo_db_ref(struct geo_db *db)
{
	/* Relaxed: who can take a reference has one, or was handed one by a release. */
	if (db)
		atomic_fetch_add_explicit(&db->refs, 1, memory_order_relaxed);
	return db;
}

void geo_db_unref(struct geo_db *db)
{
	if (!db || atomic_fetch_sub_explicit(&db->refs, 1, memory_order_acq_rel) != 1)
		return;
	MMDB_close(&db->mmdb);
	free(db->cache);
	free(db);
}

uint64_t geo_db_build_epoch(const struct geo_db *db)
{
	return db->mmdb.metadata.build_epoch;
}

const char *geo_db_type(const struct geo_db *db)
{
	return db->mmdb.metadata.database_type;
}

uint64_t geo_db_bytes(const struct geo_db *db)
{
	return db->bytes;
}
