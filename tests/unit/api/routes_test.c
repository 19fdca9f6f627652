/* The table of routes: what is found in it at each door. */
#include "api/routes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int match(const char *method, const char *path, enum door_kind door, struct route_match *ret)
{
	return router_match(api_routes, ROUTE_COUNT, method, path, door, ret);
}

static void each_row_is_found(void **state)
{
	struct route_match m;

	(void)state;
	for (int i = 0; i < ROUTE_COUNT; i++) {
		const struct route *r = &api_routes[i];

		assert_non_null(r->handler);
		for (int door = 0; door < DOOR_COUNT; door++) {
			bool is_there = (r->doors >> door & 1u) != 0;
			int err = match(r->method, r->pattern, (enum door_kind)door, &m);

			if (strchr(r->pattern, '{') == NULL)
				assert_int_equal(err == 0, is_there);
			if (err == 0 && is_there)
				assert_ptr_equal(m.route, r);
		}
	}
	assert_int_equal(match("GET", "/health", DOOR_API, &m), 0);
	assert_ptr_equal(m.route, &api_routes[ROUTE_health]);
	assert_int_equal(match("HEAD", "/health", DOOR_API, &m), 0);
	assert_int_equal(match("DELETE", "/api/v1/backends/a%2Fb", DOOR_API, &m), 0);
	assert_ptr_equal(m.route, &api_routes[ROUTE_remove]);
	assert_int_equal(match("POST", "/api/v1/backends/drain/drain", DOOR_API, &m), 0);
	assert_ptr_equal(m.route, &api_routes[ROUTE_drain]);
}

static void bodies(void **state)
{
	(void)state;
	for (int i = 0; i < ROUTE_COUNT; i++)
		assert_int_equal(api_routes[i].takes_json, i == ROUTE_register || i == ROUTE_put);
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
	assert_int_equal(match("PATCH", "/api/v1/backends/x", DOOR_API, &m), -EPERM);
	assert_string_equal(m.allow, "GET, HEAD, PUT, DELETE");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_row_is_found),
		cmocka_unit_test(bodies),
		cmocka_unit_test(each_door_has_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
