/* libcurl is loaded when it is first needed: with all that it stands on it would cost a proxy
 * megabytes and each start some milliseconds, and `run` never needs it. */
#include "cli/libcurl.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>

static bool find_functions(void *handle, struct libcurl *lib)
{
#define FUNCTION(name) *(void **)(&lib->name) = dlsym(handle, "curl_" #name);
	LIBCURL_FUNCTIONS
#undef FUNCTION
#define FUNCTION(name) &&lib->name != NULL
	return true LIBCURL_FUNCTIONS;
#undef FUNCTION
}

const struct libcurl *libcurl_load(void)
{
	static struct libcurl lib;
	void *handle = dlopen(LIBCURL, RTLD_NOW | RTLD_LOCAL);

	return handle != NULL && find_functions(handle, &lib) ? &lib : NULL;
}
