"""Floods, churn, and processes killed in the middle of an upgrade."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from harness import until
from shim import HERE, compile_c
from stage import alive, scenario

# A usual POP has this many new connections a second.
USUAL_RATE = 100
HOUR = 3600 * USUAL_RATE
# Ends of the pipes that two workers keep for splicing, 16 each (src/proxy/pipe_pool.h).
KEPT_PIPE_ENDS = 2 * 16 * 2
LONG = dict(EDGEPROXY_HARD_STOP_AFTER_SECS=3600, EDGEPROXY_SHUTDOWN_TIMEOUT_SECS=1)


class Storm:
    """The C program's backends, and runs of its clients."""

    def __init__(self, stage, ports, hold_ms, **row):
        self.stage = stage
        self.program = compile_c(HERE / "storm.c", stage.build / "chaos-storm")
        self.server = subprocess.Popen([self.program, "serve", str(ports), str(hold_ms)], text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for number, port in enumerate(self.server.stdout.readline().split()):
            stage.db.add(f"storm-{number}", ("127.0.0.1", int(port)), **row)

    def run(self, addr, count, at_once, rate=0, reset_every=0):
        """Adds what became of them to the ledger, but for those refused: for the caller to judge."""
        done = subprocess.run([self.program, "run", str(addr[1]), *map(str, (
            count, at_once, rate, reset_every))], text=True, capture_output=True, check=True)
        told = json.loads(done.stdout)
        ledger = self.stage.ledger
        ledger.tried += told["tried"]
        ledger.completed += told["completed"]
        ledger.faulted += told["aborted"]
        ledger.reasons["clients that reset"] += told["aborted"]
        ledger.bytes_compared += told["completed"] * 512
        ledger.bytes_sent += (told["completed"] + told["aborted"]) * 512
        ledger.bytes_received += told["completed"] * 512
        for bad in ("cut", "wrong", "stalled", "not_connected"):
            if told[bad]:
                ledger.lose(f"{told[bad]} clients {bad}", told[bad])
        return told

    def end(self):
        """The most connections that each backend had at one time."""
        most, _ = self.server.communicate(timeout=30)
        return [int(n) for n in most.split()]


@scenario
def ten_thousand_connects(stage):
    """in about a second, against hard limits, a queue and max-conn: served or refused as configured"""
    limit, reasons = 300, ("backends-full", "queue-full", "queue-timeout")
    count = 10_000
    storm = Storm(stage, 4, 250, soft_limit=limit, hard_limit=limit)
    proxy = stage.start(EDGEPROXY_TRUSTED_PROXIES="unset", EDGEPROXY_MAX_CONN=6000,
                        EDGEPROXY_QUEUE_MAX=800, EDGEPROXY_QUEUE_TIMEOUT_MS=700)
    for _ in range(stage.rounds(1, 3)):
        mark = len(proxy.sessions())
        told = storm.run(proxy.addr, count, count, rate=10_000)
        until(lambda: len(proxy.sessions()) >= mark + count, "a line for each")
        said = sum(e["reason"] in reasons for e in proxy.sessions()[mark:])
        stage.ledger.limited += told["refused"]
        if told["refused"] != said:
            stage.ledger.lose(f"{told['refused']} refused, of {said} of whom the log says why",
                              abs(told["refused"] - said))
        stage.note(f"{count} connects in {told['connect_ms']} ms: {told['completed']} served, "
                   f"{told['refused']} refused")
    most = storm.end()
    assert max(most) <= limit, f"the hard limit is {limit}, backends had {most}"
    assert said, "no limit was ever reached"
    stage.note(f"most at a backend at one time: {max(most)} of {limit}")


def private_bytes(pid):
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * sum(int(n) for n in re.findall(r"Private_\w+:\s+(\d+) kB", text))


@scenario
def an_hour_of_churn(stage):
    """as many connections as an hour brings, some reset: descriptors and memory are as before"""
    count = HOUR // 90 if stage.short else int(HOUR * stage.scale)
    storm = Storm(stage, 8, 0)
    stage.db.add("refuses", ("127.0.0.1", 9))
    proxy = stage.start(wait_ready=False, EDGEPROXY_TRUSTED_PROXIES="unset",
                        EDGEPROXY_LOG_LEVEL="error",
                        EDGEPROXY_OUTLIER_CONSECUTIVE_FAILURES="unset")
    addr = (0, until(lambda: listening_port(proxy.pid), "a listener"))
    until(lambda: proxy.thread_count() >= 6, "all threads")
    at_once = 100

    def run(how_many):
        told = storm.run(addr, how_many, at_once, reset_every=7)
        if told["refused"]:
            stage.ledger.lose(f"{told['refused']} refused", told["refused"])
        return told

    quiet, pipes = descriptors(proxy.pid)  # before the first client
    if "EDGEPROXY_RELAY_MODE=copy" not in os.environ.get("EDGEPROXY_TEST_EVERYWHERE", ""):
        pipes += KEPT_PIPE_ENDS
    run(count // 8)  # what is taken once and kept: memory, and a few pipes for splicing
    until(lambda: descriptors(proxy.pid)[0] <= quiet, "descriptors as before the warm-up")
    before = private_bytes(proxy.pid)
    told = run(count - count // 8)
    until(lambda: descriptors(proxy.pid)[0] <= quiet, f"{quiet} descriptors again")
    until(lambda: descriptors(proxy.pid)[1] <= pipes, "no more pipes than are kept")
    after = private_bytes(proxy.pid)
    stage.note(f"{count} connections = {count / USUAL_RATE / 60:.1f} minutes at {USUAL_RATE} a second, "
               f"in {told['total_ms'] / 1000:.0f} s; {quiet} descriptors before and after; private "
               f"memory {before >> 10} kB, then {after >> 10} kB")
    if not proxy.sanitized():
        assert after - before < 1 << 20, f"{after - before} bytes more"
    storm.end()


def descriptors(pid):
    """How many there are, but for pipes; and how many ends of pipes."""
    pipes = others = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{fd}").startswith("pipe:"):
                pipes += 1
            else:
                others += 1
    return others, pipes


def listening_port(pid):
    """From the kernel, since at this level the log does not tell."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        cells = line.split()
        if cells[3] == "0A" and f"socket:[{cells[9]}]" in inodes:
            return int(cells[1].split(":")[1], 16)
    return 0


def upgraded(proxy, mark):
    return proxy.log.find("retired", since=mark)


@scenario
def the_new_one_is_killed(stage):
    """kill -9 of the new process at some moment of the upgrade: the old one goes on, nobody is lost"""
    stage.killed = True
    stage.honest(3)
    for number in range(stage.rounds(6, 40)):
        proxy = stage.start(**LONG)
        kill_new(stage, proxy, 10 ** stage.rng.uniform(-4.5, -2))
        proxy.stop()


def kill_new(stage, proxy, delay):
    addr = proxy.addr
    with stage.crowd(addr, threads=4) as crowd:
        crowd.until_more(8)
        mark = proxy.mark()
        proxy.sighup()  # whatever the old one was about to do
        proxy.kill(signal.SIGUSR2)
        new = int(proxy.wait_event("upgrade_started", since=mark)["successor"])
        stage.others.append(new)
        began = time.monotonic()
        until(lambda: time.monotonic() - began > delay, "its moment", pause=0.0005)
        began = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(new, signal.SIGKILL)
        until(lambda: not alive(new), "its end")
        until(lambda: upgraded(proxy, mark) or proxy.log.find("upgrade_failed", since=mark),
              "the old one's decision")
        if not upgraded(proxy, mark):
            crowd.until_more(8)
            stage.note(f"killed after {delay * 1000:.0f} ms: the old one went on")
    if upgraded(proxy, mark):  # it was the only one that served: this is no upgrade any more
        stage.ledger.window(began)
        stage.note(f"killed after {delay * 1000:.0f} ms: it had taken over")


@scenario
def the_old_one_is_killed(stage):
    """kill -9 of the old process during and after the upgrade: only what it still held ends"""
    stage.killed = True
    stage.honest(3)
    from harness import PortHolder, join_addr
    for number in range(stage.rounds(3, 30)):
        holder = PortHolder()
        proxy = stage.start(EDGEPROXY_LISTEN_ADDR=join_addr(holder.addr), **LONG)
        with stage.crowd(proxy.addr, threads=4) as crowd:
            kill_old(stage, proxy, crowd, when=("retired", "started")[number % 2])
        os.kill(stage.others[-1], signal.SIGTERM)
        until(lambda: not alive(stage.others[-1]), "the end of the new one")
        proxy.log.join()
        proxy.stopped = True
        holder.close()


def kill_old(stage, proxy, crowd, when):
    crowd.until_more(8)
    mark = proxy.mark()
    proxy.kill(signal.SIGUSR2)
    new = int(proxy.wait_event("upgrade_started", since=mark)["successor"])
    stage.others.append(new)
    if when == "retired":
        proxy.wait_event("retired", since=mark)
    else:
        delay, began = stage.rng.uniform(0, 0.02), time.monotonic()
        until(lambda: time.monotonic() - began > delay, "its moment", pause=0.0005)
    began = time.monotonic()
    proxy.process.kill()
    proxy.process.wait()
    if when == "retired":  # the new one accepts: nobody new may be lost from now on
        stage.ledger.window(began)
    proxy.wait_event("ready", since=mark)
    if when != "retired":
        stage.ledger.window(began)
    crowd.until_more(12)
