#!/usr/bin/env python3
"""What bad clients of the API cost clients of the proxy: the time of a ping through it while nothing
else happens, beside 1,000 slow clients of the API, and beside a flood of bad requests as well.

    tests/bench/api.py [--binary PATH] [--rounds 10] [--secs 2] [--clients 1000]

The three come in turn, round after round, so that what else happens on the machine meets all of
them; figures are medians of the rounds, with least and most. Who sends the bad requests is a process
of its own with the lowest priority, and still takes CPU time that a real attacker would not take from
this machine: the figures beside a flood are upper bounds."""

import argparse
import os
import pathlib
import signal
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "functional"))
import crowd  # noqa: E402
import harness  # noqa: E402
import stats  # noqa: E402
from peers import Echo  # noqa: E402

SETTLE_SECS = 1.0
SOURCES = tuple(f"127.0.1.{n}" for n in range(1, 17))
STATES = {"quiet": (), "slow clients": ("slow",), "slow clients and a flood": ("slow", "flood")}


def child(work):
    """Runs work() in a process of its own until it is killed."""
    pid = os.fork()
    if pid == 0:
        os.nice(19)
        with work:
            signal.pause()
    return pid


def crowd_of(addr, kinds, count):
    makers = {"slow": lambda: crowd.SlowClients(addr, count, SOURCES),
              "flood": lambda: crowd.Flood(addr, connections=4)}
    return [child(makers[kind]()) for kind in kinds]


def measure(proxy, addr, kinds, options):
    pids = crowd_of(addr, kinds, options.clients)
    try:
        time.sleep(SETTLE_SECS)
        with crowd.Pinger(lambda: proxy.connect("200.160.2.3"), pause_secs=0.001) as pinger:
            time.sleep(options.secs)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    if pinger.error:
        sys.exit(f"a ping was not answered: {pinger.error}")
    cuts = statistics.quantiles(pinger.times, n=100)
    return {"p50": cuts[49] * 1e6, "p99": cuts[98] * 1e6, "pings": len(pinger.times)}


def echo_process():
    """An echoing backend with an interpreter of its own, so that it waits for nobody's lock."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        peer = Echo()
        os.write(write, str(peer.addr[1]).encode())
        signal.pause()
    port = int(os.read(read, 16))
    os.close(read)
    os.close(write)
    return pid, port


def run(proxy, options):
    addr = harness.split_addr(proxy.wait_event("api_listening")["addr"])
    runs = {name: [] for name in STATES}
    for _ in range(options.rounds):
        for name, kinds in STATES.items():
            runs[name].append(measure(proxy, addr, kinds, options))
    print(f"ping through the proxy, microseconds: median (least–most) of {options.rounds} rounds")
    for name, found in runs.items():
        print(f"{name + ':':26} p50 {stats.spread(found, 'p50'):20} p99 {stats.spread(found, 'p99'):22}"
              f" pings a round {stats.figure(stats.median(found, 'pings'))}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default=ROOT / "build" / "edgeproxy")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--secs", type=float, default=2)
    parser.add_argument("--clients", type=int, default=1000)
    options = parser.parse_args()
    harness.BINARY = pathlib.Path(options.binary).resolve()
    if not harness.BINARY.exists():
        sys.exit(f"no binary {harness.BINARY}: ./dev build")
    with tempfile.TemporaryDirectory() as folder:
        pid, port = echo_process()
        db = harness.RoutingDb(f"{folder}/routing.db")
        db.add("echo", ("127.0.0.1", port))
        proxy = harness.Proxy(db, dict(
            EDGEPROXY_API_ENABLED="true", EDGEPROXY_API_LISTEN_ADDR="127.0.0.1:0"))
        try:
            proxy.wait_event("ready")
            run(proxy, options)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            proxy.stop()


if __name__ == "__main__":
    main()
