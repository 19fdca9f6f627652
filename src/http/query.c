/* Parameters are refused rather than ignored: a filter that somebody mistyped must not become "all
 * of them". */
#include "http/query.h"

#include <stdlib.h>
#include <string.h>

static const struct query_field *find(const struct query_field *fields, size_t count,
                                      const char *key)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(fields[i].key, key) == 0)
			return &fields[i];
	return NULL;
}

bool query_read(const struct request *q, const struct query_field *fields, size_t count,
                struct reply *r)
{
	for (size_t i = 0; i < count; i++)
		fields[i].to[0] = '\0';
	for (size_t i = 0; i < q->query_count; i++) {
		const char *key = q->query[i].key;
		const char *value = q->query[i].value;
		const struct query_field *f = find(fields, count, key);

		if (f == NULL || f->to[0] != '\0') {
			reply_problem(r, 400, key, "%.40s %s", key,
			              f == NULL ? "is no parameter of this path" : "comes twice");
			return false;
		}
		if (percent_decode(value, strlen(value), f->to, f->room - 1) != 0 ||
		    f->to[0] == '\0') {
			f->to[0] = '\0';
			reply_problem(r, 400, f->key, "%s must be 1..%zu bytes, percent-encoded",
			              f->key, f->room - 1);
			return false;
		}
	}
	return true;
}

bool query_number(const char *key, const char *text, unsigned long least, unsigned long most,
                  unsigned long *ret, struct reply *r)
{
	unsigned long value = 0;
	bool good = true;

	if (text[0] == '\0')
		return true;
	for (const char *p = text; *p != '\0' && good; p++) {
		good = *p >= '0' && *p <= '9' && value <= most;
		value = value * 10 + (unsigned long)(*p - '0');
	}
	if (!good || value < least || value > most) {
		reply_problem(r, 400, key, "%s must be %lu..%lu", key, least, most);
		return false;
	}
	*ret = value;
	return true;
}

bool query_true(const char *key, const char *text, bool *ret, struct reply *r)
{
	*ret = strcmp(text, "true") == 0;
	if (*ret || text[0] == '\0')
		return true;
	reply_problem(r, 400, key, "%s must be true, or not be there", key);
	return false;
}

bool query_prefix(const char *key, const char *text, struct prefix *ret, bool *ret_given,
                  struct reply *r)
{
	*ret_given = text[0] != '\0';
	if (!*ret_given || prefix_parse(text, ret) == 0)
		return true;
	reply_problem(r, 400, key,
	              "%s must be an address or a prefix without bits behind it (192.0.2.0/24)",
	              key);
	return false;
}

bool query_may_see(const struct request *q, const char *app, struct reply *r)
{
	if (app[0] != '\0' ? token_covers(q->token, app) : token_covers(q->token, NULL))
		return true;
	reply_problem(r, 403, "app",
	              app[0] != '\0' ? "the token does not cover this app"
	                             : "the token covers some apps only: name one (app)");
	return false;
}

void query_log_end(struct log_line *l, const struct request *q)
{
	for (size_t i = 0; i < q->query_count; i++)
		log_str(l, q->query[i].key, q->query[i].value);
	log_str(l, "by", q->token != NULL ? q->token->name : NULL);
	log_end(l);
}

bool query_may_wait(const struct request *q, struct reply *r)
{
	if (q->may_wait)
		return true;
	reply_problem(r, 503, NULL, "as many requests as may do so wait already");
	r->retry_after_secs = 1;
	return false;
}
