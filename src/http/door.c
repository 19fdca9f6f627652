/* Opening doors. An address may be taken for a moment, by the process that this one takes over
 * from: so a door that could not be opened is tried again, quietly at first. */
#include "http/door.h"

#include "base/clock.h"
#include "base/log.h"
#include "http/server.h"
#include "http/site.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* Of the folder of CONTROL_SOCKET_PATH. */
#define FOLDER_MODE 0755

const char *door_word(enum door_kind kind)
{
	static const char *const words[] = {
#define DOOR(name, word, option, most) word,
#include "http/doors.def"
#undef DOOR
	};

	return words[kind];
}

const char *door_option(enum door_kind kind)
{
	static const char *const options[] = {
#define DOOR(name, word, option, most) option,
#include "http/doors.def"
#undef DOOR
	};

	return options[kind];
}

static unsigned most_connections(const struct config *config, enum door_kind kind)
{
	static const unsigned most[] = {
#define DOOR(name, word, option, most) most,
#include "http/doors.def"
#undef DOOR
	};

	return most[kind] != 0 ? most[kind] : (unsigned)config->api_max_conn;
}

int door_read(const struct config *config, enum door_kind kind, struct door *ret_door)
{
	struct door d = {.kind = kind, .fd = -1, .listen.lock_fd = -1, .retry_ms = DOOR_RETRY_MS};
	int err;

	switch (kind) {
	case DOOR_API:
		d.wanted = config->api_enabled;
		d.where = config->api_listen_addr;
		break;
	case DOOR_METRICS:
		d.wanted = config->metrics_enabled;
		d.where = config->metrics_listen_addr;
		break;
	case DOOR_CONTROL:
		d.wanted = strcmp(config->control_socket, CONTROL_SOCKET_OFF) != 0;
		d.optional = strcmp(config->control_socket, CONTROL_SOCKET_AUTO) == 0;
		d.where = d.optional ? CONTROL_SOCKET_PATH : config->control_socket;
		break;
	case DOOR_COUNT:
		break;
	}
	*ret_door = d;
	if (!d.wanted)
		return 0;
	if (kind == DOOR_CONTROL)
		err = http_listen_unix(d.where, &ret_door->listen);
	else
		err = http_listen_parse(d.where, &ret_door->listen);
	return err;
}

static void log_listening(const struct door *d, const struct site *site)
{
	char addr[ENDPOINT_TEXT_MAX];
	struct log_line l;

	log_begin(&l, LOG_INFO, "api_listening");
	log_str(&l, "door", door_word(d->kind));
	if (d->listen.is_unix)
		log_fmt(&l, "addr", LISTEN_UNIX_PREFIX "%s", d->listen.local.sun_path);
	else
		log_str(&l, "addr", endpoint_format(&d->listen.addr, addr));
	if (d->kind == DOOR_API)
		log_uint(&l, "tokens", site->tokens != NULL ? site->tokens->count : 0);
	log_end(&l);
}

/* The folder of the default place, which is in memory and empty after a boot. */
static void make_folder(const struct door *d)
{
	char folder[] = CONTROL_SOCKET_PATH;

	if (!d->optional)
		return;
	*strrchr(folder, '/') = '\0';
	(void)mkdir(folder, FOLDER_MODE);
}

int door_open(struct door *d, struct site *site)
{
	int err;

	make_folder(d);
	err = http_listen_open(&d->listen, &d->fd);
	if (err != 0)
		return err;
	err = server_new(
		&(struct server_options){
			.site = site,
			.door = d->kind,
			.listen_fd = d->fd,
			.is_unix = d->listen.is_unix,
			.is_local = http_listen_is_local(&d->listen),
			.max_conn = most_connections(site->config, d->kind),
		},
		&d->server);
	if (err == 0) {
		log_listening(d, site);
		return 0;
	}
	http_listen_close(&d->listen, d->fd);
	d->fd = -1;
	return err;
}

static void complain(struct door *d, int err)
{
	char why[LISTEN_ERROR_MAX];
	struct log_line l;

	d->complained = true;
	http_listen_explain(&d->listen, err, why);
	log_begin(&l, d->optional ? LOG_WARN : LOG_ERROR, "api_not_listening");
	log_str(&l, "door", door_word(d->kind));
	log_str(&l, "addr", d->where);
	log_str(&l, "error", why);
	if (d->optional)
		log_fmt(&l, "advice",
		        "the command line does not find this process there: set %s=/PATH or off",
		        door_option(d->kind));
	log_end(&l);
}

void door_tick(struct door *d, struct site *site, uint64_t now_ms)
{
	int err;

	if (!d->wanted || d->server != NULL || now_ms < d->retry_at_ms)
		return;
	if (d->since_ms == 0)
		d->since_ms = now_ms;
	err = door_open(d, site);
	if (err == 0)
		return;
	d->retry_at_ms = now_ms + d->retry_ms;
	d->retry_ms = 2 * d->retry_ms < DOOR_RETRY_MAX_MS ? 2 * d->retry_ms : DOOR_RETRY_MAX_MS;
	/* Waiting helps where somebody else goes. */
	if (!d->complained && (err != -EADDRINUSE || now_ms - d->since_ms >= DOOR_QUIET_MS))
		complain(d, err);
}

void door_close(struct door *d)
{
	server_free(d->server);
	d->server = NULL;
	if (d->fd >= 0)
		http_listen_close(&d->listen, d->fd);
	d->fd = -1;
}
