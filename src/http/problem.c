/* What an error looks like on the wire. The type is about:blank, so the title is that of the status
 * and a program decides by status and field; the detail is for people. Texts from outside may be
 * quoted in it: what is no UTF-8 is left out rather than passed on. */
#include "http/problem.h"

const char *problem_title(unsigned status)
{
	switch (status) {
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 409:
		return "Conflict";
	case 412:
		return "Precondition Failed";
	case 413:
		return "Content Too Large";
	case 415:
		return "Unsupported Media Type";
	case 429:
		return "Too Many Requests";
	case 503:
		return "Service Unavailable";
	default:
		return "Internal Server Error";
	}
}

json_t *problem_json(unsigned status, const char *field, const char *detail)
{
	json_t *text = json_string(detail);
	/* NULL, too, where it is not UTF-8: then the error is of no field that can be named. */
	json_t *name = field != NULL ? json_string(field) : NULL;

	if (text == NULL)
		text = json_string("the text of this error is not UTF-8");
	return json_pack("{s:s, s:s, s:i, s:o, s:o*}", "type", "about:blank", "title",
	                 problem_title(status), "status", (int)status, "detail", text, "field",
	                 name);
}
