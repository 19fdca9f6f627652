/* What was found is written down before anything is changed, so that a signal handler can put it
 * back with two async-signal-safe calls (write, tcsetattr) and then let the signal do what it does.
 * A frame overwrites the one before line by line, each cleared to its end, so nothing flickers. */
#include "cli/terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define COLUMNS 80
#define ROWS 24

/* Another screen, no cursor, no wrapping of what is too long; and back. */
static const char enter[] = "\033[?1049h\033[?25l\033[?7l\033[H\033[2J";
static const char leave[] = "\033[?7h\033[?25h\033[?1049l";

static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGABRT, SIGPIPE};

static struct {
	struct termios before;
	struct termios raw;
	volatile sig_atomic_t is_open;
} terminal;

static bool is_plain(void)
{
	const char *term = getenv("TERM");

	return term == NULL || term[0] == '\0' || strcmp(term, "dumb") == 0;
}

bool terminal_can_draw(void)
{
	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !is_plain();
}

bool terminal_wants_colours(void)
{
	const char *no_color = getenv("NO_COLOR");

	return isatty(STDOUT_FILENO) && !is_plain() && (no_color == NULL || no_color[0] == '\0');
}

static void put_back(void)
{
	if (!terminal.is_open)
		return;
	terminal.is_open = 0;
	(void)!write(STDOUT_FILENO, leave, sizeof(leave) - 1);
	(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal.before);
}

static void take(void)
{
	terminal.is_open = 1;
	(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal.raw);
	(void)!write(STDOUT_FILENO, enter, sizeof(enter) - 1);
}

static void on_end(int number)
{
	put_back();
	(void)signal(number, SIG_DFL);
	(void)raise(number);
}

/* Ctrl-Z: stopped with the terminal as it was; drawn anew behind `fg`. */
static void on_stop(int number)
{
	int before = errno;
	bool was_open = terminal.is_open != 0;

	(void)number;
	put_back();
	(void)raise(SIGSTOP);
	if (was_open)
		take();
	errno = before;
}

static void on_resize(int number)
{
	(void)number; /* it ends the wait for a key */
}

static void catch_signals(void)
{
	struct sigaction end = {.sa_handler = on_end};
	struct sigaction stop = {.sa_handler = on_stop};
	struct sigaction resize = {.sa_handler = on_resize};

	for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
		(void)sigaction(ending[i], &end, NULL);
	(void)sigaction(SIGTSTP, &stop, NULL);
	(void)sigaction(SIGWINCH, &resize, NULL);
}

int terminal_open(void)
{
	if (tcgetattr(STDIN_FILENO, &terminal.before) != 0)
		return -errno;
	terminal.raw = terminal.before;
	terminal.raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	terminal.raw.c_cc[VMIN] = 1;
	terminal.raw.c_cc[VTIME] = 0;
	catch_signals();
	if (atexit(put_back) != 0)
		return -ENOMEM;
	take();
	return 0;
}

void terminal_close(void)
{
	put_back();
}

void terminal_size(unsigned *ret_columns, unsigned *ret_rows)
{
	struct winsize size;
	bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;

	*ret_columns = known && size.ws_col > 0 ? size.ws_col : COLUMNS;
	*ret_rows = known && size.ws_row > 0 ? size.ws_row : ROWS;
}

static bool write_all(const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDOUT_FILENO, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

bool terminal_show(const char *frame)
{
	static const char home[] = "\033[H", end_line[] = "\033[K\r\n", end_all[] = "\033[K\033[J";
	size_t lines = 1, n = 0;
	char *all;
	bool ok;

	for (const char *p = frame; *p != '\0'; p++)
		lines += *p == '\n';
	all = malloc(strlen(frame) + lines * sizeof(end_line) + sizeof(home) + sizeof(end_all));
	if (all == NULL)
		return true; /* the next one may come through */
	n = (size_t)sprintf(all, "%s", home);
	for (; *frame != '\0'; frame++) {
		if (*frame == '\n')
			n += (size_t)sprintf(all + n, "%s", end_line);
		else
			all[n++] = *frame;
	}
	n += (size_t)sprintf(all + n, "%s", end_all);
	ok = write_all(all, n);
	free(all);
	return ok;
}

int terminal_key(int wait_ms)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	unsigned char key;
	ssize_t n;

	if (poll(&in, 1, wait_ms) <= 0)
		return 0;
	n = read(STDIN_FILENO, &key, 1);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	return n == 1 && key != 0 ? key : -1;
}
