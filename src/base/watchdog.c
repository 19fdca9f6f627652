/* The watchdog. It counts its own looks rather than seconds: when the whole process was stopped or
 * starved for a while, the looks stopped too, and nobody is accused.
 *
 * The stack of a stalled thread can only be had from that thread. It is sent a signal, whose
 * handler walks its stack into memory that is reserved for that; the walk allocates nothing once it
 * has been done before, which is why watchdog_start() does one. A thread that does not even take a
 * signal (stopped by a debugger, stuck in the kernel) is logged without a stack, with what the
 * kernel says that it waits in.
 *
 * The line goes past the log's buffer straight to standard error: the stalled thread may hold the
 * log's lock. For the same reason nothing here waits for a lock that a watched thread takes more
 * often than when it starts and ends. */
#include "base/watchdog.h"

#include "base/log.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FRAME_TEXT_MAX 96
#define STACK_TEXT_MAX 1400

static struct {
	enum watchdog_mode mode;
	pthread_mutex_t lock;
	struct list threads;
	pthread_cond_t ended;
	pthread_t thread;
	bool running;
	bool stopping;

	/* Filled by the handler in the thread that was asked. */
	void *frames[WATCHDOG_FRAMES_MAX];
	atomic_int frame_count;
	atomic_int asked; /* the tid that may fill it; 0: nobody */
} dog = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.threads = {&dog.threads, &dog.threads},
};

int watchdog_signal(void)
{
	return SIGRTMIN + 3;
}

static pid_t my_tid(void)
{
	return (pid_t)syscall(SYS_gettid);
}

static void on_signal(int number)
{
	int expected = (int)my_tid();
	int saved = errno;

	(void)number;
	if (atomic_compare_exchange_strong(&dog.asked, &expected, 0))
		atomic_store_explicit(&dog.frame_count, backtrace(dog.frames, WATCHDOG_FRAMES_MAX),
		                      memory_order_release);
	errno = saved;
}

static void pause_ms(long ms)
{
	const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

/* How many frames there are in dog.frames; 0: the thread did not answer. */
static int ask_for_stack(pid_t tid)
{
	int expected = (int)tid;
	int n = 0;

	atomic_store(&dog.frame_count, 0);
	atomic_store(&dog.asked, (int)tid);
	if (syscall(SYS_tgkill, getpid(), tid, watchdog_signal()) == 0) {
		for (int ms = 0; n == 0 && ms < WATCHDOG_STACK_MS; ms++) {
			pause_ms(1);
			n = atomic_load_explicit(&dog.frame_count, memory_order_acquire);
		}
	}
	/* One that comes too late finds itself unasked, unless it is writing just now. */
	if (n == 0 && !atomic_compare_exchange_strong(&dog.asked, &expected, 0)) {
		pause_ms(WATCHDOG_STACK_MS);
		n = atomic_load_explicit(&dog.frame_count, memory_order_acquire);
	}
	return n;
}

/* "function+0x12" where the symbol is known, always "file+0x1234", which addr2line reads. */
static int frame_format(const void *frame, char text[FRAME_TEXT_MAX])
{
	Dl_info info;
	const char *file;

	if (dladdr(frame, &info) == 0 || info.dli_fname == NULL)
		return snprintf(text, FRAME_TEXT_MAX, "%p", frame);
	file = strrchr(info.dli_fname, '/');
	file = file != NULL ? file + 1 : info.dli_fname;
	return snprintf(text, FRAME_TEXT_MAX, "%s+0x%zx%s%s%s", file,
	                (size_t)((const char *)frame - (const char *)info.dli_fbase),
	                info.dli_sname != NULL ? "(" : "",
	                info.dli_sname != NULL ? info.dli_sname : "",
	                info.dli_sname != NULL ? ")" : "");
}

static void log_stack(struct log_line *l, int count)
{
	char text[STACK_TEXT_MAX] = "";
	size_t len = 0;

	/* The first two are the handler and the frame that the kernel made for it. */
	for (int i = 2; i < count; i++) {
		char frame[FRAME_TEXT_MAX];
		int n = frame_format(dog.frames[i], frame);

		if (n >= FRAME_TEXT_MAX)
			n = FRAME_TEXT_MAX - 1;
		if (len + (size_t)n + 2 > sizeof(text))
			break;
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len > 0 ? " " : "",
		                        frame);
	}
	log_str(l, "stack", text);
}

/* What the kernel says of a thread that does not answer. */
static void log_wait(struct log_line *l, pid_t tid)
{
	char path[64], text[128] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/wchan", (int)tid);
	file = fopen(path, "re");
	if (file != NULL) {
		if (fgets(text, sizeof(text), file) == NULL)
			text[0] = '\0';
		fclose(file);
	}
	log_str(l, "stack", "unknown: the thread takes no signal");
	log_str(l, "kernel_wait", text[0] != '\0' ? text : "?");
}

static void log_stall(const struct heartbeat *h)
{
	int frames = ask_for_stack(h->tid);
	struct log_line l;

	log_begin(&l, LOG_ERROR, "thread_stalled");
	log_str(&l, "thread", h->name);
	log_int(&l, "tid", h->tid);
	log_uint(&l, "silent_ms", (uint64_t)h->silent * WATCHDOG_TICK_MS);
	log_str(&l, "action", dog.mode == WATCHDOG_ABORT ? "abort" : "log");
	if (frames > 0)
		log_stack(&l, frames);
	else
		log_wait(&l, h->tid);
	log_end_at_once(&l);
}

static void log_recovery(const struct heartbeat *h)
{
	struct log_line l;

	log_begin(&l, LOG_WARN, "thread_recovered");
	log_str(&l, "thread", h->name);
	log_int(&l, "tid", h->tid);
	log_uint(&l, "silent_ms", (uint64_t)h->silent * WATCHDOG_TICK_MS);
	log_end_at_once(&l);
}

static void look_at(struct heartbeat *h)
{
	uint64_t turns = atomic_load_explicit(&h->turns, memory_order_relaxed);

	if (turns != h->seen) {
		if (h->stalled)
			log_recovery(h);
		h->stalled = false;
		h->seen = turns;
		h->silent = 0;
		return;
	}
	h->silent++;
	if (h->silent >= WATCHDOG_STALL_TICKS && !h->stalled) {
		h->stalled = true;
		log_stall(h);
		if (dog.mode == WATCHDOG_ABORT)
			abort();
	} else if (h->wake != NULL) {
		h->wake(h->arg);
	}
}

static void *watch(void *arg)
{
	struct timespec next;

	(void)arg;
	pthread_setname_np(pthread_self(), "watchdog");
	pthread_mutex_lock(&dog.lock);
	while (!dog.stopping) {
		clock_gettime(CLOCK_MONOTONIC, &next);
		next.tv_sec += WATCHDOG_TICK_MS / 1000;
		while (!dog.stopping &&
		       pthread_cond_timedwait(&dog.ended, &dog.lock, &next) != ETIMEDOUT)
			;
		for (struct list *n = dog.threads.next; n != &dog.threads && !dog.stopping;
		     n = n->next)
			look_at(list_entry(n, struct heartbeat, node));
	}
	pthread_mutex_unlock(&dog.lock);
	return NULL;
}

int watchdog_start(enum watchdog_mode mode)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	sigset_t all, before;
	pthread_condattr_t monotonic;
	void *warm[2];
	int err;

	if (mode == WATCHDOG_OFF)
		return 0;
	(void)backtrace(warm, 2);
	sigfillset(&action.sa_mask);
	if (sigaction(watchdog_signal(), &action, NULL) != 0)
		return -errno;
	dog.mode = mode;
	dog.stopping = false;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&dog.ended, &monotonic);
	pthread_condattr_destroy(&monotonic);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&dog.thread, NULL, watch, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	dog.running = err == 0;
	return -err;
}

void watchdog_stop(void)
{
	if (!dog.running)
		return;
	pthread_mutex_lock(&dog.lock);
	dog.stopping = true;
	pthread_cond_signal(&dog.ended);
	pthread_mutex_unlock(&dog.lock);
	pthread_join(dog.thread, NULL);
	dog.running = false;
}

void heartbeat_begin(struct heartbeat *h, const char *name, void (*wake)(void *arg), void *arg)
{
	atomic_init(&h->turns, 0);
	snprintf(h->name, sizeof(h->name), "%s", name);
	h->tid = my_tid();
	h->wake = wake;
	h->arg = arg;
	h->seen = 0;
	h->silent = 0;
	h->stalled = false;
	pthread_mutex_lock(&dog.lock);
	list_push_back(&dog.threads, &h->node);
	pthread_mutex_unlock(&dog.lock);
}

void heartbeat_end(struct heartbeat *h)
{
	pthread_mutex_lock(&dog.lock);
	list_remove(&h->node);
	pthread_mutex_unlock(&dog.lock);
}
