"""Where a scenario plays: its folder, its proxy, its backends, its ledger, its randomness."""

import contextlib
import os
import random
import shutil
import signal
import tempfile
from pathlib import Path

import harness
from harness import RoutingDb, until
from ledger import Ledger
from shim import Shim
from traffic import Crowd, Honest

SCENARIOS = {}


def scenario(function):
    """Each function with this mark is a scenario; its first line of documentation describes it."""
    SCENARIOS[function.__name__] = function
    return function


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    return False


class Stage:
    """short: a few seconds. scale: how much longer than usual (--minutes)."""

    def __init__(self, name, seed, short, scale, build):
        self.name, self.seed, self.short, self.scale, self.build = name, seed, short, scale, build
        self.folder = Path(tempfile.mkdtemp(prefix=f"chaos-{name}-"))
        self.rng = self.rng_for("scenario")
        self.ledger = Ledger()
        self.db = RoutingDb(self.folder / "routing.db")
        self.notes = []
        self.proxies = []
        self.others = []  # processes that followed a proxy
        self.peers = []
        self.killed = False

    def rng_for(self, who):
        return random.Random(f"{self.seed}:{self.name}:{who}")

    def rounds(self, short, usual):
        return short if self.short else max(1, int(usual * self.scale))

    def note(self, text):
        self.notes.append(text)

    def shim(self):
        return Shim(harness.BINARY, self.folder, self.build, self.seed)

    def start(self, prefix=(), wait_ready=True, **env):
        defaults = dict(EDGEPROXY_BINDING_TTL_SECS=0, EDGEPROXY_OUTLIER_CONSECUTIVE_FAILURES=0,
                        EDGEPROXY_RANDOM_SEED=self.seed % (1 << 32) or 1)
        proxy = harness.Proxy(self.db, {**defaults, **env}, prefix=prefix)
        self.proxies.append(proxy)
        if wait_ready:
            proxy.wait_event("ready")
        return proxy

    def peer(self, kind, *args, **how):
        self.peers.append(kind(*args, **how))
        return self.peers[-1]

    def honest(self, count=2, **how):
        """So many healthy backends in the routing database."""
        for number in range(count):
            self.db.add(f"good-{len(self.peers)}", self.peer(Honest, self.ledger, **how))

    def broken(self, kind, *args, **how):
        peer = self.peer(kind, *args, **how)
        self.db.add(f"{kind.__name__.lower()}-{len(self.peers)}", peer)
        return peer

    def crowd(self, addr, **how):
        return Crowd(self, addr, **how)

    def sessions(self):
        return [event for proxy in self.proxies for event in proxy.sessions()]

    def idle(self):
        """Nothing is open any more: the log has a line for each client of the ledger."""
        until(lambda: len(self.sessions()) >= self.ledger.tried, "a line for each client")

    def finish(self):
        """Stops everything, holds every run to what is true of each, and settles the ledger."""
        for pid in reversed(self.others):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in self.others:
            until(lambda: not alive(pid), f"the end of process {pid}")
        for proxy in self.proxies:
            try:
                proxy.stop()
            except AssertionError as error:
                self.ledger.problem(str(error))
            self._hold_to_log(proxy)
        self.ledger.settle(self.sessions(), windows_only=self.killed)

    @staticmethod
    def _trouble(proxy):
        return [line for line in proxy.log.lines if harness.TROUBLE.search(line)]

    def _hold_to_log(self, proxy):
        for line in self._trouble(proxy)[:3]:
            self.ledger.problem(f"on standard error: {line}")
        for event in proxy.log.find("log_dropped"):
            self.ledger.problem(f"the log lost {event['lines']} lines")

    def clear(self):
        for proxy in self.proxies:
            if proxy.process.poll() is None:
                proxy.process.kill()
                proxy.process.wait()
        for pid in self.others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for peer in self.peers:
            peer.close()
        shutil.rmtree(self.folder, ignore_errors=True)
