/* The client of the control socket. It trusts the proxy no further than that: an answer has a
 * length and a time, JSON is parsed by jansson, and what is in it reaches a terminal only through
 * cli/output.h.
 *
 * An operator's shell need not have the proxy's whole environment, so only the one variable is
 * read, by the same rules as the proxy's. */
#include "cli/control.h"

#include "cli/control_path.h"
#include "cli/libcurl.h"
#include "config/config.h"
#include "http/door.h"

#include <errno.h>
#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define OPTION_NAME "EDGEPROXY_CONTROL_SOCKET"
/* libcurl wants a host in the address; the proxy sees it in the Host header. */
#define BASE_URL "http://localhost"
#define FIRST_ROOM 4096

struct control {
	const char *command;
	char *socket;
	const struct libcurl *lib; /* NULL: it cannot be used */
	CURL *curl;
	bool quiet;
};

static void complain(const struct control *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void complain(const struct control *c, const char *format, ...)
{
	va_list args;

	if (c->quiet)
		return;
	va_start(args, format);
	fprintf(stderr, "edgeproxy %s: ", c->command);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

/* ---- finding the socket ---- */

static void on_problem(void *arg, bool fatal, const char *text)
{
	if (fatal)
		complain(arg, "%s", text);
}

/* What the one variable says. NULL after it has complained. */
static char *find_socket(struct control *c)
{
	const struct config_report report = {.problem = on_problem, .arg = c};
	const char *value = getenv(OPTION_NAME);
	char *variable = NULL;
	char *path = NULL;
	struct config config;

	if (value != NULL && asprintf(&variable, OPTION_NAME "=%s", value) < 0)
		return NULL;
	if (config_read((char *[]){variable, NULL}, &report, &config) == 0) {
		if (strcmp(config.control_socket, CONTROL_SOCKET_OFF) == 0)
			complain(c, OPTION_NAME
			         "=" CONTROL_SOCKET_OFF
			         ": give the path at which the proxy has its control socket");
		else
			path = strdup(strcmp(config.control_socket, CONTROL_SOCKET_AUTO) == 0
			                      ? CONTROL_SOCKET_PATH
			                      : config.control_socket);
		config_done(&config);
	}
	free(variable);
	return path;
}

static int open_control(const char *command, bool quiet, struct control **ret_control)
{
	struct control *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return CONTROL_FAILED;
	c->command = command;
	c->quiet = quiet;
	c->socket = find_socket(c);
	if (c->socket == NULL) {
		control_close(c);
		return CONTROL_FAILED;
	}
	c->lib = libcurl_load();
	if (c->lib != NULL && c->lib->global_init(CURL_GLOBAL_NOTHING) == CURLE_OK)
		c->curl = c->lib->easy_init();
	if (c->curl == NULL) {
		complain(c, LIBCURL " cannot be used; on Debian it is in the package libcurl4");
		control_close(c);
		return CONTROL_FAILED;
	}
	c->quiet = false;
	*ret_control = c;
	return CONTROL_OK;
}

int control_open(const char *command, struct control **ret_control)
{
	return open_control(command, false, ret_control);
}

bool control_find(const char *command, struct control **ret_control)
{
	return open_control(command, true, ret_control) == CONTROL_OK;
}

void control_close(struct control *c)
{
	if (c == NULL)
		return;
	if (c->curl != NULL) {
		c->lib->easy_cleanup(c->curl);
		c->lib->global_cleanup();
	}
	free(c->socket);
	free(c);
}

const char *control_socket(const struct control *c)
{
	return c->socket;
}

bool control_is_there(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;
	bool there;

	if (strlen(path) >= sizeof(addr.sun_path))
		return false;
	memcpy(addr.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	there = connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0;
	close(fd);
	return there;
}

void control_set_quiet(struct control *c, bool quiet)
{
	c->quiet = quiet;
}

/* ---- errors ---- */

/* The group that may open the socket; "?" where it has no name. */
static const char *group_of(const char *path)
{
	struct stat st;
	struct group *group = stat(path, &st) == 0 ? getgrgid(st.st_gid) : NULL;

	return group != NULL ? group->gr_name : "?";
}

static bool is_no_socket(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && !S_ISSOCK(st.st_mode);
}

static int could_not_connect(const struct control *c, CURLcode code)
{
	long err = 0;

	(void)c->lib->easy_getinfo(c->curl, CURLINFO_OS_ERRNO, &err);
	switch (err) {
	case ENOENT:
	case ENOTDIR:
		complain(c,
		         "there is no control socket at %s\n"
		         "  is the proxy running, and with this " OPTION_NAME "?",
		         c->socket);
		break;
	case ECONNREFUSED:
		if (is_no_socket(c->socket)) {
			complain(c,
			         "%s is no socket\n"
			         "  is this the " OPTION_NAME " of the proxy?",
			         c->socket);
			break;
		}
		complain(c,
		         "nobody listens at %s\n"
		         "  the proxy that made this socket has ended; start it again",
		         c->socket);
		break;
	case EACCES:
	case EPERM:
		complain(c,
		         "%s may not be opened: %s\n"
		         "  be root, the proxy's user, or a member of the group %s",
		         c->socket, strerror((int)err), group_of(c->socket));
		break;
	case EAGAIN:
		complain(c, "%s: the proxy does not take connections just now; try again",
		         c->socket);
		break;
	default:
		complain(c, "%s: %s", c->socket,
		         err != 0 ? strerror((int)err) : c->lib->easy_strerror(code));
	}
	return CONTROL_FAILED;
}

static int transfer_failed(const struct control *c, CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_CONNECT:
		return could_not_connect(c, code);
	case CURLE_OPERATION_TIMEDOUT:
		complain(c, "the proxy at %s does not answer", c->socket);
		break;
	case CURLE_UNSUPPORTED_PROTOCOL: /* no HTTP */
	case CURLE_WEIRD_SERVER_REPLY:
		complain(c,
		         "what answers at %s is no edgeProxy\n"
		         "  is this the " OPTION_NAME " of the proxy?",
		         c->socket);
		break;
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_PARTIAL_FILE:
		complain(c, "the proxy at %s ended the conversation: has it stopped?", c->socket);
		break;
	default:
		complain(c, "%s: %s", c->socket, c->lib->easy_strerror(code));
	}
	return CONTROL_FAILED;
}

/* ---- requests ---- */

struct collected {
	char *text;
	size_t len;
	size_t room;
};

static size_t collect(char *data, size_t size, size_t count, void *arg)
{
	struct collected *a = arg;
	size_t len = size * count;

	if (len > CONTROL_ANSWER_MAX - a->len)
		return 0;
	if (a->len + len + 1 > a->room) {
		size_t room = 2 * (a->len + len) + FIRST_ROOM;
		char *text = realloc(a->text, room);

		if (text == NULL)
			return 0;
		a->text = text;
		a->room = room;
	}
	memcpy(a->text + a->len, data, len);
	a->len += len;
	a->text[a->len] = '\0';
	return len;
}

/* False: the path is too long or there is no memory. */
static bool prepare(const struct control *c, const char *method, const struct control_path *path)
{
	char *url = NULL;
	bool ok;

	if (path->too_long || asprintf(&url, BASE_URL "%s", path->text) < 0)
		return false;
	c->lib->easy_reset(c->curl);
	ok = c->lib->easy_setopt(c->curl, CURLOPT_URL, url) == CURLE_OK &&
	     c->lib->easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, c->socket) == CURLE_OK &&
	     c->lib->easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK;
	free(url);
	(void)c->lib->easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
	(void)c->lib->easy_setopt(c->curl, CURLOPT_PROXY, ""); /* whatever the environment says */
	(void)c->lib->easy_setopt(c->curl, CURLOPT_PATH_AS_IS, 1L);
	(void)c->lib->easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONTROL_CONNECT_MS);
	return ok;
}

static CURLcode transfer(const struct control *c, const char *method,
                         const struct control_path *path, struct control_answer *ret)
{
	struct collected a = {0};
	CURLcode code = CURLE_OUT_OF_MEMORY;

	*ret = (struct control_answer){0};
	if (prepare(c, method, path)) {
		(void)c->lib->easy_setopt(c->curl, CURLOPT_TIMEOUT_MS, (long)CONTROL_ANSWER_MS);
		(void)c->lib->easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, collect);
		(void)c->lib->easy_setopt(c->curl, CURLOPT_WRITEDATA, &a);
		code = c->lib->easy_perform(c->curl);
	}
	if (code != CURLE_OK) {
		free(a.text);
		return code;
	}
	(void)c->lib->easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &ret->status);
	ret->text = a.text;
	ret->len = a.len;
	ret->json = a.text != NULL ? json_loadb(a.text, a.len, JSON_ALLOW_NUL, NULL) : NULL;
	return CURLE_OK;
}

/* Of the proxy that answers, into buf; "?" where it does not say. */
static const char *version_of(const struct control *c, char *buf, size_t room)
{
	struct control_answer a;
	struct control_path path;

	control_path_init(&path, "/health");
	snprintf(buf, room, "?");
	if (transfer(c, "GET", &path, &a) != CURLE_OK)
		return buf;
	snprintf(buf, room, "%s",
	         json_is_string(json_object_get(a.json, "version"))
	                 ? json_string_value(json_object_get(a.json, "version"))
	                 : "?");
	control_answer_done(&a);
	return buf;
}

/* What an answer that is none of 2xx says. */
static int refused(const struct control *c, const struct control_answer *a)
{
	const char *detail = json_string_value(json_object_get(a->json, "detail"));
	char version[64];

	if (a->json == NULL || detail == NULL) {
		complain(c, "what answers at %s (HTTP %ld) is no edgeProxy of this version (%s)",
		         c->socket, a->status, EDGEPROXY_VERSION);
	} else if (a->status == 404 && strstr(detail, "no such path") != NULL) {
		version_of(c, version, sizeof(version));
		complain(c,
		         "the proxy at %s does not know this command: it has version %s, "
		         "this program %s\n"
		         "  use the program of the same version, or upgrade the proxy (SIGUSR2)",
		         c->socket, version, EDGEPROXY_VERSION);
	} else {
		complain(c, "%s", detail);
	}
	return CONTROL_FAILED;
}

int control_ask(struct control *c, const char *method, const struct control_path *path,
                struct control_answer *ret_answer)
{
	struct control_answer a;
	CURLcode code;
	int r = CONTROL_OK;

	if (path->too_long) {
		complain(c, "these arguments are too long");
		return CONTROL_ARGUMENTS;
	}
	code = transfer(c, method, path, &a);
	if (code != CURLE_OK)
		return transfer_failed(c, code);
	if (a.status / 100 != 2 || a.json == NULL)
		r = refused(c, &a);
	if (r != CONTROL_OK)
		control_answer_done(&a);
	else
		*ret_answer = a;
	return r;
}

void control_answer_done(struct control_answer *a)
{
	json_decref(a->json);
	free(a->text);
	*a = (struct control_answer){0};
}

/* ---- streams ---- */

struct stream {
	struct control *c;
	bool (*line)(void *arg, const char *line);
	bool (*tick)(void *arg);
	void *arg;
	struct collected pending; /* the line that is not whole yet; or a refusal */
	long status;
	bool ended;
};

static bool take_lines(struct stream *s)
{
	char *begin = s->pending.text;
	char *end;

	while ((end = memchr(begin, '\n', s->pending.len - (size_t)(begin - s->pending.text))) !=
	       NULL) {
		*end = '\0';
		if (end > begin && end[-1] == '\r')
			end[-1] = '\0';
		if (!s->line(s->arg, begin))
			return false;
		begin = end + 1;
	}
	s->pending.len -= (size_t)(begin - s->pending.text);
	memmove(s->pending.text, begin, s->pending.len + 1);
	return s->pending.len <= CONTROL_LINE_MAX;
}

static size_t on_stream(char *data, size_t size, size_t count, void *arg)
{
	struct stream *s = arg;

	if (collect(data, size, count, &s->pending) == 0)
		return 0;
	(void)s->c->lib->easy_getinfo(s->c->curl, CURLINFO_RESPONSE_CODE, &s->status);
	if (s->status / 100 == 2 && !take_lines(s)) {
		s->ended = true;
		return 0;
	}
	return size * count;
}

static int on_progress(void *arg, curl_off_t download, curl_off_t downloaded, curl_off_t upload,
                       curl_off_t uploaded)
{
	struct stream *s = arg;

	(void)download;
	(void)downloaded;
	(void)upload;
	(void)uploaded;
	if (s->tick == NULL || s->tick(s->arg))
		return 0;
	s->ended = true;
	return 1;
}

int control_stream(struct control *c, const struct control_path *path,
                   bool (*line)(void *arg, const char *line), bool (*tick)(void *arg), void *arg)
{
	struct stream s = {.c = c, .line = line, .tick = tick, .arg = arg};
	struct control_answer refusal;
	CURLcode code;
	int r = CONTROL_OK;

	if (!prepare(c, "GET", path)) {
		complain(c, "these arguments are too long");
		return CONTROL_ARGUMENTS;
	}
	(void)c->lib->easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_stream);
	(void)c->lib->easy_setopt(c->curl, CURLOPT_WRITEDATA, &s);
	(void)c->lib->easy_setopt(c->curl, CURLOPT_NOPROGRESS, 0L);
	(void)c->lib->easy_setopt(c->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	(void)c->lib->easy_setopt(c->curl, CURLOPT_XFERINFODATA, &s);
	code = c->lib->easy_perform(c->curl);
	(void)c->lib->easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &s.status);
	if (s.status != 0 && s.status / 100 != 2) {
		refusal = (struct control_answer){
			.status = s.status,
			.text = s.pending.text,
			.len = s.pending.len,
			.json = json_loadb(s.pending.text != NULL ? s.pending.text : "",
		                           s.pending.len, 0, NULL),
		};
		r = refused(c, &refusal);
		control_answer_done(&refusal);
		return r;
	}
	if (!s.ended && s.status == 0)
		r = transfer_failed(c, code);
	free(s.pending.text);
	return r;
}
