#!/usr/bin/env python3
"""Measures edgeProxy against its peers and against a direct connection, side by side.

All run in one network namespace of their own, on loopback, in rounds: A B C D, A B C D … so that
what changes on the machine meanwhile meets all of them. A run that somebody else disturbed is
repeated, a bounded number of times. Figures are medians of the rounds, with least and most.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import goals
import memory
import micro
import peers
import reload
import report
import scenarios
import startup
import stats

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
INSIDE = "EDGEPROXY_BENCH_INSIDE"
REPEATS = 2  # of one noisy run, while there are any left
DIRECT_OFF = 0.40  # a round whose direct run is further from the median is repeated
# patience_s: for quiet and repeats, in all.
FULL = {"rounds": 10, "window": scenarios.Window(0.2, 0.8), "reloads": 10, "idle": 3, "starts": 21,
        "patience_s": 600}
QUICK = {"rounds": 3, "window": scenarios.Window(0.1, 0.2), "reloads": 3, "idle": 1, "starts": 7,
         "patience_s": 15}
PARTS = ("idle", "reload", "start", "micro")


def say(text=""):
    print(text, flush=True)


# ---- the network namespace ----


def sysctl(name, value):
    path = pathlib.Path("/proc/sys") / name.replace(".", "/")
    if path.exists():
        path.write_text(value)


def enter_namespace():
    """Runs this script again in a network namespace that ends with it; returns only in there."""
    if os.environ.get(INSIDE):
        return
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--net", *as_root, sys.executable, *sys.argv])


def set_up_namespace():
    ip = shutil.which("ip", path=os.environ["PATH"] + ":/sbin:/usr/sbin")
    subprocess.run([ip, "link", "set", "lo", "up"], check=True)
    subprocess.run([ip, "route", "add", "local", peers.CLIENT_NETWORK, "dev", "lo"], check=True)
    sysctl("net.ipv4.tcp_congestion_control", "reno")
    sysctl("net.ipv4.ip_local_port_range", "10000 65000")
    sysctl("net.ipv4.ip_local_reserved_ports",
           f"{peers.SERVER_PORT}-{peers.SERVER_PORT + peers.SERVER_PORTS - 1},{peers.PROXY_PORT}")
    sysctl("net.core.somaxconn", "4096")


# ---- rounds ----


def spin_variable(binary):
    """The option that lets a worker spin before it sleeps, as VARIABLE, or None."""
    text = subprocess.run([binary, "--help"], capture_output=True, text=True, check=True).stdout
    names = (word.strip(",:;()") for word in text.split() if word.startswith("EDGEPROXY_"))
    return next((name for name in names if "SPIN" in name or "BUSY" in name), None)


def setting_of(scenario, spin):
    return peers.Setting(
        threads=scenario.threads,
        pinned=scenario.pinned and len(peers.CPUS) > 1,
        env=((spin, "50"),) if scenario.spin else ())


def progress(text):
    if sys.stdout.isatty():
        print(f"\r\033[K{text}", end="", flush=True)


class Patience:
    """How long noise may be waited for and measured again in the whole run."""

    def __init__(self, seconds):
        self.left_s = seconds
        self.noisy = False

    def wait(self):
        """After a noisy run: until the machine is quiet."""
        began = time.monotonic()
        while self.noisy and time.monotonic() - began < self.left_s:
            self.noisy = scenarios.others_now() > scenarios.OTHERS_MAX
        self.left_s -= time.monotonic() - began

    def measured(self, run):
        """run(), again if it was noisy."""
        self.wait()
        result = run()
        for _ in range(REPEATS):
            self.noisy = result["noisy"]
            if not self.noisy or self.left_s <= 0:
                break
            began = time.monotonic()
            self.wait()
            result = run()
            self.left_s -= time.monotonic() - began
        return result


def one_round(load, scenario, chosen, setting, arguments):
    """Every peer once. Only the one that is measured runs."""
    row = {}
    for peer in chosen:
        peer.start(setting)
        try:
            load.place(peer.cpus_left(setting))
            row[peer.key] = arguments.patience.measured(
                lambda p=peer: load.run(scenario, p, arguments.window))
        finally:
            peer.stop()
    return row


def worst_round(rows):
    """The round whose direct run is too far from the median, or None."""
    values = [row["direct"] for row in rows if "direct" in row]
    key = next((k for k in ("gbit_s", "per_s") if values and k in values[0]), None)
    if key is None:
        return None
    median = statistics.median(value[key] for value in values)
    off = [abs(value[key] - median) / median for value in values]
    return off.index(max(off)) if max(off) > DIRECT_OFF else None


def run_scenario(load, scenario, all_peers, arguments):
    """Rows of results by peer, one a round."""
    chosen = [all_peers[key] for key in scenario.peers
              if key in arguments.peers and all_peers[key].available()]
    setting = setting_of(scenario, arguments.spin)
    rows = []
    try:
        for n in range(arguments.rounds):
            progress(f"{scenario.key}: round {n + 1} of {arguments.rounds}")
            rows.append(one_round(load, scenario, chosen, setting, arguments))
        for _ in range(arguments.rounds // 2):
            worst = worst_round(rows)
            if worst is None or arguments.patience.left_s <= 0:
                break
            rows[worst] = one_round(load, scenario, chosen, setting, arguments)
    finally:
        load.place(peers.CPUS)
        progress("")
    return {peer.key: [row[peer.key] for row in rows] for peer in chosen}


def print_scenario(scenario, results):
    say(f"{scenario.title}" + (f" ({scenario.threads} threads)" if scenario.threads > 1 else ""))
    for key, runs in results.items():
        noisy = sum(run["noisy"] for run in runs)
        text = "  ".join(f"{name} {stats.spread(runs, name)}" for name in scenario.metrics
                         if name in runs[0])
        say(f"  {key:<10} {text}" + (f"  ({noisy} of {len(runs)} noisy)" if noisy else ""))


# ---- all of it ----


def parse_arguments():
    names = [scenario.key for scenario in scenarios.SCENARIOS] + list(PARTS)
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true",
                        help="few short rounds, under two minutes; writes below build/ only")
    parser.add_argument("--only", help="comma-separated: " + ", ".join(names))
    parser.add_argument("--peers", default=",".join(scenarios.STREAM_PEERS),
                        help="comma-separated, default: %(default)s")
    parser.add_argument("--rounds", type=int, help=f"default {FULL['rounds']}")
    parser.add_argument("--time", type=float, help="seconds of a window")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "build" / "edgeproxy")
    parser.add_argument("--tools", type=pathlib.Path, default=ROOT / "build" / "tests" / "bench",
                        help="folder of bench-load and bench-micro")
    arguments = parser.parse_args()
    how = QUICK if arguments.quick else FULL
    arguments.window = scenarios.Window(how["window"].warm_s,
                                        arguments.time or how["window"].time_s)
    arguments.rounds = arguments.rounds or how["rounds"]
    arguments.how = how
    arguments.patience = Patience(how["patience_s"])
    arguments.partial = bool(arguments.only or arguments.peers != parser.get_default("peers"))
    arguments.only = arguments.only.split(",") if arguments.only else names
    arguments.peers = arguments.peers.split(",")
    unknown = set(arguments.only) - set(names) | set(arguments.peers) - set(scenarios.STREAM_PEERS)
    if unknown:
        parser.error("unknown: " + ", ".join(sorted(unknown)))
    return arguments


def measure(arguments, folder):
    binary = arguments.binary.resolve()
    arguments.spin = spin_variable(binary)
    all_peers = peers.all_peers(folder, binary)
    results = {"scenarios": {}, "spin": arguments.spin}
    load = scenarios.Load(arguments.tools.resolve() / "bench-load")
    try:
        for scenario in scenarios.SCENARIOS:
            if scenario.key not in arguments.only or scenario.spin and not arguments.spin:
                continue
            rows = run_scenario(load, scenario, all_peers, arguments)
            results["scenarios"][scenario.key] = rows
            print_scenario(scenario, rows)
        if "idle" in arguments.only:
            results["idle"] = memory.measure(load, all_peers, arguments)
            memory.show(results["idle"], say)
        if "reload" in arguments.only and "edgeproxy" in arguments.peers:
            results["reload"] = reload.measure(load, folder, binary, arguments.how["reloads"])
            reload.show(results["reload"], say)
    finally:
        load.stop()
    if "start" in arguments.only:
        results["start"] = startup.measure(binary, arguments.how["starts"])
        startup.show(results["start"], say)
    if "micro" in arguments.only:
        results["micro"] = micro.measure(arguments.tools.resolve() / "bench-micro", arguments.quick)
        micro.show(results["micro"], say)
        results["size"] = micro.binary_bytes(binary, ROOT)
    return results


def main():
    arguments = parse_arguments()
    binary = arguments.binary.resolve()
    enter_namespace()
    set_up_namespace()
    peers.limit_files()
    began = time.monotonic()
    memory_disk = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory_disk, prefix="edgeproxy-bench-") as folder:
        results = measure(arguments, folder)
    say()
    for line in goals.lines(results):
        say(line)
    results["seconds"] = time.monotonic() - began
    results["rounds"], results["window_s"] = arguments.rounds, arguments.window.time_s
    raw = ROOT / "build" / "bench"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "results.json").write_text(json.dumps(results, indent=1))
    if not arguments.partial:
        where = raw if arguments.quick else ROOT / "docs"
        report.write(results, where, binary)
        say(f"\n{(where / 'performance.md').relative_to(ROOT)} is written")
    say(f"{results['seconds']:.0f} s")


if __name__ == "__main__":
    main()
