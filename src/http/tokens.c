/* Tokens are secrets in a file. They are compared as a whole and against every one of the set, so
 * that the time tells nothing of how much was right or whose it nearly was; they are never logged,
 * nor quoted in an error, and wiped when a set is let go. */
#include "http/tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLANKS " \t\r"

__attribute__((format(printf, 2, 3))) static int refuse(char error[TOKEN_ERROR_MAX],
                                                        const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(error, TOKEN_ERROR_MAX, format, args);
	va_end(args);
	return -EINVAL;
}

/* The next word of a line, cut off in place; NULL at its end. */
static char *next_word(char **line)
{
	char *word = *line + strspn(*line, BLANKS);
	size_t len = strcspn(word, BLANKS);

	if (len == 0)
		return NULL;
	*line = word + len + (word[len] != '\0');
	word[len] = '\0';
	return word;
}

static bool is_visible(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text <= ' ' || *text > '~')
			return false;
	return true;
}

static int parse_line(char *line, unsigned number, struct token *t, char error[TOKEN_ERROR_MAX])
{
	char *name = next_word(&line);
	char *secret = next_word(&line);
	char *app;

	memset(t, 0, sizeof(*t));
	if (secret == NULL)
		return refuse(error, "line %u: must be NAME TOKEN [APP ...]", number);
	t->len = strlen(secret);
	if (strlen(name) > TOKEN_NAME_MAX || !is_visible(name))
		return refuse(error, "line %u: the name must be 1..%d visible ASCII characters",
		              number, TOKEN_NAME_MAX);
	if (t->len < TOKEN_MIN || t->len > TOKEN_MAX || !is_visible(secret))
		return refuse(error, "line %u: the token must be %d..%d visible ASCII characters",
		              number, TOKEN_MIN, TOKEN_MAX);
	memcpy(t->name, name, strlen(name));
	memcpy(t->secret, secret, t->len);
	while ((app = next_word(&line)) != NULL) {
		if (t->app_count == TOKEN_APPS_MAX || strlen(app) > APP_NAME_MAX)
			return refuse(error, "line %u: at most %d apps of 1..%d bytes", number,
			              TOKEN_APPS_MAX, APP_NAME_MAX);
		memcpy(t->apps[t->app_count++], app, strlen(app));
	}
	return 0;
}

static bool same_secret(const struct token *a, const struct token *b)
{
	volatile unsigned differs = (unsigned)(a->len ^ b->len);

	for (size_t i = 0; i < TOKEN_MAX; i++)
		differs = differs | (unsigned)(unsigned char)(a->secret[i] ^ b->secret[i]);
	return differs == 0;
}

/* text is cut up. */
static int parse_lines(char *text, struct tokens *t, char error[TOKEN_ERROR_MAX])
{
	unsigned number = 0;
	char *line;

	while ((line = strsep(&text, "\n")) != NULL) {
		number++;
		line += strspn(line, BLANKS);
		if (*line == '\0' || *line == '#')
			continue;
		if (t->count == TOKENS_MAX)
			return refuse(error, "more than %d tokens", TOKENS_MAX);
		if (parse_line(line, number, &t->all[t->count], error) != 0)
			return -EINVAL;
		for (size_t i = 0; i < t->count; i++)
			if (same_secret(&t->all[i], &t->all[t->count]))
				return refuse(error, "line %u: the same token as %s", number,
				              t->all[i].name);
		t->count++;
	}
	return t->count > 0 ? 0 : refuse(error, "no token in it");
}

int tokens_parse(const char *text, size_t len, struct tokens **ret_tokens,
                 char error[TOKEN_ERROR_MAX])
{
	struct tokens *t = calloc(1, sizeof(*t) + TOKENS_MAX * sizeof(t->all[0]));
	char *copy = malloc(len + 1);
	int err = -ENOMEM;

	if (t == NULL || copy == NULL) {
		snprintf(error, TOKEN_ERROR_MAX, "out of memory");
	} else {
		memcpy(copy, text, len);
		copy[len] = '\0';
		err = strlen(copy) != len ? refuse(error, "a NUL in it")
		                          : parse_lines(copy, t, error);
		explicit_bzero(copy, len);
	}
	free(copy);
	if (err != 0) {
		tokens_free(t);
		return err;
	}
	*ret_tokens = t;
	return 0;
}

/* Up to TOKEN_FILE_MAX + 1 bytes: one more than is allowed tells that there are too many. */
static ssize_t slurp(int fd, char *buf)
{
	size_t len = 0;
	ssize_t n;

	while (len <= TOKEN_FILE_MAX && (n = read(fd, buf + len, TOKEN_FILE_MAX + 1 - len)) != 0) {
		if (n < 0 && errno != EINTR)
			return -errno;
		len += n > 0 ? (size_t)n : 0;
	}
	return (ssize_t)len;
}

int tokens_load(const char *path, struct tokens **ret_tokens, bool *ret_exposed,
                char error[TOKEN_ERROR_MAX])
{
	char why[TOKEN_ERROR_MAX / 2] = "out of memory";
	char *buf = malloc(TOKEN_FILE_MAX + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t len = fd < 0 ? -errno : buf == NULL ? -ENOMEM : slurp(fd, buf);
	struct stat st = {0};
	int err = len < 0 ? (int)len : 0;

	if (err != 0) {
		snprintf(error, TOKEN_ERROR_MAX, "%.150s: %s", path, strerror(-err));
	} else if (len > TOKEN_FILE_MAX) {
		err = refuse(error, "%.150s: more than %d bytes", path, TOKEN_FILE_MAX);
	} else {
		char detail[TOKEN_ERROR_MAX];

		err = tokens_parse(buf, (size_t)len, ret_tokens, detail);
		snprintf(why, sizeof(why), "%.*s", (int)sizeof(why) - 1, detail);
		if (err != 0)
			snprintf(error, TOKEN_ERROR_MAX, "%.150s: %s", path, why);
		*ret_exposed = fstat(fd, &st) == 0 && (st.st_mode & S_IROTH) != 0;
	}
	if (buf != NULL)
		explicit_bzero(buf, TOKEN_FILE_MAX + 1);
	free(buf);
	if (fd >= 0)
		close(fd);
	return err;
}

void tokens_free(struct tokens *t)
{
	if (t == NULL)
		return;
	explicit_bzero(t->all, TOKENS_MAX * sizeof(t->all[0]));
	free(t);
}

const struct token *tokens_find(const struct tokens *t, const char *header)
{
	struct token offered = {0};
	const struct token *found = NULL;

	if (header != NULL && strncasecmp(header, "Bearer ", 7) == 0) {
		header += 7 + strspn(header + 7, " ");
		offered.len = strlen(header);
		if (offered.len <= TOKEN_MAX)
			memcpy(offered.secret, header, offered.len);
	}
	for (size_t i = 0; i < t->count; i++)
		found = same_secret(&t->all[i], &offered) ? &t->all[i] : found;
	explicit_bzero(&offered, sizeof(offered));
	return found;
}

bool token_covers(const struct token *token, const char *app)
{
	if (token == NULL || token->app_count == 0)
		return true;
	for (size_t i = 0; app != NULL && i < token->app_count; i++)
		if (strcmp(token->apps[i], app) == 0)
			return true;
	return false;
}
