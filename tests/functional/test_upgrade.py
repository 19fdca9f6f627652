"""SIGUSR2: a new process takes over, and nobody notices."""

import contextlib
import hashlib
import os
import select
import selectors
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import wire
from harness import BINARY, BR, PATIENCE_SECS, US, PortHolder, join_addr, run_cli, split_addr, until
from peers import Blackhole, Identity
from test_api import LOOPBACK, Api
from test_one_batch import is_idle

LONG = dict(EDGEPROXY_HARD_STOP_AFTER_SECS=3600, EDGEPROXY_SHUTDOWN_TIMEOUT_SECS=1)


def process_state(pid):
    """Its letter of /proc/PID/stat; "": there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return ""


def alive(pid):
    return process_state(pid) not in ("", "Z", "X")


class Generations:
    """The process that `start` made and those that follow it. They share its standard error, so
    one log has the lines of all."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.pids = [proxy.pid]
        self.addr = proxy.addr

    @property
    def newest(self):
        return self.pids[-1]

    def ask(self, pid=None):
        os.kill(pid or self.newest, signal.SIGUSR2)

    def upgrade(self):
        """One that must succeed: returns the new pid."""
        mark = self.proxy.mark()
        old = self.newest
        self.ask()
        self.proxy.wait_event("retired", lambda e: e["pid"] == str(old), since=mark)
        took = self.proxy.wait_event("took_over", lambda e: e["predecessor"] == str(old), since=mark)
        self.proxy.wait_event("ready", since=mark)
        self.pids.append(int(took["pid"]))
        return self.newest

    def fail(self):
        """One that must fail."""
        mark = self.proxy.mark()
        self.ask()
        started = self.proxy.wait_event("upgrade_started", since=mark)
        failed = self.proxy.wait_event("upgrade_failed", since=mark)
        assert not self.proxy.log.find("retired", since=mark)
        until(lambda: not alive(int(started["successor"])), "the end of the new process")
        return failed

    def end(self, pid):
        until(lambda: not alive(pid), f"the end of {pid}")

    def stop(self):
        for pid in reversed(self.pids[1:]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in self.pids[1:]:
            self.end(pid)


@pytest.fixture
def generations(start):
    """generations(...) starts a proxy as `start` does; all that follow it are ended as well."""
    made = []

    def make(**env):
        made.append(Generations(start(**{**LONG, **env})))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def binary_to_replace(tmp_path, monkeypatch):
    """A copy of the program, at a path where a test can put another."""
    import harness
    path = tmp_path / "edgeproxy-current"
    path.symlink_to(BINARY)
    monkeypatch.setattr(harness, "BINARY", path)
    return path


def replace(path, target=None, script=None):
    path.unlink()
    if target:
        path.symlink_to(target)
    elif script:
        path.write_text(script)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.concurrency
def test_takes_over(db, generations, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    g = generations()
    with g.proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        new = g.upgrade()
        assert alive(g.pids[0])
        for _ in range(20):
            sock.sendall(b"still here")
            assert wire.read_exactly(sock, 10) == b"still here"
        with g.proxy.connect(BR, to=g.addr) as other:
            assert other.recv(100) == b"sa-1\n"
        sock.shutdown(socket.SHUT_WR)
        assert wire.read_all(sock) == b""
    assert g.proxy.process.wait(60) == 0
    g.proxy.wait_event("predecessor_ended", lambda e: e["sessions_lost"] == "0")
    assert alive(new)
    # The sockets are the new one's alone: when it stops, they are closed.
    g.stop()
    with socket.socket() as sock:
        assert sock.connect_ex(g.addr) != 0


def test_idle_ends_at_once(db, generations, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    g = generations(EDGEPROXY_LISTEN_ADDR="127.0.0.1:0")
    for _ in range(3):
        g.upgrade()
    for pid in g.pids[:-1]:
        g.end(pid)
    assert g.proxy.label(BR, to=g.addr) == "sa-1"


def test_several_listeners(db, generations, peer, port):
    db.add("sa-1", peer(Identity, "sa-1"))
    listens = [port() for _ in range(5)]
    for listen in listens:
        db.service(listen)
    g = generations()
    g.upgrade()
    for listen in listens:
        assert g.proxy.label(BR, to=split_addr(listen)) == "sa-1"
    # A service that goes after the upgrade is gone, whoever had its socket.
    with g.proxy.connect(BR, to=split_addr(listens[0])) as held:
        assert held.recv(100) == b"sa-1\n"
        g.upgrade()
        db.run("DELETE FROM services WHERE listen = ?", listens[0])

        def refused():
            with socket.socket() as sock:
                return sock.connect_ex(split_addr(listens[0])) != 0
        until(refused, "an address that nobody listens on")
        held.sendall(b"x")
        assert wire.read_exactly(held, 1) == b"x"


def test_healthcheck_asks_the_newest(db, generations, peer, port):
    listen = port()
    db.add("sa-1", peer(Identity, "sa-1"))
    g = generations(EDGEPROXY_LISTEN_ADDR=listen)
    env = {"EDGEPROXY_LISTEN_ADDR": listen}
    with g.proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        assert "sessions=1" in run_cli("healthcheck", env=env).stdout
        for _ in range(2):
            g.upgrade()
            answer = run_cli("healthcheck", env=env)
            assert answer.returncode == 0 and "sessions=0" in answer.stdout
    g.stop()
    assert run_cli("healthcheck", env=env).returncode == 1


@pytest.mark.concurrency
def test_affinity_is_kept(db, generations, peer):
    for number in range(8):
        db.add(f"sa-{number}", peer(Identity, f"sa-{number}"))
    g = generations()
    clients = [f"200.160.{i // 250}.{i % 250 + 1}" for i in range(300)]
    had = {client: g.proxy.label(client, to=g.addr) for client in clients}
    assert len(set(had.values())) == 8
    for _ in range(3):
        g.upgrade()
        assert {client: g.proxy.label(client, to=g.addr) for client in clients} == had


def test_affinity_of_a_session_that_ends_in_the_old_process(db, generations, peer):
    """Its time to live counts from its end, also when that is after the upgrade."""
    for number in range(8):
        db.add(f"sa-{number}", peer(Identity, f"sa-{number}"))
    g = generations(EDGEPROXY_BINDING_TTL_SECS=3)
    with g.proxy.connect(BR) as sock:
        label = sock.recv(100)
        g.upgrade()
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 3.5, "the time to live, over")
    g.end(g.pids[0]) if g.proxy.process.wait(60) else None
    g.proxy.wait_event("predecessor_ended")
    assert g.proxy.label(BR, to=g.addr) == label.decode().strip()
    assert g.proxy.wait_session(lambda e: e["affinity"] == "hit")


@pytest.mark.concurrency
def test_hard_limits_hold_across_generations(db, generations, peer):
    backend = peer(Identity, "sa-1")
    db.add("sa-1", backend, hard_limit=10)
    g = generations(EDGEPROXY_QUEUE_MAX=0)
    socks = []
    with contextlib.ExitStack() as stack:
        for generation in range(3):
            for _ in range(3):
                socks.append(stack.enter_context(g.proxy.connect(BR, to=g.addr)))
                assert socks[-1].recv(100) == b"sa-1\n"
            g.upgrade()
        socks.append(stack.enter_context(g.proxy.connect(BR, to=g.addr)))
        assert socks[-1].recv(100) == b"sa-1\n"
        assert g.proxy.label(BR, to=g.addr) == ""
        assert g.proxy.wait_session(lambda e: e["reason"] == "backends-full")
        # A place that an old process gives back can be had in the new one.
        socks[0].close()
        g.proxy.wait_session(lambda e: e["reason"] == "done")
        socks[0] = stack.enter_context(g.proxy.connect(BR, to=g.addr))
        assert socks[0].recv(100) == b"sa-1\n"
        assert g.proxy.label(BR, to=g.addr) == ""
        # And what a killed one had.
        os.kill(g.pids[1], signal.SIGKILL)
        g.proxy.wait_event("predecessor_ended", lambda e: e["sessions_lost"] == "3")
        for _ in range(3):
            socks.append(stack.enter_context(g.proxy.connect(BR, to=g.addr)))
            assert socks[-1].recv(100) == b"sa-1\n"
        assert g.proxy.label(BR, to=g.addr) == ""


def test_max_conn_holds_across_generations(db, generations, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    g = generations(EDGEPROXY_MAX_CONN=4)
    with contextlib.ExitStack() as stack:
        old = [stack.enter_context(g.proxy.connect(BR)) for _ in range(3)]
        for sock in old:
            assert sock.recv(100) == b"sa-1\n"
        g.upgrade()
        one = stack.enter_context(g.proxy.connect(BR, to=g.addr))
        assert one.recv(100) == b"sa-1\n"
        waiting = stack.enter_context(g.proxy.connect(BR, to=g.addr))
        g.proxy.wait_event("accept_paused")
        old[0].close()
        assert waiting.recv(100) == b"sa-1\n"


@pytest.mark.parametrize("killed", [False, True])
def test_a_place_that_an_old_process_gives_back_is_for_who_waits_in_the_new_one(
        db, generations, peer, killed):
    db.add("sa-1", peer(Identity, "sa-1"), hard_limit=2)
    g = generations(EDGEPROXY_QUEUE_TIMEOUT_MS=PATIENCE_SECS * 1000, EDGEPROXY_LOG_LEVEL="debug")
    with contextlib.ExitStack() as stack:
        g.upgrade()
        held = [stack.enter_context(g.proxy.connect(BR, to=g.addr)) for _ in range(2)]
        for sock in held:
            assert sock.recv(100) == b"sa-1\n"
        g.upgrade()
        waiting = []
        for count in (1, 2):
            waiting.append(stack.enter_context(g.proxy.connect(US, to=g.addr)))
            g.proxy.wait_event("queued", count=count)
        if killed:
            os.kill(g.pids[1], signal.SIGKILL)
            g.proxy.wait_event("predecessor_ended", lambda e: e["sessions_lost"] == "2")
        else:
            # One place is for one of them: who has waited for longest.
            held[0].close()
            assert waiting[0].recv(100) == b"sa-1\n"
            assert not select.select([waiting[1]], [], [], 0)[0]
            held[1].close()
            waiting.pop(0)
        for sock in waiting:
            assert sock.recv(100) == b"sa-1\n"


def test_limits_of_one_client_are_of_one_process(db, generations, peer):
    """Documented so: what it has in a process that drains does not count in the new one."""
    db.add("sa-1", peer(Identity, "sa-1"))
    g = generations(EDGEPROXY_CLIENT_MAX_CONN=1)
    with g.proxy.connect(BR) as old:
        assert old.recv(100) == b"sa-1\n"
        assert g.proxy.label(BR, to=g.addr) == ""
        g.upgrade()
        with g.proxy.connect(BR, to=g.addr) as new:
            assert new.recv(100) == b"sa-1\n"
            assert g.proxy.label(BR, to=g.addr) == ""
    g.proxy.wait_session(lambda e: e["reason"] == "client-conn-limit", count=2)


def test_a_client_that_still_dials(db, generations, peer):
    """It was accepted by the old process, which goes on looking for a backend for it, and may take
    no place there that the new one has given away."""
    hole = peer(Blackhole)
    good = peer(Identity, "good")
    db.add("hole", hole, country="BR")
    db.add("good", good, hard_limit=1)
    g = generations(EDGEPROXY_CONNECT_TIMEOUT_MS=3000, DEBUG=1)
    with g.proxy.connect(BR) as late:
        g.proxy.wait_event("decision", lambda e: e["backend"] == "hole")
        g.upgrade()
        with g.proxy.connect(US, to=g.addr) as first:
            assert first.recv(100) == b"good\n"
            assert wire.is_over(late)
    assert g.proxy.wait_session(lambda e: e["client"].startswith(BR))["retries"] == "1"
    assert good.accepted == 1


# ---- what goes wrong ----


@pytest.mark.concurrency
@pytest.mark.parametrize("what", ["missing", "garbage", "exits", "hangs up", "not edgeproxy"])
def test_a_program_that_does_not_start(db, generations, peer, tmp_path, monkeypatch, what):
    db.add("sa-1", peer(Identity, "sa-1"))
    path = binary_to_replace(tmp_path, monkeypatch)
    g = generations()
    with g.proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        mark = g.proxy.mark()
        replace(path, script={
            "missing": None, "garbage": "\x7fELF nonsense", "exits": "#!/bin/sh\nexit 3\n",
            "hangs up": "#!/bin/sh\nexec 3>&-\nexec sleep 1000\n",
            "not edgeproxy": "#!/bin/sh\necho hello >&3\nexec sleep 1000\n"}[what])
        g.ask()
        failed = g.proxy.wait_event("upgrade_failed", since=mark)
        assert failed["level"] == "error"
        assert failed["path"] == str(path) and failed["effect"] == "this process goes on as before"
        if what == "exits":
            assert failed["ended"] == "exit status 3"
        sock.sendall(b"still here")
        assert wire.read_exactly(sock, 10) == b"still here"
        assert g.proxy.label(BR, to=g.addr) == "sa-1"
        # And when the program is right again, the next upgrade succeeds.
        path.unlink(missing_ok=True)
        path.symlink_to(BINARY)
        g.upgrade()
        assert g.proxy.label(BR, to=g.addr) == "sa-1"


def test_a_configuration_that_is_wrong(db, generations, peer, tmp_path):
    """A file that the configuration names has become unusable since the start."""
    import harness
    geo = tmp_path / "geo.mmdb"
    shutil.copy(harness.ROOT / "tests/data/plain-country.mmdb", geo)
    db.add("sa-1", peer(Identity, "sa-1"))
    g = generations(EDGEPROXY_GEOIP_PATH=geo)
    geo.unlink()
    failed = g.fail()
    assert failed["ended"] == "exit status 1" and failed["stage"] == "start"
    assert g.proxy.label(BR, to=g.addr) == "sa-1"


def child_of(pid):
    """The process that a proxy has started; None when there is none."""
    found = [int(child) for children in Path(f"/proc/{pid}/task").glob("*/children")
             for child in children.read_text().split()]
    return found[0] if found else None


def start_one_that_waits(proxy, path):
    """The pid of a new process that has asked the old one, which is stopped and does not answer.
    path is what the proxy was started by."""
    replace(path, script=f'#!/bin/sh\nkill -STOP $PPID\nexec {BINARY} "$@"\n')
    proxy.kill(signal.SIGUSR2)
    new = until(lambda: child_of(proxy.pid), "a new process")
    until(lambda: os.readlink(f"/proc/{new}/exe") == str(BINARY) and is_idle(new),
          "a new process that waits for an answer")
    return new


@pytest.mark.concurrency
def test_the_new_one_is_killed_before_it_is_ready(db, generations, peer, tmp_path, monkeypatch):
    db.add("sa-1", peer(Identity, "sa-1"))
    path = binary_to_replace(tmp_path, monkeypatch)
    g = generations()
    with g.proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        new = start_one_that_waits(g.proxy, path)
        os.kill(new, signal.SIGKILL)
        g.proxy.kill(signal.SIGCONT)
        failed = g.proxy.wait_event("upgrade_failed")
        assert (failed["stage"], failed["ended"]) == ("start", "signal KILL")
        goes_on(g, sock, path)


@pytest.mark.concurrency
def test_the_new_one_is_killed_late(db, generations, peer, tmp_path, monkeypatch):
    """Whatever the timing, nothing is refused."""
    db.add("sa-1", peer(Identity, "sa-1"))
    path = binary_to_replace(tmp_path, monkeypatch)
    g = generations()
    with g.proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        g.ask()
        pid = int(g.proxy.wait_event("upgrade_started")["successor"])
        g.proxy.wait_event("took_over")
        os.kill(pid, signal.SIGKILL)
        until(lambda: g.proxy.log.find("retired") or g.proxy.log.find("upgrade_failed"), "an outcome")
        if g.proxy.log.find("retired"):
            # It was serving already: its end is that of any proxy. The old one only drains.
            sock.sendall(b"still here")
            assert wire.read_exactly(sock, 10) == b"still here"
        else:
            goes_on(g, sock, path)


def goes_on(g, sock, path):
    """The old one serves sock, which it has, and those who come, and can be upgraded."""
    sock.sendall(b"still here")
    assert wire.read_exactly(sock, 10) == b"still here"
    assert g.proxy.label(BR, to=g.addr) == "sa-1"
    replace(path, target=BINARY)
    g.upgrade()
    assert g.proxy.label(BR, to=g.addr) == "sa-1"


# Of a message: see struct handover_message.
WIRE_BYTES = 16 + 100 * 20


@pytest.mark.concurrency
@pytest.mark.parametrize("step, end", [
    ("hello", "exit"), ("ready", "exit"), ("taken", "exit"), ("go", "exit"), ("go", "hang")])
def test_the_new_one_ends_at_each_step(db, generations, peer, tmp_path, monkeypatch, step, end):
    """Up to the last moment the old one takes everything back. Clients keep coming, and every one
    is served."""
    db.add("sa-1", peer(Identity, "sa-1"))
    path = binary_to_replace(tmp_path, monkeypatch)
    g = generations(FALSE_STEP=step, FALSE_END=end, FALSE_WIRE_BYTES=WIRE_BYTES)
    false = Path(__file__).with_name("false_successor.py")
    with Churn(g.addr) as churn:
        replace(path, script=f"#!/bin/sh\nexec {sys.executable} {false}\n")
        failed = g.fail()
        assert failed["stage"] == {"hello": "start", "ready": "read", "taken": "take",
                                   "go": "take"}[step] or step in ("ready", "taken")
        assert failed["ended"] == ("exit status 5" if end == "exit" else "it was ended")
        served = churn.served
        until(lambda: churn.served > served + 50, "clients afterwards")
        replace(path, target=BINARY)
        g.upgrade()
        served = churn.served
        until(lambda: churn.served > served + 50, "clients of the right one")
    assert churn.problems == []
    assert g.proxy.log.find("retired") and len(g.proxy.log.find("upgrade_failed")) == 1


def upgrade_to_false(generations, tmp_path, monkeypatch, step):
    """The generations, and the pid of a new one that plays this part of false_successor.py."""
    path = binary_to_replace(tmp_path, monkeypatch)
    g = generations(FALSE_STEP=step, FALSE_END="", FALSE_WIRE_BYTES=WIRE_BYTES)
    false = Path(__file__).with_name("false_successor.py")
    replace(path, script=f"#!/bin/sh\nexec {sys.executable} {false}\n")
    g.ask()
    pid = int(g.proxy.wait_event("upgrade_started")["successor"])
    g.pids.append(pid)
    return g, pid


def test_the_new_one_comes_just_too_late(db, generations, peer, tmp_path, monkeypatch):
    """Each client is either one's, and stays that: nobody is accepted by one that is then ended."""
    db.add("sa-1", peer(Identity, "sa-1"))
    g, pid = upgrade_to_false(generations, tmp_path, monkeypatch, "late")
    # These wait in the queue of the socket, since nobody accepts, or are served by the old one.
    with contextlib.ExitStack() as stack:
        clients = []

        def one_more_or_over():
            clients.append(stack.enter_context(g.proxy.connect(BR, to=g.addr)))
            return g.proxy.log.find("upgrade_failed") or g.proxy.log.find("retired")

        until(one_more_or_over, "the end of the upgrade", pause=0.02)
        wanted = {"sa-1"} if g.proxy.log.find("upgrade_failed") else {"sa-1", "late"}
        assert {wire.read_line(sock) for sock in clients} <= wanted
        if g.proxy.log.find("upgrade_failed"):
            assert not alive(pid)
            assert g.proxy.label(BR, to=g.addr) == "sa-1"
        else:
            assert wire.read_line(stack.enter_context(g.proxy.connect(BR, to=g.addr))) == "late"


def test_the_old_one_is_told_to_stop_when_the_new_one_accepts(db, generations, peer, tmp_path,
                                                             monkeypatch):
    """The new one has clients that nobody else has, so it stays."""
    db.add("sa-1", peer(Identity, "sa-1"))
    g, pid = upgrade_to_false(generations, tmp_path, monkeypatch, "never")
    g.proxy.wait_event("stopped")
    assert alive(pid)
    assert g.proxy.log.find("retired") and not g.proxy.log.find("upgrade_failed")


@contextlib.contextmanager
def one_more_in_the_group(proxy):
    """As long as there is one whose parent lives, the kernel does not send a process group SIGHUP
    and SIGCONT at the death of a parent: where a service manager runs proxies, it never does."""
    sleeper = subprocess.Popen(["sleep", "1000"], process_group=proxy.pid, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.parametrize("held", [pytest.param(False, id="runs", marks=pytest.mark.concurrency),
                                  pytest.param(True, id="held")])
def test_the_old_one_is_killed_in_the_middle(db, start, peer, port, tmp_path, monkeypatch, held):
    """The new one serves, with the sockets if it had been given them by then; also where it is
    stopped, as the old one stops it when it comes late, but lives no more to decide about it."""
    db.add("sa-1", peer(Identity, "sa-1"))
    path = binary_to_replace(tmp_path, monkeypatch)
    proxy = start(EDGEPROXY_LISTEN_ADDR=port(), **LONG)
    addr = proxy.addr
    mark = proxy.mark()
    with one_more_in_the_group(proxy):
        if held:
            new = start_one_that_waits(proxy, path)
            os.kill(new, signal.SIGSTOP)
            until(lambda: process_state(new) == "T", "a new process that is held")
        else:
            proxy.kill(signal.SIGUSR2)
            new = until(lambda: child_of(proxy.pid), "a new process")
        proxy.process.kill()
        proxy.process.wait()
        try:
            proxy.wait_event("ready", since=mark)
            assert proxy.label(BR, to=addr) == "sa-1"
        finally:
            os.kill(new, signal.SIGTERM)
            os.kill(new, signal.SIGCONT)  # a failure leaves nobody behind
            until(lambda: not alive(new), "the end of the new process")
    proxy.log.join()
    proxy.stopped = True


def test_who_is_past_its_own_upgrade_stays_stopped_when_the_one_before_dies(db, generations, peer):
    """What lets a new process go on when its parent dies (SIGCONT) is over by then: it would undo
    the stop of a debugger that attaches."""
    db.add("sa-1", peer(Identity, "sa-1"))
    g = generations()
    with g.proxy.connect(BR, to=g.addr) as first, one_more_in_the_group(g.proxy):
        assert wire.read_line(first) == "sa-1"
        g.upgrade()
        with g.proxy.connect(BR, to=g.addr) as second:
            assert wire.read_line(second) == "sa-1"
            g.upgrade()
            os.kill(g.pids[1], signal.SIGSTOP)
            until(lambda: process_state(g.pids[1]) == "T", "a stopped process")
            g.proxy.process.kill()
            g.proxy.process.wait()
            stays = process_state(g.pids[1])
            os.kill(g.pids[1], signal.SIGCONT)
            assert stays == "T"
            second.sendall(b"still here")
            assert wire.read_exactly(second, 10) == b"still here"
        g.stop()
    g.proxy.log.join()
    g.proxy.stopped = True


def children(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_access_log_is_rotated_while_the_new_one_starts(generations):
    """Whoever rotates signals every process that there is; one that has just begun must not die of
    it."""
    chain = generations()
    mark = chain.proxy.mark()
    chain.ask()
    born = until(lambda: children(chain.newest), "a new process", pause=0)[0]
    while not chain.proxy.log.find("ready", since=mark):
        assert not chain.proxy.log.find("upgrade_failed", since=mark)
        os.kill(born, signal.SIGUSR1)
    chain.pids.append(born)


def test_told_to_stop_in_the_middle(db, generations, peer, tmp_path, monkeypatch):
    """Neither process is left."""
    db.add("sa-1", peer(Identity, "sa-1"))
    path = binary_to_replace(tmp_path, monkeypatch)
    g = generations()
    new = start_one_that_waits(g.proxy, path)
    g.proxy.kill(signal.SIGTERM)
    g.proxy.kill(signal.SIGCONT)
    assert g.proxy.wait_exit() == 0
    failed = g.proxy.wait_event("upgrade_failed")
    assert (failed["stage"], failed["error"]) == ("start", "this process was told to stop")
    assert "effect" not in failed, "it does not go on"
    g.proxy.wait_event("stopping")
    until(lambda: not alive(new), "the end of the new process")


def test_upgrade_while_others_drain(db, generations, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    g = generations()
    with contextlib.ExitStack() as stack:
        socks = []
        for _ in range(5):
            sock = stack.enter_context(g.proxy.connect(BR, to=g.addr))
            assert sock.recv(100) == b"sa-1\n"
            socks.append(sock)
            g.upgrade()
        assert all(map(alive, g.pids))
        # Asked again, a retired one says no.
        mark = g.proxy.mark()
        g.ask(g.pids[1])
        assert "already" in g.proxy.wait_event("upgrade_failed", since=mark)["error"]
        # They end in any order.
        for number in (2, 0, 4, 1, 3):
            socks[number].close()
            if number == 0:
                assert g.proxy.process.wait(60) == 0
            else:
                g.end(g.pids[number])
            g.proxy.wait_event("predecessor_ended",
                               lambda e, n=number: e["pid"] == str(g.pids[n]))
    assert {e["sessions_lost"] for e in g.proxy.log.find("predecessor_ended")} == {"0"}
    assert g.proxy.label(BR, to=g.addr) == "sa-1"


def test_hard_stop(db, generations, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    g = generations(EDGEPROXY_HARD_STOP_AFTER_SECS=1)
    with g.proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        g.upgrade()
        assert wire.is_over(sock)
        assert g.proxy.process.wait(60) == 0
    assert g.proxy.wait_session()["reason"] == "shutdown"


def test_a_retired_process_follows_the_database(db, generations, peer):
    """Its late dials use it; new backends are the newer process's business."""
    db.add("sa-1", peer(Identity, "sa-1"))
    g = generations(EDGEPROXY_BINDING_TTL_SECS=0)
    with g.proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        g.upgrade()
        mark = g.proxy.mark()
        db.add("sa-2", peer(Identity, "sa-2"), country="BR")
        until(lambda: g.proxy.label("200.160.9.9", to=g.addr) == "sa-2", "the new backend")
        db.set("sa-1", weight=7)
        g.proxy.wait_event("table_loaded", count=3, since=mark)
        assert not g.proxy.log.find("reload_failed", since=mark)
        sock.sendall(b"x")
        assert wire.read_exactly(sock, 1) == b"x"


def test_only_one_writes_the_state_directory(db, generations, peer, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    db.add("sa-1", peer(Identity, "sa-1"))
    g = generations(EDGEPROXY_STATE_DIR=state, EDGEPROXY_STATE_SAVE_SECS=1)
    with g.proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        g.upgrade()
        for file in state.iterdir():
            file.unlink()
        sock.close()
        assert g.proxy.process.wait(60) == 0  # at its end it would save
        assert [f for f in state.iterdir() if str(g.pids[0]) in f.name] == []
    assert g.proxy.label(BR, to=g.addr) == "sa-1"
    until(lambda: (state / "state.bin").exists(), "the new one's own")


# ---- under load ----


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_the_api_moves_on(generations, peer, port, tmp_path, kind):
    addr = port() if kind == "tcp" else f"unix:{tmp_path}/api.sock"
    chain = generations(**{**LOOPBACK, "EDGEPROXY_API_LISTEN_ADDR": addr})
    assert Api(chain.proxy).register("b-1", peer(Identity, "one"))[0] == 201
    for _ in range(2):
        mark = chain.proxy.mark()
        chain.upgrade()
        api = Api(chain.proxy, since=mark)
        until(lambda: api.call("POST", "/api/v1/heartbeat/b-1")[0] == 200, "the new one knows it")
    assert not chain.proxy.log.find("api_not_listening")


class Churn:
    """Clients that come one after another, in some threads: each gets a line and echoes a few
    bytes. What is not exactly that is a problem."""

    def __init__(self, addr, threads=4, clients=("200.160.7.7",), expect=None):
        self.addr = addr
        self.served = 0
        self.problems = []
        self.expect = expect or {}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(n, clients), daemon=True)
                         for n in range(threads)]

    def __enter__(self):
        self.began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        self.rate = self.served / (time.monotonic() - self.began)

    def _one(self, client):
        with socket.create_connection(self.addr, timeout=30) as sock:
            sock.sendall(wire.header(2, (client, 5555), ("127.0.0.1", 1)) + b"ping")
            got = b""
            while not got.endswith(b"ping"):
                data = sock.recv(100)
                if not data:
                    raise OSError(f"an end after {got!r}")
                got += data
            label = got.split(b"\n")[0].decode()
            if self.expect.get(client, label) != label:
                raise OSError(f"{client}: {label} instead of {self.expect[client]}")

    def _run(self, number, clients):
        while not self._stop.is_set():
            client = clients[(self.served * 7 + number) % len(clients)]
            try:
                self._one(client)
            except OSError as error:
                self.problems.append(repr(error))
                if len(self.problems) > 20:
                    return
            with self._lock:
                self.served += 1




class Paced(Identity):
    """Sends a stream in pieces, slowly enough to be under way for as long as it is needed."""

    def __init__(self, stream, done, **how):
        self.stream = stream
        self.done = done
        super().__init__("paced", **how)

    def script(self, sock):
        for block in self.stream.blocks():
            sock.sendall(block)
            self.done.wait(0.5)
        sock.shutdown(socket.SHUT_WR)
        wire.read_all(sock)


class Transfers:
    """Long transfers, all in one thread: each must come whole."""

    def __init__(self, addr, count, stream):
        self.stream = stream
        self.poll = selectors.EpollSelector()
        self.whole = 0
        self.problems = []
        self.left = count
        for number in range(count):
            sock = socket.create_connection(addr, timeout=60)
            sock.sendall(wire.header(2, ("200.161.0.1", 5555), ("127.0.0.1", 1)))
            sock.setblocking(False)
            self.poll.register(sock, selectors.EVENT_READ, [0, hashlib.sha256()])
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        digest = self.stream.digest()
        while self.left:
            for key, _ in self.poll.select():
                try:
                    data = key.fileobj.recv(1 << 16)
                except OSError as error:
                    self.problems.append(repr(error))
                    data = b""
                if data:
                    key.data[0] += len(data)
                    key.data[1].update(data)
                    continue
                whole = (key.data[0], key.data[1].hexdigest()) == (self.stream.size, digest)
                self.whole += whole
                if not whole:
                    self.problems.append(f"{key.data[0]} bytes")
                self.poll.unregister(key.fileobj)
                key.fileobj.close()
                self.left -= 1


@pytest.mark.concurrency
def test_many_upgrades_under_load(db, generations, peer):
    """Upgrades while clients come as fast as they can and long transfers go on: none is refused,
    reset or misrouted, and affinity is kept. The transfers are as many as their backend may have,
    so one that was counted twice would be refused."""
    sanitized = b"__tsan_init" in BINARY.read_bytes() or b"__asan_init" in BINARY.read_bytes()
    upgrades, transfers, threads = (5, 100, 4) if sanitized else (20, 500, 8)
    stream = wire.Stream(1 << 19)
    done = threading.Event()
    paced = peer(Paced, stream, done)
    db.add("paced", paced, app="paced", soft_limit=transfers, hard_limit=transfers)
    for number in range(4):
        db.add(f"sa-{number}", peer(Identity, f"sa-{number}"), app="web")
    holders = [PortHolder(), PortHolder()]
    for holder, app in zip(holders, ("paced", "web")):
        db.service(join_addr(holder.addr), app=app)
    g = generations(EDGEPROXY_APP="unset")
    g.proxy.wait_event("listening", count=3)
    clients = [f"200.160.{n // 200}.{n % 200 + 1}" for n in range(400)]
    expect = {client: g.proxy.label(client, to=holders[1].addr) for client in clients}
    began = Transfers(holders[0].addr, transfers, stream)
    until(lambda: paced.accepted == transfers, "all transfers under way")
    with Churn(holders[1].addr, threads, clients, expect) as churn:
        for _ in range(upgrades):
            served = churn.served
            g.upgrade()
            until(lambda: churn.served > served + 20 or churn.problems, "clients")
    done.set()
    began.thread.join(60)
    print(f"{churn.served} clients at {churn.rate:.0f} a second")
    assert churn.problems == []
    assert (began.whole, began.problems) == (transfers, [])
    reasons = {e["reason"] for e in g.proxy.sessions()}
    assert reasons <= {"done", "client-reset"}, reasons
    for holder in holders:
        holder.close()
