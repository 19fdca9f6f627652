/* Paths, methods and percent-encoding. */
#include "api/router.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void finds(void **state)
{
	struct route_match m;

	(void)state;
	assert_int_equal(router_match("GET", "/health", DOOR_API, &m), 0);
	assert_int_equal(m.route, ROUTE_health);
	assert_string_equal(m.id, "");
	assert_int_equal(router_match("HEAD", "/health", DOOR_API, &m), 0);
	assert_int_equal(router_match("DELETE", "/api/v1/backends/a%2Fb%20%c3%a4", DOOR_API, &m),
	                 0);
	assert_int_equal(m.route, ROUTE_remove);
	assert_string_equal(m.id, "a/b \xc3\xa4");
	assert_int_equal(router_match("POST", "/api/v1/backends/drain/drain", DOOR_API, &m), 0);
	assert_int_equal(m.route, ROUTE_drain);
	assert_string_equal(m.id, "drain");
}

static void refuses(void **state)
{
	static const char *const unknown[] = {
		"",
		"//",
		"/healt",
		"/health/",
		"/healthx",
		"health",
		"/api/v1/backends/",
		"/api/v1/backends//drain",
		"/api/v1/backends/x/y",
		"/api/v1/%62ackends",
	};
	struct route_match m;
	char path[400] = "/api/v1/backends/";

	(void)state;
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_int_equal(router_match("GET", unknown[i], DOOR_API, &m), -ENOENT);
	assert_int_equal(router_match("PATCH", "/api/v1/backends/x", DOOR_API, &m), -EPERM);
	assert_string_equal(m.allow, "GET, HEAD, PUT, DELETE");
	assert_int_equal(router_match("get", "/health", DOOR_API, &m), -EPERM);
	assert_int_equal(router_match("GET", "/api/v1/backends/%", DOOR_API, &m), -EINVAL);
	assert_int_equal(router_match("GET", "/api/v1/backends/%4", DOOR_API, &m), -EINVAL);
	assert_int_equal(router_match("GET", "/api/v1/backends/%00", DOOR_API, &m), -EINVAL);
	assert_int_equal(router_match("GET", "/api/v1/backends/%g0", DOOR_API, &m), -EINVAL);
	memset(path + strlen(path), 'x', BACKEND_ID_MAX + 1);
	assert_int_equal(router_match("GET", path, DOOR_API, &m), -EINVAL);
	path[strlen(path) - 1] = '\0';
	assert_int_equal(router_match("GET", path, DOOR_API, &m), 0);
	assert_int_equal(strlen(m.id), BACKEND_ID_MAX);
}

static void each_door_has_its_own(void **state)
{
	struct route_match m;

	(void)state;
	assert_int_equal(router_match("GET", "/readyz", DOOR_METRICS, &m), 0);
	assert_int_equal(router_match("GET", "/api/v1/backends", DOOR_METRICS, &m), -ENOENT);
	assert_int_equal(router_match("POST", "/api/v1/register", DOOR_CONTROL, &m), -ENOENT);
	/* Only the methods that this door has. */
	assert_int_equal(router_match("PATCH", "/api/v1/backends/x", DOOR_CONTROL, &m), -EPERM);
	assert_string_equal(m.allow, "GET, HEAD, DELETE");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(finds), cmocka_unit_test(refuses),
	                                   cmocka_unit_test(each_door_has_its_own)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
