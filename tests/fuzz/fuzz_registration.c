/* Bodies of registrations: whatever comes in, either a field or the whole is refused with a reason
 * that has an end, or what comes out may be routed to, checked here without the code that let it
 * pass. */
#include "base/check.h"
#include "fuzz.h"
#include "geo/special.h"
#include "net/addr.h"
#include "registry/registration_request.h"

#include <stdlib.h>
#include <string.h>

static void check_text(const char *text, size_t longest)
{
	CHECK(text[0] != '\0' && strlen(text) <= longest);
	for (; *text != '\0'; text++)
		CHECK((unsigned char)*text >= 0x20 && *text != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct registration_rules rules = {.path_id = size % 2 == 1 ? "the-id-of-the-path"
	                                                                  : NULL};
	struct registration_request q;
	struct field_error bad;
	struct ip ip;
	/* A block of its own, so that a read beyond the end is seen. */
	char *json = malloc(size);

	CHECK(json != NULL || size == 0);
	special_init();
	if (size > 0)
		memcpy(json, data, size);
	memset(&bad, 'x', sizeof(bad));
	if (registration_request_parse(json, size, &rules, &q, &bad) != 0) {
		CHECK(memchr(bad.field, '\0', sizeof(bad.field)) != NULL);
		CHECK(memchr(bad.why, '\0', sizeof(bad.why)) != NULL && bad.why[0] != '\0');
	} else {
		check_text(q.id, BACKEND_ID_MAX);
		check_text(q.app, APP_NAME_MAX);
		check_text(q.region, REGION_NAME_MAX);
		CHECK(q.country[0] == '\0' || strlen(q.country) == 2);
		CHECK(ip_parse(q.ip, &ip) == 0 && !ip_is_unspecified(&ip) && !ip_is_multicast(&ip));
		CHECK(!(ip_is_v4(&ip) && ip.b[12] == 127));
		CHECK(q.port != 0 && q.weight <= WEIGHT_MAX);
		CHECK(q.soft_limit >= 1 && q.soft_limit <= LIMIT_MAX);
		CHECK(q.hard_limit >= 1 && q.hard_limit <= LIMIT_MAX);
		CHECK(rules.path_id == NULL || strcmp(q.id, rules.path_id) == 0);
	}
	free(json);
	return 0;
}
