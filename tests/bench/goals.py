"""What the figures should reach: one row a goal, and how it came out."""

import dataclasses
import typing

import stats


@dataclasses.dataclass(frozen=True)
class Goal:
    figure: str
    than: str  # "H", "direct" …, or a unit: what the number is of
    at_most: bool
    bound: float
    measured: typing.Callable  # of the results; None where it was not measured
    # The same for a proxy that costs nothing, where the bench knows it: no goal beyond it can be met.
    at_best: typing.Callable = lambda results: None

    def text(self):
        sign = "≤" if self.at_most else "≥"
        times = f" × {self.than}" if self.than in PEER_OF else f" {self.than}".rstrip()
        return f"{sign} {stats.figure(self.bound)}{times}"

    def met(self, value):
        return value <= self.bound if self.at_most else value >= self.bound


PEER_OF = {"H": "haproxy", "H64": "haproxy64", "N": "nginx", "direct": "direct"}


def of_scenario(results, scenario, metric, peer="edgeproxy"):
    return stats.median(results["scenarios"].get(scenario, {}).get(peer, []), metric)


def against(figure, scenario, metric, than, sign, bound):
    """edgeProxy's median divided by a peer's."""
    def measured(results):
        ours = of_scenario(results, scenario, metric)
        theirs = of_scenario(results, scenario, metric, PEER_OF[than])
        return ours / theirs if ours is not None and theirs else None

    def at_best(results):
        """Where more is better: what is moved with nothing in between."""
        best = of_scenario(results, scenario, metric, "direct")
        theirs = of_scenario(results, scenario, metric, PEER_OF[than])
        return best / theirs if sign == ">" and best is not None and theirs else None

    return Goal(figure, than, sign == "<", bound, measured, at_best)


def of_idle(metric, peer="edgeproxy"):
    def measured(results):
        return stats.median(results.get("idle", {}).get(peer, []), metric)

    return measured


def idle_against_haproxy(results):
    ours, theirs = of_idle("both_b")(results), of_idle("both_b", "haproxy")(results)
    return ours / theirs if ours is not None and theirs else None


def idle_at_best(results):
    """Two sockets, which every proxy has, and no memory of its own."""
    sockets = of_idle("kernel_b", "haproxy")(results)
    theirs = of_idle("both_b", "haproxy")(results)
    return sockets / theirs if sockets is not None and theirs else None


def of_micro(name, scale=1):
    def measured(results):
        row = results.get("micro", {}).get(name)
        return row["median"] / scale if row else None

    return measured


def pick_around(results):
    """How much longer a pick takes with many others around it."""
    alone = of_micro("pick among 1000")(results)
    around = of_micro("pick among 1000, 96000 around")(results)
    return around / alone if alone and around else None


def reload_effect(results):
    return stats.median(results["reload"]["rounds"], "effect_ms") if "reload" in results else None


def reload_slowest(results):
    """What a reload adds to the slowest ping. The machine has hiccups of milliseconds of its own (other
    processes, threads of the kernel, the hypervisor), so each round takes off the slowest ping of as
    long a stretch just before it (the report shows both)."""
    if "reload" not in results:
        return None
    return stats.median(results["reload"]["rounds"], "added_ms")


def startup_ms(results):
    if "start" not in results:
        return None
    return 1000 * sorted(first for first, _ in results["start"])[len(results["start"]) // 2]


def size_mb(results):
    return results["size"]["without_geo"] / 1e6 if "size" in results else None


def fairness(results):
    return of_scenario(results, "fair64", "fairness")


BULK = "bulk, 8 streams, Gbit/s"
BULK_CPU = "bulk, proxy CPU seconds a GB"
MIXED = "p99 of 16 pings beside 8 bulk streams"
GOALS = (
    against(BULK, "bulk8", "gbit_s", "H", ">", 3.5),
    against(BULK, "bulk8", "gbit_s", "H64", ">", 2),
    against(BULK, "bulk8", "gbit_s", "N", ">", 3.5),
    against(BULK, "bulk8", "gbit_s", "direct", ">", 0.75),
    against(BULK_CPU, "bulk8", "cpu_s_gb", "H", "<", 0.27),
    against(BULK_CPU, "bulk8", "cpu_s_gb", "H64", "<", 0.45),
    against("bulk, 2 threads, 8 streams", "bulk8x2", "gbit_s", "direct", ">", 0.75),
    against("bulk, 2 threads, 64 streams", "bulk64x2", "gbit_s", "direct", ">", 0.75),
    Goal("fairness, least/most of 64 streams", "", False, 0.95, fairness),
    against("64 × 64 B ping-pong, CPU a request", "ping64", "cpu_us_each", "H", "<", 0.90),
    against("64 × 64 B ping-pong, CPU a request", "ping64", "cpu_us_each", "N", "<", 0.95),
    against("1,000 × 64 B ping-pong, CPU a request", "ping1000", "cpu_us_each", "H", "<", 0.75),
    against("1,000 × 64 B ping-pong, CPU a request", "ping1000", "cpu_us_each", "N", "<", 0.75),
    against("connect + request + close, CPU each", "churn", "cpu_us_each", "H", "<", 0.90),
    against("connect + request + close, CPU each", "churn", "cpu_us_each", "N", "<", 1.0),
    against(MIXED, "mixed", "p99_us", "H", "<", 1 / 5),
    against(MIXED, "mixed", "p99_us", "H64", "<", 1 / 30),
    against(MIXED, "mixed", "p99_us", "direct", "<", 1.5),
    against("bulk beside those pings, Gbit/s", "mixed", "gbit_s", "H", ">", 2.5),
    Goal("user memory of an idle connection", "B", True, 256, of_idle("user_b")),
    Goal("user and kernel memory of it", "H", True, 0.7, idle_against_haproxy, idle_at_best),
    Goal("memory left after 9,400 connections", "KB", True, 2000, of_idle("left_kb")),
    against("one connection, p50, spin option on", "onespin", "p50_us", "H", "<", 0.40),
    Goal("pick among 1,000 backends", "µs", True, 2, of_micro("pick among 1000", 1000)),
    Goal("pick among 10,000", "µs", True, 10, of_micro("pick among 10000", 1000)),
    Goal("pick among 100,000", "µs", True, 50, of_micro("pick among 100000", 1000)),
    Goal("pick among 1,000 with 96,000 others around, times alone", "", True, 1.2, pick_around),
    Goal("affinity hit among 1,000", "ns", True, 150, of_micro("affinity hit among 1000")),
    Goal("affinity hit among 1,000,000", "ns", True, 150, of_micro("affinity hit among 1000000")),
    Goal("geo lookup", "ns", True, 150, of_micro("geo lookup, IPv4")),
    Goal("1,000,000 bindings", "MB", True, 64, of_micro("memory of 1000000 bindings")),
    Goal("what a reload of 100,000 rows adds to the slowest ping", "ms", True, 2, reload_slowest),
    Goal("until that reload is in effect", "ms", True, 300, reload_effect),
    Goal("start to first accept", "ms", True, 30, startup_ms),
    Goal("stripped binary without the geo data", "MB", True, 1, size_mb),
)


def outcomes(results):
    """Goal, measured value and the best that there can be (or None), of each that was measured."""
    for goal in GOALS:
        value = goal.measured(results)
        if value is not None:
            yield goal, value, goal.at_best(results)


def best_text(best):
    return "" if best is None else stats.figure(best)


def lines(results):
    form = "{:<58}{:>16}{:>12}{:>10}  {}"
    rows = list(outcomes(results))
    if rows:
        yield form.format("figure", "goal", "measured", "at best", "")
    for goal, value, best in rows:
        yield form.format(goal.figure, goal.text(), stats.figure(value), best_text(best),
                          "met" if goal.met(value) else "NOT MET")
