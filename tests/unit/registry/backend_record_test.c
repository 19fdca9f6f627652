/* What changes the hash of a row, and so its entity tag. */
#include "registry/backend_record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct backend_record row = {.id = "a",
                                          .app = "web",
                                          .region = "sa",
                                          .ip = "10.1.1.1",
                                          .port = 80,
                                          .weight = 2,
                                          .soft_limit = 100,
                                          .hard_limit = 150,
                                          .healthy = true,
                                          .registered = true,
                                          .registered_at = 5};

static void every_field_counts(void **state)
{
	uint64_t base = backend_record_hash(BACKEND_RECORD_HASH_BEGIN, &row);
	struct backend_record b = row;

	(void)state;
	assert_true(backend_record_hash(BACKEND_RECORD_HASH_BEGIN, &b) == base);
	strcpy(b.state, "ready"); /* which is what none means */
	assert_true(backend_record_hash(BACKEND_RECORD_HASH_BEGIN, &b) == base);
	assert_true(backend_record_hash(base, &b) != base);
#define CHANGES(change) \
	do { \
		b = row; \
		change; \
		assert_true(backend_record_hash(BACKEND_RECORD_HASH_BEGIN, &b) != base); \
	} while (0)
	CHANGES(strcpy(b.id, "b"));
	CHANGES(strcpy(b.app, "we"));
	CHANGES(strcpy(b.region, "us"));
	CHANGES(strcpy(b.ip, "10.1.1.2"));
	CHANGES(strcpy(b.country, "BR"));
	CHANGES(strcpy(b.state, "drain"));
	CHANGES(strcpy(b.pop, "sa-1"));
	CHANGES(b.port = 81);
	CHANGES(b.weight = 3);
	CHANGES(b.soft_limit = 101);
	CHANGES(b.hard_limit = 151);
	CHANGES(b.healthy = false);
	CHANGES(b.registered = false);
	CHANGES(b.registered_at = 6);
	/* What is moved from one field to the next is a change as well. */
	CHANGES((strcpy(b.id, "aw"), strcpy(b.app, "eb")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_field_counts)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
