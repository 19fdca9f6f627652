"""What is measured of the peers, one row a scenario, and how one run of it goes."""

import contextlib
import dataclasses
import json
import os
import pathlib
import struct
import subprocess
import time

import peers

STREAM_PEERS = ("direct", "edgeproxy", "haproxy", "haproxy64", "nginx", "nginx64")
SMALL_PEERS = ("direct", "edgeproxy", "haproxy", "nginx")
MIXED_PEERS = ("direct", "edgeproxy", "haproxy", "haproxy64", "nginx")

# A run in which others used more than so much of one CPU, or the hypervisor took so much away, is
# noisy.
OTHERS_MAX = 0.10
STOLEN_MAX = 0.03


@dataclasses.dataclass(frozen=True)
class Scenario:
    key: str
    title: str
    load: tuple  # of bench-load
    peers: tuple
    metrics: tuple  # names in the load generator's line, the first is the one for the plot
    threads: int = 1
    length: float = 1.0  # times the usual window
    pinned: bool = False  # the proxy on the last CPU, clients and backends on the others
    spin: bool = False
    awake: bool = False  # idle CPUs poll: else a hypervisor may take milliseconds to wake one


SCENARIOS = (
    Scenario("bulk8", "Bulk, 8 streams down", ("down", "--streams", "8"), STREAM_PEERS,
             ("gbit_s", "cpu_s_gb")),
    Scenario("bulk8up", "Bulk, 8 streams up", ("up", "--streams", "8"), STREAM_PEERS,
             ("gbit_s", "cpu_s_gb")),
    Scenario("bulk8x2", "Bulk, 8 streams down, 2 threads", ("down", "--streams", "8"), MIXED_PEERS,
             ("gbit_s", "cpu_s_gb"), threads=2),
    Scenario("bulk64x2", "Bulk, 64 streams down, 2 threads", ("down", "--streams", "64"),
             MIXED_PEERS, ("gbit_s", "cpu_s_gb"), threads=2),
    Scenario("fair64", "64 streams down: the slowest to the fastest", ("down", "--streams", "64"),
             MIXED_PEERS, ("fairness", "gbit_s", "cpu_s_gb"), length=2),
    Scenario("ping64", "64 connections, 64-byte ping-pong", ("ping", "--pings", "64"), SMALL_PEERS,
             ("cpu_us_each", "per_s", "p50_us", "p99_us"), pinned=True),
    Scenario("ping1000", "1,000 connections, 64-byte ping-pong", ("ping", "--pings", "1000"),
             SMALL_PEERS, ("cpu_us_each", "per_s", "p50_us", "p99_us"), pinned=True),
    Scenario("churn", "Connect, request, close; 64 at a time", ("churn", "--pings", "64"),
             SMALL_PEERS, ("cpu_us_each", "per_s", "p50_us", "p99_us"), pinned=True),
    Scenario("mixed", "16 pings, each 200 a second, beside 8 bulk streams",
             ("mixed", "--streams", "8", "--pings", "16", "--urgent", "--interval-us",
              "5000"), MIXED_PEERS,
             ("p99_us", "p50_us", "per_s", "gbit_s"), awake=True),
    Scenario("one", "One connection, ping-pong", ("ping", "--pings", "1"), SMALL_PEERS,
             ("p50_us", "p99_us"), pinned=True),
    Scenario("onespin", "One connection, ping-pong, edgeProxy with its spin option",
             ("ping", "--pings", "1"), ("direct", "edgeproxy", "haproxy", "nginx"),
             ("p50_us", "p99_us"), pinned=True, spin=True),
)


def cpu_times():
    """Seconds that all CPUs were busy, and that the hypervisor took away."""
    fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[:8])
    tick = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / tick, steal / tick


@contextlib.contextmanager
def awake(wanted):
    """Idle CPUs poll meanwhile, where the kernel and our rights allow it (PM QoS)."""
    try:
        device = os.open("/dev/cpu_dma_latency", os.O_WRONLY) if wanted else None
    except OSError:
        device = None
    try:
        if device is not None:
            os.write(device, struct.pack("i", 0))
        yield
    finally:
        if device is not None:
            os.close(device)


def others_now():
    """How much of a CPU is in use, while nothing of ours is."""
    busy, _ = cpu_times()
    began = time.monotonic()
    time.sleep(0.2)
    return (cpu_times()[0] - busy) / (time.monotonic() - began)


@dataclasses.dataclass(frozen=True)
class Window:
    warm_s: float
    time_s: float


class Load:
    """The load generator: its server for the whole bench, and its clients."""

    def __init__(self, binary):
        self.binary = binary
        self.server = subprocess.Popen(
            [binary, "serve", str(peers.SERVER_PORT), str(peers.SERVER_PORTS)])
        for port in range(peers.SERVER_PORTS):
            peers.wait_for_port(peers.SERVER_PORT + port, self.server, "the backend")

    def stop(self):
        peers.end(self.server)

    def command(self, peer, *words):
        watched = [word for pid in peer.pids for word in ("--watch", str(pid))]
        return [self.binary, *words, "--to", f"127.0.0.1:{peer.port}", "--source", peers.CLIENTS,
                *watched]

    def place(self, cpus):
        os.sched_setaffinity(0, cpus)
        for task in pathlib.Path(f"/proc/{self.server.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cpus)

    def urgent(self, on):
        """Whether the backend's interactive thread goes before its bulk thread, and all others."""
        try:
            policy = os.SCHED_FIFO if on else os.SCHED_OTHER
            os.sched_setscheduler(self.server.pid, policy, os.sched_param(1 if on else 0))
        except PermissionError:
            pass

    def run(self, scenario, peer, window):
        """One run: what the client printed, and whether others disturbed it."""
        words = [*scenario.load, "--warm", str(window.warm_s), "--time",
                 str(window.time_s * scenario.length)]
        busy, stolen = cpu_times()
        ours = peers.cpu_s([self.server.pid, os.getpid(), *peer.pids])
        children = sum(os.times()[2:4])
        began = time.monotonic()
        self.urgent("--urgent" in words)
        with awake(scenario.awake):
            done = subprocess.run(self.command(peer, *words), stdout=subprocess.PIPE, check=True,
                                  timeout=window.time_s * scenario.length + 60)
        wall = time.monotonic() - began
        ours = peers.cpu_s([self.server.pid, os.getpid(), *peer.pids]) - ours
        ours += sum(os.times()[2:4]) - children
        later, stolen_later = cpu_times()
        result = json.loads(done.stdout)
        result["others"] = max(0.0, later - busy - ours) / wall
        result["stolen"] = (stolen_later - stolen) / wall
        result["noisy"] = result["others"] > OTHERS_MAX or result["stolen"] > STOLEN_MAX
        return result
