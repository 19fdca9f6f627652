"""docs/performance.md and its plots, from the results of a run. Nothing in it is written by hand."""

import os
import pathlib
import platform
import re
import subprocess

import goals
import memory
import micro
import peers
import reload
import scenarios
import stats

PLOTS = "performance"
COLOURS = {"direct": "#9e9e9e", "edgeproxy": "#1565c0", "haproxy": "#e6862e", "haproxy64": "#f3bd84",
           "nginx": "#2e9e5b", "nginx64": "#93d1aa"}
TITLES = {"direct": "direct", "edgeproxy": "edgeProxy", "haproxy": "HAProxy",
          "haproxy64": "HAProxy tuned", "nginx": "nginx", "nginx64": "nginx tuned"}
METRICS = {
    "gbit_s": "Gbit/s", "cpu_s_gb": "proxy CPU, s/GB", "fairness": "slowest/fastest",
    "cpu_us_each": "proxy CPU, µs each", "per_s": "a second", "p50_us": "p50, µs", "p99_us": "p99, µs",
}
MORE_IS_BETTER = {"gbit_s", "per_s", "fairness"}


def output_of(*command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError:
        return ""
    return done.stdout


def first_match(pattern, text, default="?"):
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1).strip() if found else default


def table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


# ---- parts of the page ----


def machine():
    cpu = first_match(r"^model name\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text())
    kb = int(first_match(r"^MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text(), "0"))
    system = first_match(r'^PRETTY_NAME="(.*)"', pathlib.Path("/etc/os-release").read_text())
    kernel = first_match(r"^(\d+\.\d+\.\d+)", platform.release())
    return (f"{os.cpu_count()} CPUs ({cpu}), {kb / 2**20:.0f} GiB of memory, {system}, "
            f"Linux {kernel}")


def versions(binary):
    return {
        "edgeProxy": first_match(r"(\d+\.\d+\.\d+)", output_of(binary, "--version")),
        "HAProxy": first_match(r"version (\S+)", output_of("haproxy", "-v")),
        "nginx": first_match(r"nginx/(\S+)", output_of("nginx", "-v")),
    }


def goal_rows(results):
    for goal, value, best in goals.outcomes(results):
        yield (goal.figure, goal.text(), stats.figure(value), goals.best_text(best),
               "met" if goal.met(value) else "**not met**")


def losses(results):
    """Where a peer's median is better than ours, for the first metric of each scenario."""
    for scenario in scenarios.SCENARIOS:
        runs = results["scenarios"].get(scenario.key, {})
        for metric in scenario.metrics:
            ours = stats.median(runs.get("edgeproxy", []), metric)
            for peer in runs:
                theirs = stats.median(runs[peer], metric)
                if peer in ("direct", "edgeproxy") or not ours or not theirs:
                    continue
                ratio = theirs / ours if metric in MORE_IS_BETTER else ours / theirs
                if ratio > 1.02:
                    yield (f"* {scenario.title}, {METRICS[metric]}: {TITLES[peer]} is better by "
                           f"{100 * (ratio - 1):.0f} %")


def scenario_part(scenario, runs):
    yield f"### {scenario.title}"
    yield ""
    names = [name for name in scenario.metrics if any(name in rows[0] for rows in runs.values())]
    head = ["", *(METRICS[name] for name in names), "noisy rounds"]
    rows = []
    for key, found in runs.items():
        cells = ["–" if key == "direct" and name.startswith("cpu") else stats.spread(found, name)
                 for name in names]
        rows.append((TITLES[key], *cells, f"{sum(run['noisy'] for run in found)} of {len(found)}"))
    yield from table(head, rows)


def idle_part(results):
    yield f"### {memory.CONNECTIONS:,} idle connections"
    yield ""
    rows = []
    for key, runs in results.items():
        direct = key == "direct"
        rows.append((TITLES[key], "–" if direct else stats.spread(runs, "user_b"),
                     stats.spread(runs, "slab_b") if direct else stats.spread(runs, "kernel_b"),
                     "–" if direct else stats.spread(runs, "left_kb")))
    yield from table(("", "user, B each", "kernel, B each", "left after they closed, KB"), rows)
    yield ("User: growth of private, written-to memory. Kernel: growth of the slabs that sockets are made of, less the "
           "direct connections' (which are shown as they are). Each connection carried one ping; the "
           f"first {memory.FIRST:,} are not counted, since they touch what all share.")
    yield ""


def reload_part(results):
    rounds = results["rounds"]
    yield f"### Reload of {reload.ROWS:,} rows under load"
    yield ""
    yield from table(("", "ms"), (
        ("from commit to in effect", stats.spread(rounds, "effect_ms")),
        ("slowest ping meanwhile", stats.spread(rounds, "slowest_ms")),
        ("slowest ping in as long a time just before", stats.spread(rounds, "quiet_ms")),
        ("added by the reload", stats.spread(rounds, "added_ms")),
    ))
    yield (f"{reload.CONNECTIONS} connections, each a ping every {reload.INTERVAL_US / 1000:g} ms; "
           f"{len(rounds)} changes of one row; p50 {stats.figure(results['p50_us'])} µs, p99 "
           f"{stats.figure(results['p99_us'])} µs over all of it.")
    yield ""


def start_part(results):
    yield "### Start and size"
    yield ""
    named = [{"connect_ms": 1000 * a, "byte_ms": 1000 * b} for a, b in results["start"]]
    rows = [("cold start until a client is connected, ms", stats.spread(named, "connect_ms")),
            ("until it has the backend's first byte, ms", stats.spread(named, "byte_ms"))]
    if "size" in results:
        rows += [("binary, stripped, KB", stats.figure(results["size"]["stripped"] / 1000)),
                 ("of which not geo data, KB", stats.figure(results["size"]["without_geo"] / 1000))]
    yield from table(("", ""), rows)


def micro_part(rows):
    yield "### Parts"
    yield ""
    yield from table(("", "median (least–most)"),
                     ((name, micro.row_text(row)) for name, row in rows.items()))


def method(results):
    yield "## How it was measured"
    yield ""
    yield (f"`./dev bench`; {results['rounds']} rounds, each peer once a round in turn "
           f"(A B C D, A B C D …), {results['window_s']:g} s a window after a warm-up. Figures are "
           "medians (least–most). Everything runs on loopback in one network namespace: congestion "
           "control reno for all, a wide `ip_local_port_range`, the listening ports reserved, and the "
           "server closes first. The load generator (`tests/bench/load.c`) is one process for all "
           "clients and one for all backends, with a thread each for bulk and for pings. Clients have "
           "200 public addresses that are routed to loopback, so that each connection is looked up in "
           "the country database.")
    yield ""
    yield ("CPU is read from the process clock of every process of a proxy, its log thread included, "
           "at both ends of the window. A run in which other processes used more than "
           f"{100 * scenarios.OTHERS_MAX:.0f} % of a CPU, or the hypervisor took more than "
           f"{100 * scenarios.STOLEN_MAX:.0f} %, is repeated at most twice and counted as noisy if that "
           "did not help.")
    yield ""
    yield ("The CPUs are shared by clients, proxy and backends. Bulk runs wherever the kernel puts the "
           "threads; in ping-pong and connections the proxy has the last CPU and clients and backends "
           "have the others, since otherwise chance decides who pays for the kernel's work (direct: "
           "all CPUs). Bulk is discarded inside the kernel by whoever receives it (`MSG_TRUNC`). The "
           "pings beside bulk have a rate of their own, and in the load generator they go before bulk "
           "(`SCHED_FIFO`; its bulk yields; the proxies are ordinary processes), so that what is seen "
           "is the proxy; idle CPUs poll meanwhile (`/dev/cpu_dma_latency`), since a hypervisor may "
           "take milliseconds to wake one. All of it is the same for all.")
    yield ""


def configurations(results, folder):
    yield "## Configurations"
    yield ""
    edge = peers.EdgeProxy(folder, None)
    edge.database = lambda: pathlib.Path("routing.db")
    values = edge.settings(peers.Setting())
    yield ("edgeProxy, with four backends in routing.db, logging one line a connection to a file; "
           f"everything else as it is by default{', with ' + results['spin'] + '=50 where it says spin' if results['spin'] else ''}:")
    yield ""
    yield "```\n" + "\n".join(f"{name}={value}" for name, value in values.items()) + "\n```"
    yield ""
    for title, peer in (("HAProxy", peers.HaProxy), ("HAProxy tuned", peers.HaProxyTuned),
                        ("nginx", peers.Nginx), ("nginx tuned", peers.NginxTuned)):
        made = peer(".")
        text = re.sub(r"^load_module .*/", "load_module modules/", made.config(1), flags=re.MULTILINE)
        text = re.sub(r"\n\n+", "\n", text).strip()
        yield f"<details><summary>{title}</summary>\n\n```\n{text}\n```\n\n</details>\n"
    yield ("The peers' defaults are Debian's, with the limits raised to hold the connections of these "
           "scenarios, and a log line a connection into a file. Two threads: `nbthread 2`, "
           "`worker_processes 2`, `EDGEPROXY_WORKERS=2`.")
    yield ""


# ---- plots ----


def bars(axis, groups, results, metric):
    """Groups of bars, one a peer, with least and most as a line."""
    keys = [key for key in TITLES if any(key in results.get(group, {}) for group, _ in groups)]
    if metric.startswith("cpu"):
        keys.remove("direct")
    width = 0.8 / len(keys)
    for n, key in enumerate(keys):
        for place, (group, _) in enumerate(groups):
            found = stats.values(results.get(group, {}).get(key, []), metric)
            if not found:
                continue
            middle = stats.median([{metric: v} for v in found], metric)
            axis.bar(place + (n - (len(keys) - 1) / 2) * width, middle, width * 0.92,
                     color=COLOURS[key], label=TITLES[key],
                     yerr=[[middle - min(found)], [max(found) - middle]],
                     error_kw={"linewidth": 0.8, "ecolor": "#444444"})
    axis.set_xticks(range(len(groups)), [label for _, label in groups])
    axis.spines[["top", "right"]].set_visible(False)
    handles = dict(zip(*reversed(axis.get_legend_handles_labels())))
    axis.legend(handles.values(), handles.keys(), frameon=False, fontsize=8, loc="upper left",
                bbox_to_anchor=(1, 1))


PLOT_ROWS = (
    ("bulk", "Bulk, Gbit/s (more is better)", "gbit_s", False,
     (("bulk8", "8 down"), ("bulk8up", "8 up"), ("bulk8x2", "8 down,\n2 threads"),
      ("bulk64x2", "64 down,\n2 threads"), ("mixed", "8 down beside\n16 pings"))),
    ("cpu", "Proxy CPU, µs each (less is better)", "cpu_us_each", False,
     (("ping64", "ping-pong,\n64 connections"), ("ping1000", "ping-pong,\n1,000 connections"),
      ("churn", "connect, request,\nclose"))),
    ("latency", "p99 of a ping, µs (less is better, logarithmic)", "p99_us", True,
     (("mixed", "16 beside\n8 bulk streams"), ("ping64", "64 connections"), ("one", "1 connection"))),
)


def plot(results, folder):
    """The names of the plots, or none where there is no matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("Agg")
    from matplotlib import pyplot
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, title, metric, logarithmic, groups in PLOT_ROWS:
        groups = [group for group in groups if group[0] in results["scenarios"]]
        if not groups:
            continue
        figure, axis = pyplot.subplots(figsize=(8, 3.4), dpi=90)
        bars(axis, groups, results["scenarios"], metric)
        axis.set_title(title, fontsize=10, loc="left")
        if logarithmic:
            axis.set_yscale("log")
        figure.tight_layout()
        figure.savefig(folder / f"{name}.png", metadata={"Software": None})
        pyplot.close(figure)
        made.append((name, title))
    return made


# ---- the page ----


def page(results, binary, plots):
    found = versions(binary)
    yield "# Performance"
    yield ""
    yield ("Written by `./dev bench`: edgeProxy beside HAProxy, nginx (stream) and a direct "
           "connection, measured in one interleaved run.")
    yield ""
    yield f"{machine()}. " + ", ".join(f"{name} {number}" for name, number in found.items()) + "."
    yield ""
    yield "## Goals"
    yield ""
    yield ("H: HAProxy with Debian's defaults, H64: tuned, N: nginx with Debian's defaults; one proxy "
           "thread unless said. Measured: the ratio of the medians, or the median. At best: the same for a "
           "proxy that costs nothing, where the bench knows it, that is with nothing between the "
           "clients and the backends, or with the memory of the two sockets alone.")
    yield ""
    rows = list(goal_rows(results))
    yield from table(("figure", "goal", "measured", "at best", ""), rows)
    yield f"{sum(row[4] == 'met' for row in rows)} of {len(rows)} met."
    yield ""
    worse = list(losses(results))
    yield "## Where a peer is better"
    yield ""
    yield from worse or ["Nowhere in this run (by more than 2 % of a median)."]
    yield ""
    yield from method(results)
    yield "## Figures"
    yield ""
    for name, title in plots:
        yield f"![{title}]({PLOTS}/{name}.png)"
        yield ""
    for scenario in scenarios.SCENARIOS:
        if scenario.key in results["scenarios"]:
            yield from scenario_part(scenario, results["scenarios"][scenario.key])
    for key, part in (("idle", idle_part), ("reload", reload_part), ("micro", micro_part)):
        if key in results:
            yield from part(results[key])
    if "start" in results:
        yield from start_part(results)
    yield from configurations(results, ".")


def write(results, folder, binary):
    plots = plot(results, folder / PLOTS)
    text = "\n".join(page(results, binary, plots)).rstrip() + "\n"
    (folder / "performance.md").write_text(text)
