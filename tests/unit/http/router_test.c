/* Paths, methods and percent-encoding. */
#include "http/router.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { HEALTH, READYZ, REGISTER, LIST, SHOW, PUT, REMOVE, DRAIN };

static const struct route routes[] = {
	[HEALTH] = {.method = "GET", .pattern = "/health", .doors = AT_API | AT_CONTROL},
	[READYZ] = {.method = "GET", .pattern = "/readyz", .doors = AT_API | AT_METRICS},
	[REGISTER] = {.method = "POST", .pattern = "/api/v1/register", .doors = AT_API},
	[LIST] = {.method = "GET", .pattern = "/api/v1/backends", .doors = AT_API | AT_CONTROL},
	[SHOW] = {.method = "GET",
                  .pattern = "/api/v1/backends/{id}",
                  .doors = AT_API | AT_CONTROL},
	[PUT] = {.method = "PUT", .pattern = "/api/v1/backends/{id}", .doors = AT_API},
	[REMOVE] = {.method = "DELETE",
                    .pattern = "/api/v1/backends/{id}",
                    .doors = AT_API | AT_CONTROL},
	[DRAIN] = {.method = "POST", .pattern = "/api/v1/backends/{id}/drain", .doors = AT_API},
};

static int match(const char *method, const char *path, enum door_kind door, struct route_match *ret)
{
	return router_match(routes, sizeof(routes) / sizeof(routes[0]), method, path, door, ret);
}

static void finds(void **state)
{
	struct route_match m;

	(void)state;
	assert_int_equal(match("GET", "/health", DOOR_API, &m), 0);
	assert_ptr_equal(m.route, &routes[HEALTH]);
	assert_string_equal(m.id, "");
	assert_int_equal(match("HEAD", "/health", DOOR_API, &m), 0);
	assert_int_equal(match("DELETE", "/api/v1/backends/a%2Fb%20%c3%a4", DOOR_API, &m), 0);
	assert_ptr_equal(m.route, &routes[REMOVE]);
	assert_string_equal(m.id, "a/b \xc3\xa4");
	assert_int_equal(match("POST", "/api/v1/backends/drain/drain", DOOR_API, &m), 0);
	assert_ptr_equal(m.route, &routes[DRAIN]);
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
		assert_int_equal(match("GET", unknown[i], DOOR_API, &m), -ENOENT);
	assert_int_equal(match("PATCH", "/api/v1/backends/x", DOOR_API, &m), -EPERM);
	assert_string_equal(m.allow, "GET, HEAD, PUT, DELETE");
	assert_int_equal(match("get", "/health", DOOR_API, &m), -EPERM);
	assert_int_equal(match("GET", "/api/v1/backends/%", DOOR_API, &m), -EINVAL);
	assert_int_equal(match("GET", "/api/v1/backends/%4", DOOR_API, &m), -EINVAL);
	assert_int_equal(match("GET", "/api/v1/backends/%00", DOOR_API, &m), -EINVAL);
	assert_int_equal(match("GET", "/api/v1/backends/%g0", DOOR_API, &m), -EINVAL);
	memset(path + strlen(path), 'x', BACKEND_ID_MAX + 1);
	assert_int_equal(match("GET", path, DOOR_API, &m), -EINVAL);
	path[strlen(path) - 1] = '\0';
	assert_int_equal(match("GET", path, DOOR_API, &m), 0);
	assert_int_equal(strlen(m.id), BACKEND_ID_MAX);
}

static void each_door_has_its_own(void **state)
{
	struct route_match m;

	(void)state;
	assert_int_equal(match("GET", "/readyz", DOOR_METRICS, &m), 0);
	assert_int_equal(match("GET", "/api/v1/backends", DOOR_METRICS, &m), -ENOENT);
	assert_int_equal(match("POST", "/api/v1/register", DOOR_CONTROL, &m), -ENOENT);
	/* Only the methods that this door has. */
	assert_int_equal(match("PATCH", "/api/v1/backends/x", DOOR_CONTROL, &m), -EPERM);
	assert_string_equal(m.allow, "GET, HEAD, DELETE");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(finds), cmocka_unit_test(refuses),
	                                   cmocka_unit_test(each_door_has_its_own)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
