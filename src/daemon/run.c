/* The composition root of the running proxy, and its control thread (the main thread): it has the
 * parts put together (start.c), then ticks the reload, the geo watch and the state file, collects
 * bindings, answers the health check, and obeys signals, until it is told to stop, or has been
 * replaced (successor.c) and its last session has ended.
 *
 * No client's byte ever passes through here, and nothing here can make one wait. */
#include "daemon/run.h"

#include "base/clock.h"
#include "base/log.h"
#include "control/notify.h"
#include "control/status.h"
#include "daemon/predecessor.h"
#include "daemon/runner.h"
#include "daemon/start.h"
#include "daemon/successor.h"
#include "daemon/successor_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* How often a stopping proxy looks whether its sessions have ended. */
#define STOP_TICK_MS 5
/* How long workers may take to stop accepting before they are no longer waited for. */
#define STOP_ACCEPT_MS 2000

static void on_problem(void *arg, bool fatal, const char *text)
{
	struct log_line l;

	(void)arg;
	log_begin(&l, fatal ? LOG_ERROR : LOG_WARN, fatal ? "config_invalid" : "config_warning");
	log_str(&l, "problem", text);
	log_end(&l);
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	/* Blocked before any thread starts, so that all inherit it, as does a successor. */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	/* splice() to a closed socket has no MSG_NOSIGNAL. */
	signal(SIGPIPE, SIG_IGN);
	/* A state file past a limit of file size is an error of that file, not the end of all. */
	signal(SIGXFSZ, SIG_IGN);
	/* Whoever started this may ignore it, and then the ends of scripts would be lost. */
	signal(SIGCHLD, SIG_DFL);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* The next signal, or 0. SIGUSR1 is obeyed at any time, and nobody else's business. */
static int next_signal(struct runner *r)
{
	struct signalfd_siginfo info;

	while (read(r->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo != SIGUSR1)
			return (int)info.ssi_signo;
		if (r->access_log != NULL)
			access_sink_reopen(r->access_log);
	}
	return 0;
}

static void answer_status(struct runner *r, const char *word)
{
	const struct table *t = reload_table(r->reload);
	char text[STATUS_TEXT_MAX];

	snprintf(text, sizeof(text), "%s version=%llu backends=%u usable=%u sessions=%u\n", word,
	         (unsigned long long)t->version, t->backend_count, t->usable_count,
	         live_own_total(r->live));
	status_answer(r->status_fd, text);
}

/* Waits for something to do, at most wait_ms. */
static void wait_for_news(struct runner *r, int wait_ms, const char *status)
{
	struct pollfd fds[] = {
		{.fd = r->signal_fd, .events = POLLIN},
		{.fd = r->status_fd, .events = POLLIN}, /* -1 is passed over */
		{.fd = successor_starts(r) ? r->successor.link : -1, .events = POLLIN},
	};

	if (poll(fds, 3, wait_ms) > 0 && fds[1].revents != 0)
		answer_status(r, status);
}

/* What is done with the routes. While an upgrade is under way they stay as they are. */
static void tick_routes(struct runner *r, uint64_t now_ms)
{
	if (successor_starts(r))
		return;
	if (r->reload_waits) {
		r->reload_waits = false;
		reload_now(r->reload, now_ms);
		geo_watch_now(r->geo, now_ms);
	}
	reload_tick(r->reload, now_ms);
	geo_watch_tick(r->geo, now_ms);
	if (!successor_serves(r))
		state_file_tick(r->state_file, now_ms);
}

static void tick(struct runner *r, uint64_t now_ms)
{
	successor_tick(r, now_ms);
	if (successor_serves(r)) {
		api_free(r->api);
		r->api = NULL;
	}
	/* Those that another process may be burying are left to it. */
	if (r->successor.state != SUCCESSOR_TAKING)
		predecessors_tick(r);
	tick_routes(r, now_ms);
	fault_watch_tick(r->faults, now_ms);
	/* A large table takes some ticks. */
	if (now_ms >= r->collect_ms && !affinity_collect(r->affinity, &r->collected, now_ms))
		r->collect_ms = now_ms + r->config.binding_gc_interval_secs * 1000;
	if (r->alive_every_ms != 0 && now_ms >= r->alive_at_ms) {
		r->alive_at_ms = now_ms + r->alive_every_ms;
		if (!successor_serves(r))
			notify_alive();
	}
}

/* A retired process whose sessions have ended, or may not go on. */
static bool is_done(const struct runner *r, uint64_t now_ms)
{
	return successor_serves(r) &&
	       (live_own_total(r->live) == 0 || now_ms >= r->successor.deadline_ms);
}

static int tick_wait_ms(const struct runner *r)
{
	if (r->successor.state == SUCCESSOR_COPYING)
		return 0;
	return r->successor.state == SUCCESSOR_PAUSING ? 1 : RELOAD_TICK_MS;
}

/* Runs until a signal asks for the end, and returns it, or until there is nothing more to do: 0. */
static int serve(struct runner *r)
{
	uint64_t now_ms;
	int signal;

	r->collect_ms = clock_now_ms() + r->config.binding_gc_interval_secs * 1000;
	r->alive_every_ms = notify_watchdog_ms();
	heartbeat_begin(&r->beat, "control", NULL, NULL);
	do {
		wait_for_news(r, tick_wait_ms(r), "ready");
		heartbeat_turn(&r->beat);
		while ((signal = next_signal(r)) != 0 && (signal == SIGHUP || signal == SIGUSR2)) {
			if (signal == SIGHUP) {
				r->reload_waits = true;
				if (r->api != NULL)
					api_reload_tokens(r->api);
			} else
				successor_start(r);
		}
		if (signal != 0)
			break;
		now_ms = clock_now_ms();
		tick(r, now_ms);
	} while (!is_done(r, now_ms));
	heartbeat_end(&r->beat);
	return signal;
}

/* Has a second signal asked for the end at once? */
static bool hurried(struct runner *r)
{
	int signal;

	while (!r->hurry && (signal = next_signal(r)) != 0)
		r->hurry = signal != SIGHUP && signal != SIGUSR2;
	return r->hurry;
}

/* New clients must be refused from now on, not queued for nobody. */
static void close_listeners(struct runner *r)
{
	uint64_t give_up_ms = clock_now_ms() + STOP_ACCEPT_MS;
	const struct table *t = reload_table(r->reload);

	if (crew_stop(r->crew) == 0)
		while (!crew_stopped(r->crew) && clock_now_ms() < give_up_ms && !hurried(r))
			wait_for_news(r, 1, "stopping");
	for (uint32_t i = 0; i < t->service_count; i++)
		listen_socket_stop(t->services[i]->socket);
}

/* Lets sessions go on for a while after a signal, then closes those that are left. The service
 * manager is told as soon as it has room for it: neither the deadline, nor the end of the last
 * session, nor a second signal waits for one that does not read. If it never does, it sees the end
 * of the process. */
static void drain(struct runner *r, int signal)
{
	uint64_t deadline_ms = clock_now_ms() + r->config.shutdown_timeout_secs * 1000;
	bool told = successor_serves(r);
	struct log_line l;

	log_begin(&l, LOG_INFO, "stopping");
	log_str(&l, "signal", sigabbrev_np(signal));
	log_uint(&l, "sessions", live_own_total(r->live));
	log_uint(&l, "timeout_secs", r->config.shutdown_timeout_secs);
	log_end(&l);

	if (r->api != NULL)
		api_stopping(r->api);
	if (!successor_serves(r))
		close_listeners(r);
	for (;;) {
		told = told || notify_try("STOPPING=1\nSTATUS=draining");
		if (live_own_total(r->live) == 0 || clock_now_ms() >= deadline_ms || hurried(r))
			return;
		wait_for_news(r, STOP_TICK_MS, "stopping");
	}
}

/* signal is 0 for a retired process that has nothing more to do, or may do no more. */
static void stop(struct runner *r, int signal)
{
	struct log_line l;
	uint32_t left;

	if (successor_starts(r))
		successor_refuse(r, clock_now_ms());
	if (signal != 0)
		drain(r, signal);
	left = live_own_total(r->live);
	api_free(r->api); /* it looks at the crew */
	r->api = NULL;
	crew_free(r->crew);
	r->crew = NULL;
	/* The last sessions have said what they learnt. */
	if (successor_serves(r))
		successor_leave(r);
	else
		state_file_save(r->state_file);
	access_sink_free(r->access_log); /* it may wait for who reads it */
	r->access_log = NULL;

	log_begin(&l, LOG_INFO, "stopped");
	log_uint(&l, "sessions_closed", left);
	log_end(&l);
}

static void release(struct runner *r)
{
	api_free(r->api);
	checker_free(r->checker);
	crew_free(r->crew);
	access_sink_free(r->access_log);
	predecessors_free(r);
	state_file_free(r->state_file);
	reload_free(r->reload);
	fault_watch_free(r->faults);
	geo_watch_free(r->geo);
	queue_free(r->queue);
	client_limits_free(r->client_limits);
	affinity_free(r->affinity);
	live_free(r->live);
	if (r->status_fd >= 0)
		close(r->status_fd);
	close(r->signal_fd);
	config_done(&r->config);
}

/* Whoever starts us with standard descriptors closed must not find the log in a client's socket. */
static void fill_standard_fds(void)
{
	int fd = open("/dev/null", O_RDWR);

	while (fd >= 0 && fd <= STDERR_FILENO)
		fd = open("/dev/null", O_RDWR);
	if (fd >= 0)
		close(fd);
}

int run_main(void)
{
	const struct config_report report = {.problem = on_problem};
	static struct runner r = {
		.status_fd = -1,
		.takeover_link = -1,
		.successor = {.link = -1, .own_fd = -1, .state_fd = -1},
	};
	uint64_t started_ns = clock_now_ns();
	enum log_format format;
	enum log_level level;
	int err;

	fill_standard_fds();
	config_read_log(environ, &level, &format);
	log_setup(level, format);
	r.signal_fd = open_signals(); /* SIGUSR1 ends who does not expect it: soon */
	r.path = successor_process_path();
	predecessor_find(&r);
	if (config_read(environ, &report, &r.config) != 0)
		return 1;
	err = log_start();
	if (err == 0)
		err = watchdog_start((enum watchdog_mode)r.config.watchdog);
	if (err == 0)
		err = start_proxy(&r, started_ns);
	if (err == 0)
		stop(&r, serve(&r));
	watchdog_stop();
	release(&r);
	log_stop();
	return err == 0 ? 0 : 1;
}
