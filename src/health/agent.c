/* Reads the line of an agent. HAProxy takes any subset of the words, ignores what it does not know,
 * and takes the first word that fits; here a line with an unknown word is refused as a whole,
 * because a word that was meant to take a backend out and is misspelt must be seen. */
#include "health/agent.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define SEPARATORS " \t,\r"

static const struct word {
	const char *text;
	enum agent_health health;
	enum agent_admin admin;
} words[] = {
	{"up", AGENT_UP, AGENT_ADMIN_SAME},        {"down", AGENT_DOWN, AGENT_ADMIN_SAME},
	{"failed", AGENT_DOWN, AGENT_ADMIN_SAME},  {"stopped", AGENT_DOWN, AGENT_ADMIN_SAME},
	{"ready", AGENT_HEALTH_SAME, AGENT_READY}, {"drain", AGENT_HEALTH_SAME, AGENT_DRAIN},
	{"maint", AGENT_HEALTH_SAME, AGENT_MAINT},
};

/* "75%". 0 or -EINVAL. */
static int read_percent(const char *word, size_t len, int *ret_percent)
{
	int percent = 0;

	if (len < 2 || word[len - 1] != '%')
		return -EINVAL;
	for (size_t i = 0; i < len - 1; i++) {
		if (word[i] < '0' || word[i] > '9')
			return -EINVAL;
		percent = percent * 10 + (word[i] - '0');
		if (percent > 100)
			percent = 100;
	}
	*ret_percent = percent;
	return 0;
}

static bool is_maxconn(const char *word, size_t len)
{
	static const char name[] = "maxconn:";
	const size_t name_len = sizeof(name) - 1;

	if (len <= name_len || strncasecmp(word, name, name_len) != 0)
		return false;
	return strspn(word + name_len, "0123456789") >= len - name_len;
}

static int read_word(const char *word, size_t len, struct agent_line *line)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		const struct word *w = &words[i];

		if (strlen(w->text) != len || strncasecmp(w->text, word, len) != 0)
			continue;
		if (w->health != AGENT_HEALTH_SAME)
			line->health = w->health;
		if (w->admin != AGENT_ADMIN_SAME)
			line->admin = w->admin;
		return 0;
	}
	return is_maxconn(word, len) ? 0 : read_percent(word, len, &line->weight_percent);
}

static void keep_why(struct agent_line *line, const char *why)
{
	size_t n = 0;

	why += strspn(why, SEPARATORS);
	for (; why[n] != '\0'; n++)
		line->why[n] = (unsigned char)why[n] < ' ' || why[n] == 0x7f ? '?' : why[n];
	while (n > 0 && line->why[n - 1] == ' ')
		n--;
	line->why[n] = '\0';
}

int agent_line_parse(const char *text, size_t len, struct agent_line *ret_line)
{
	struct agent_line line = {.weight_percent = -1};
	char copy[AGENT_LINE_MAX + 1];
	size_t count = 0;
	char *p = copy;
	char *why;

	if (len > AGENT_LINE_MAX || memchr(text, '\0', len) != NULL)
		return -EINVAL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	why = strchr(copy, '#');
	if (why != NULL) {
		*why = '\0';
		keep_why(&line, why + 1);
	}
	for (;;) {
		size_t n;

		p += strspn(p, SEPARATORS);
		n = strcspn(p, SEPARATORS);
		if (n == 0)
			break;
		if (read_word(p, n, &line) != 0)
			return -EINVAL;
		p += n;
		count++;
	}
	if (count == 0)
		return -EINVAL;
	*ret_line = line;
	return 0;
}
