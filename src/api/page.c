/* The routes of the live page, and the page itself, put into .rodata as geo/embedded.c does with
 * the country database; why so is written there. Who may see it: everybody who can reach the API's
 * door, without a token, unless EDGEPROXY_API_LIVE_PAGE is off. */
#include "api/page.h"

#include "api/core.h"
#include "api/routes.h"
#include "api/viewers.h"

/* Made by src/page/build.py: PAGE_FILE, PAGE_HASH, PAGE_SCRIPT_HASH, PAGE_STYLE_HASH. It changes
 * with the page, so that this file is compiled anew; it lies in the build folder, hence the
 * brackets. */
#include <page_build.h>

__asm__(".pushsection .rodata.page, \"a\", %progbits\n"
        ".global page_data\n"
        ".hidden page_data\n"
        ".type page_data, %object\n"
        "page_data:\n"
        ".incbin \"" PAGE_FILE "\"\n"
        ".Lpage_end:\n"
        ".size page_data, .Lpage_end - page_data\n"

        ".global page_bytes\n"
        ".hidden page_bytes\n"
        ".type page_bytes, %object\n"
        ".balign 8\n"
        "page_bytes:\n"
        ".8byte .Lpage_end - page_data\n"
        ".size page_bytes, 8\n"
        ".popsection\n");

const char page_policy[] = "default-src 'none'; script-src '" PAGE_SCRIPT_HASH
			   "'; style-src '" PAGE_STYLE_HASH
			   "'; connect-src 'self'; img-src data:; base-uri 'none'; "
			   "form-action 'none'; frame-ancestors 'none'";

/* False after it has answered. */
static bool is_on(const struct core *c, struct reply *r)
{
	if (c->config->api_live_page)
		return true;
	reply_problem(r, 404, NULL, "the live page is off: EDGEPROXY_API_LIVE_PAGE");
	return false;
}

void route_page(struct core *c, const struct request *q, struct reply *r)
{
	(void)q;
	if (!is_on(c, r))
		return;
	r->status = 200;
	r->content_type = "text/html; charset=utf-8";
	r->policy = page_policy;
	r->fixed = page_data;
	r->len = (size_t)page_bytes;
}

void route_live(struct core *c, const struct request *q, struct reply *r)
{
	(void)q;
	if (is_on(c, r))
		viewers_add(c->viewers, c, r);
}
