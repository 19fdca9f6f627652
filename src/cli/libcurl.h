/* libcurl, loaded by whoever needs it. One thread. */
#ifndef CLI_LIBCURL_H
#define CLI_LIBCURL_H

#include <curl/curl.h>

#define LIBCURL "libcurl.so.4"

/* The functions that are used of it: curl_easy_init() is libcurl_load()->easy_init(). */
#define LIBCURL_FUNCTIONS \
	FUNCTION(easy_cleanup) \
	FUNCTION(easy_getinfo) \
	FUNCTION(easy_init) \
	FUNCTION(easy_perform) \
	FUNCTION(easy_reset) \
	FUNCTION(easy_setopt) \
	FUNCTION(easy_strerror) \
	FUNCTION(global_cleanup) \
	FUNCTION(global_init)

/* Calls through pointers are not curl.h's checking macros. */
struct libcurl {
#define FUNCTION(name) __typeof__(&(curl_##name)) name;
	LIBCURL_FUNCTIONS
#undef FUNCTION
};

/* Loads it unless it has been; it stays until the process ends. NULL: it is not there, or lacks one
 * of the functions. */
const struct libcurl *libcurl_load(void);

#endif
