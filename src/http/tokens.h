/* Bearer tokens: who may do what. A set is immutable once parsed; any thread. */
#ifndef HTTP_TOKENS_H
#define HTTP_TOKENS_H

#include "base/check.h"
#include "route/limits.h"

#include <stdbool.h>
#include <stddef.h>

#define TOKEN_MIN 16 /* bytes: shorter ones could be guessed */
#define TOKEN_MAX 256
#define TOKEN_NAME_MAX 32
#define TOKEN_APPS_MAX 32
#define TOKENS_MAX 256
#define TOKEN_FILE_MAX (256 * 1024)
#define TOKEN_ERROR_MAX 320

struct token {
	char name[TOKEN_NAME_MAX + 1]; /* for the log */
	size_t app_count;              /* 0: every app */
	char apps[TOKEN_APPS_MAX][APP_NAME_MAX + 1];
	size_t len;
	char secret[TOKEN_MAX]; /* zeroes behind len */
};

struct tokens {
	size_t count; /* 1..TOKENS_MAX */
	struct token all[];
};

/* Lines "NAME TOKEN [APP ...]"; empty ones and those that begin with # are left out. 0; -EINVAL
 * with one line in error, which never repeats a token; -ENOMEM. */
MUST_CHECK int tokens_parse(const char *text, size_t len, struct tokens **ret_tokens,
                            char error[TOKEN_ERROR_MAX]);
/* The same from a file. *ret_exposed: others than owner and group may read it. */
MUST_CHECK int tokens_load(const char *path, struct tokens **ret_tokens, bool *ret_exposed,
                           char error[TOKEN_ERROR_MAX]);
void tokens_free(struct tokens *t); /* NULL-safe; wipes */

/* The token that an Authorization header bears, or NULL. Takes the same time whatever is wrong with
 * it. header may be NULL. */
const struct token *tokens_find(const struct tokens *t, const char *header);
/* token NULL (there are no tokens) covers every app. app NULL: does it cover all? */
bool token_covers(const struct token *token, const char *app);

#endif
