"""Hard limits hold exactly, whatever races. Nobody waits here; see test_queue.py."""

import contextlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import wire
from harness import BR, PATIENCE_SECS, until
from peers import Counting, Identity

PROCESSES = 4
STORM = Path(__file__).with_name("storm.py")


class Storm:
    """count clients, from several processes at the same time."""

    def __init__(self, proxy, count, mode):
        host, port = proxy.addr
        each = count // PROCESSES
        self.processes = [
            subprocess.Popen([sys.executable, STORM, host, str(port), str(each), mode, str(index)],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for index in range(PROCESSES)]

    def __enter__(self):
        return self

    def decided(self):
        """(how many each label served, how many were turned away), when all of them know."""
        labels, refused = Counter(), 0
        for process in self.processes:
            result = json.loads(process.stdout.readline())
            labels.update(result["labels"])
            refused += result["refused"]
        return labels, refused

    def __exit__(self, *exc):
        for process in self.processes:
            if exc[0]:
                process.kill()
            process.communicate(timeout=PATIENCE_SECS)


@pytest.mark.concurrency
def test_hard_limits_are_exact_under_a_race(db, start, peer):
    limits = {"sa-1": 100, "sa-2": 37, "us-1": 150, "eu-1": 1}
    backends = {}
    for id, limit in limits.items():
        backends[id] = peer(Counting, id)
        db.add(id, backends[id], region=id[:2], hard_limit=limit, soft_limit=max(1, limit // 2))
    count, room = 2000, sum(limits.values())
    proxy = start(EDGEPROXY_WORKERS=4, EDGEPROXY_QUEUE_MAX=0)

    with Storm(proxy, count, "hold") as storm:
        labels, refused = storm.decided()
        assert labels == Counter(limits)
        assert refused == count - room
        proxy.wait_session(lambda e: e["reason"] == "backends-full", count=refused)
        assert {id: b.open for id, b in backends.items()} == limits
    proxy.wait_session(lambda e: e["reason"] != "backends-full", count=room)
    assert {id: b.most for id, b in backends.items()} == limits

    # Every place was given back: the next race finds all of them.
    with Storm(proxy, count, "hold") as storm:
        labels, refused = storm.decided()
        assert labels == Counter(limits)
    proxy.wait_session(count=2 * count)
    assert {id: b.most for id, b in backends.items()} == limits


@pytest.mark.concurrency
def test_hard_limits_hold_while_clients_come_and_go(db, start, peer):
    backends = {id: peer(Counting, id) for id in ("sa-1", "sa-2")}
    for id, backend in backends.items():
        db.add(id, backend, hard_limit=10, soft_limit=5)
    proxy = start(EDGEPROXY_WORKERS=4, EDGEPROXY_QUEUE_MAX=0)
    with Storm(proxy, 2000, "visit") as storm:
        labels, refused = storm.decided()
    proxy.wait_session(count=2000)
    assert labels.total() + refused == 2000
    assert all(1 <= b.most <= 10 for b in backends.values())
    full = proxy.sessions(lambda e: e["reason"] == "backends-full")
    assert len(full) == refused
    until(lambda: proxy.label(BR) in backends, "room for one more")


@pytest.mark.concurrency
def test_max_conn_never_overshoots_and_nobody_is_lost(db, start, peer):
    backends = {id: peer(Counting, id) for id in ("sa-1", "sa-2")}
    for id, backend in backends.items():
        db.add(id, backend)
    proxy = start(EDGEPROXY_WORKERS=4, EDGEPROXY_MAX_CONN=20, EDGEPROXY_LISTEN_BACKLOG=4096)
    with Storm(proxy, 800, "visit") as storm:
        labels, refused = storm.decided()
    assert labels.total() == 800 and refused == 0
    assert all(b.most <= 20 for b in backends.values())
    proxy.wait_session(count=800)


def test_those_beyond_max_conn_wait_and_are_served_later(db, start, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy = start(EDGEPROXY_MAX_CONN=3)
    with contextlib.ExitStack() as held:
        served = [held.enter_context(proxy.connect(BR)) for _ in range(3)]
        for sock in served:
            assert sock.recv(100) == b"sa-1\n"
        waiting = [held.enter_context(proxy.connect(BR)) for _ in range(2)]
        paused = proxy.wait_event("accept_paused")
        assert paused["level"] == "warn"
        for sock in waiting:
            sock.settimeout(0.2)
            with pytest.raises(TimeoutError):
                sock.recv(100)
            sock.settimeout(PATIENCE_SECS)
        served[0].close()
        assert waiting[0].recv(100) == b"sa-1\n"
        served[1].close()
        assert waiting[1].recv(100) == b"sa-1\n"


def test_a_limit_that_is_raised_holds_from_then_on(db, start, peer):
    db.add("sa-1", peer(Identity, "sa-1"), soft_limit=1, hard_limit=1)
    proxy = start(EDGEPROXY_QUEUE_MAX=0)
    with contextlib.ExitStack() as held:
        first = held.enter_context(proxy.connect(BR))
        assert first.recv(100) == b"sa-1\n"
        assert proxy.label(BR) == ""
        db.set("sa-1", hard_limit=2)

        def another():
            sock = held.enter_context(proxy.connect(BR))
            return wire.read_line(sock) == "sa-1"

        until(another, "a second place")
        assert proxy.label(BR) == ""


def test_a_limit_below_the_present_count_ends_nobody(db, start, peer):
    db.add("sa-1", peer(Identity, "sa-1"), soft_limit=5, hard_limit=5)
    proxy = start(EDGEPROXY_QUEUE_MAX=0)
    with contextlib.ExitStack() as held:
        socks = [held.enter_context(proxy.connect(BR)) for _ in range(3)]
        for sock in socks:
            assert sock.recv(100) == b"sa-1\n"
        mark = proxy.mark()
        db.set("sa-1", hard_limit=1)
        proxy.wait_event("table_loaded", since=mark)
        until(lambda: proxy.label(BR) == "", "nobody new")
        for sock in socks:
            sock.sendall(b"here")
            assert sock.recv(100) == b"here"
    proxy.wait_session(lambda e: e["reason"] == "done", count=3)
    until(lambda: proxy.label(BR) == "sa-1", "a free place")


def test_the_next_region_takes_what_the_nearest_cannot(db, start, peer):
    db.add("sa-1", peer(Identity, "sa-1"), soft_limit=1, hard_limit=1)
    db.add("us-1", peer(Identity, "us-1"), region="us", soft_limit=1, hard_limit=1)
    proxy = start(EDGEPROXY_REGION="us", EDGEPROXY_QUEUE_MAX=0)
    with proxy.connect(BR) as first:
        assert first.recv(100) == b"sa-1\n"
        with proxy.connect(BR) as second:
            assert second.recv(100) == b"us-1\n"
            assert proxy.label(BR) == ""
    assert proxy.wait_session(lambda e: e["reason"] == "backends-full")
