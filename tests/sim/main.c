/* The simulator: `./dev sim --seed N`. Runs worlds, each made from a number of its own, and stops
 * at the first in which something is not as it must be; that number then tells the whole story
 * again with --trace. */
#include "base/hash.h"
#include "base/log.h"
#include "geo/special.h"
#include "world.h"

#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Chance alone is never so far off. */
#define FAIR_DEVIATIONS 4.5
/* Without any of the options: a few seconds. */
#define WORLDS 5000
#define JOBS_MOST 64

struct arguments {
	uint64_t seed;
	uint64_t worlds;
	unsigned jobs;
	bool one; /* seed is that of a world */
	bool trace;
};

_Noreturn static void usage(int status)
{
	fputs("usage: ./dev sim [--seed N] [--worlds N] [--jobs N]   N worlds, from that seed on\n"
	      "       ./dev sim --world N [--trace]                  one of them, and its story\n",
	      status == 0 ? stdout : stderr);
	exit(status);
}

static uint64_t number(const char *text)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 0);

	if (end == text || *end != '\0')
		usage(2);
	return n;
}

static struct arguments parse(int argc, char **argv)
{
	static const struct option known[] = {
		{"seed", required_argument, NULL, 's'},
		{"worlds", required_argument, NULL, 'n'},
		{"world", required_argument, NULL, 'w'},
		{"trace", no_argument, NULL, 't'},
		{"jobs", required_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct arguments a = {.seed = 1, .worlds = WORLDS, .jobs = (unsigned)get_nprocs()};
	int c;

	while ((c = getopt_long(argc, argv, "h", known, NULL)) != -1) {
		switch (c) {
		case 's':
			a.seed = number(optarg);
			break;
		case 'n':
			a.worlds = number(optarg);
			break;
		case 'j':
			a.jobs = (unsigned)number(optarg);
			break;
		case 'w':
			a.seed = number(optarg);
			a.one = true;
			a.worlds = 1;
			break;
		case 't':
			a.trace = true;
			break;
		default:
			usage(c == 'h' ? 0 : 2);
		}
	}
	if (a.one)
		a.jobs = 1;
	if (optind != argc || (a.trace && !a.one) || a.jobs < 1 || a.jobs > JOBS_MOST)
		usage(2);
	return a;
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void add(struct world_counts *sum, const struct world_counts *c)
{
	sum->clients += c->clients;
	sum->served += c->served;
	sum->refused += c->refused;
	sum->retries += c->retries;
	sum->waited += c->waited;
	sum->tables += c->tables;
	sum->decisions += c->decisions;
	sum->share_excess += c->share_excess;
	sum->share_variance += c->share_variance;
}

static void report(uint64_t worlds, const struct world_counts *sum, double took_s)
{
	printf("%llu worlds in %.1f s (%.0f a second): %llu clients, %llu served, %llu turned "
	       "away, "
	       "%llu retries, %llu waited, %llu tables, %llu decisions\n",
	       (unsigned long long)worlds, took_s, (double)worlds / took_s,
	       (unsigned long long)sum->clients, (unsigned long long)sum->served,
	       (unsigned long long)sum->refused, (unsigned long long)sum->retries,
	       (unsigned long long)sum->waited, (unsigned long long)sum->tables,
	       (unsigned long long)sum->decisions);
}

/* Among equals the weights are the odds. */
static bool shares_are_fair(const struct world_counts *sum)
{
	double off = sum->share_excess / sqrt(sum->share_variance + 1);

	printf("choices among equals: %.1f standard deviations from what their weights say\n", off);
	return fabs(off) < FAIR_DEVIATIONS;
}

/* The proxy's own lines are for proxies. */
static void silence_log(void)
{
	int fd = open("/dev/null", O_WRONLY);

	if (fd >= 0 && dup2(fd, STDERR_FILENO) >= 0)
		close(fd);
}

static struct world world;

/* A CHECK that fails in a world is a finding as well. */
static void on_abort(int number)
{
	char text[160];
	int n = snprintf(text, sizeof(text),
	                 "world %llu: a CHECK failed. The whole story: ./dev sim --world %llu "
	                 "--trace\n",
	                 (unsigned long long)world.seed, (unsigned long long)world.seed);

	(void)!write(STDOUT_FILENO, text, (size_t)n);
	signal(number, SIG_DFL);
}

/* Every jobs-th world from the first on. False: one of them is not as it must be, and that is told.
 */
static bool run_share(const struct arguments *a, uint64_t first, struct world_counts *sum)
{
	for (uint64_t i = first; i < a->worlds; i += a->jobs) {
		uint64_t seed = a->one ? a->seed : hash_mix(a->seed * 0x9e3779b97f4a7c15u + i);

		world_run(&world, seed, a->trace);
		add(sum, &world.counts);
		if (world.violation[0] == '\0')
			continue;
		printf("world %llu: %s\nThe whole story: ./dev sim --world %llu --trace\n",
		       (unsigned long long)seed, world.violation, (unsigned long long)seed);
		return false;
	}
	return true;
}

/* A process for each share; each writes what it has counted into its pipe. */
static void start_share(const struct arguments *a, uint64_t first, int pipe_fd)
{
	struct world_counts sum = {0};
	bool good;

	if (fork() != 0)
		return;
	good = run_share(a, first, &sum);
	fflush(stdout);
	if (write(pipe_fd, &sum, sizeof(sum)) != sizeof(sum))
		good = false;
	_exit(good ? 0 : 1);
}

static bool run_all(const struct arguments *a, struct world_counts *sum)
{
	struct world_counts counts;
	bool good = true;
	int status, fds[2];

	if (a->jobs == 1)
		return run_share(a, 0, sum);
	if (pipe(fds) != 0)
		return false;
	for (unsigned i = 0; i < a->jobs; i++)
		start_share(a, i, fds[1]);
	close(fds[1]);
	while (read(fds[0], &counts, sizeof(counts)) == sizeof(counts))
		add(sum, &counts);
	close(fds[0]);
	for (unsigned i = 0; i < a->jobs; i++)
		good &= wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	return good;
}

int main(int argc, char **argv)
{
	struct arguments a = parse(argc, argv);
	struct world_counts sum = {0};
	double began_s = now_s();

	special_init();
	signal(SIGABRT, on_abort);
	if (!a.trace)
		silence_log();
	if (!run_all(&a, &sum))
		return 1;
	report(a.worlds, &sum, now_s() - began_s);
	return shares_are_fair(&sum) ? 0 : 1;
}
