"""When every backend is at its hard limit clients wait: in order, bounded, and nobody for nothing."""

import contextlib
import select
import socket
import struct

import pytest

import wire
from harness import BR, DE, PATIENCE_SECS, until
from peers import Counting, EchoOnce, Identity, Refusing
from test_limits import Storm
from test_one_batch import Puppet, end_and_wait, is_idle, one_batch, reset_and_wait


def answered(sock):
    return bool(select.select([sock], [], [], 0)[0])


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Waiters:
    """Clients that are known to wait, in the order in which they came."""

    def __init__(self, proxy, held):
        self.proxy = proxy
        self.held = held
        self.count = 0

    def add(self, count=1, src=BR, **how):
        socks = []
        for _ in range(count):
            socks.append(self.held.enter_context(self.proxy.connect(src, **how)))
            self.count += 1
            self.proxy.wait_event("queued", count=self.count)
        return socks if count > 1 else socks[0]


@pytest.fixture
def held():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def full(db, start, peer, held):
    """full(...) is (a proxy, the clients that hold all places of backend sa-1, waiters)."""
    def make(places=1, **env):
        db.add("sa-1", peer(Counting, "sa-1"), soft_limit=1, hard_limit=places)
        proxy = start(EDGEPROXY_LOG_LEVEL="debug",
                      **{"EDGEPROXY_QUEUE_TIMEOUT_MS": PATIENCE_SECS * 1000, **env})
        holders = [held.enter_context(proxy.connect(BR)) for _ in range(places)]
        for sock in holders:
            assert wire.read_line(sock) == "sa-1"
        return proxy, holders, Waiters(proxy, held)
    return make


@pytest.mark.concurrency
def test_five_hundred_clients_and_five_places(db, start, peer):
    backend = peer(Counting, "sa-1")
    db.add("sa-1", backend, soft_limit=5, hard_limit=5)
    proxy = start(EDGEPROXY_WORKERS=4, EDGEPROXY_QUEUE_TIMEOUT_MS=PATIENCE_SECS * 1000)
    with Storm(proxy, 500, "visit") as storm:
        labels, refused = storm.decided()
    assert (labels.total(), refused) == (500, 0)
    proxy.wait_session(lambda e: e["reason"] == "done", count=500)
    assert len(proxy.sessions()) == 500
    assert backend.accepted == 500 and backend.most <= 5
    assert proxy.sessions(lambda e: "queue_ms" in e)


@pytest.mark.concurrency
def test_a_storm_over_several_backends(db, start, peer):
    backends = {id: peer(Counting, id) for id in ("sa-1", "sa-2", "us-1")}
    for id, backend in backends.items():
        db.add(id, backend, region=id[:2], soft_limit=2, hard_limit=4)
    proxy = start(EDGEPROXY_WORKERS=4, EDGEPROXY_QUEUE_TIMEOUT_MS=PATIENCE_SECS * 1000)
    with Storm(proxy, 2000, "visit") as storm:
        labels, refused = storm.decided()
    assert (labels.total(), refused) == (2000, 0)
    proxy.wait_session(lambda e: e["reason"] == "done", count=2000)
    for id, backend in backends.items():
        assert backend.accepted == labels[id] and 1 <= backend.most <= 4


@pytest.mark.concurrency
def test_no_place_is_lost_when_clients_leave_as_they_are_served(db, start, peer, held):
    """All leave in the same moment, so that places are given to many that have gone already."""
    backend = peer(Counting, "sa-1")
    db.add("sa-1", backend, soft_limit=3, hard_limit=3)
    proxy = start(EDGEPROXY_WORKERS=4, EDGEPROXY_QUEUE_TIMEOUT_MS=PATIENCE_SECS * 1000)
    address, count = proxy.addr, 0
    for _ in range(20):
        socks = [proxy.connect(BR, to=address) for _ in range(60)]
        until(lambda: backend.open == 3, "all places taken")
        for sock in socks:
            reset(sock)
        count += len(socks)
        proxy.wait_session(count=count)
    assert backend.most == 3
    socks = [held.enter_context(proxy.connect(BR)) for _ in range(3)]
    assert [wire.read_line(sock) for sock in socks] == ["sa-1"] * 3


@pytest.mark.concurrency
@pytest.mark.parametrize("workers", [1, 4])
def test_first_come_first_served(full, workers):
    proxy, served, waiters = full(5, EDGEPROXY_WORKERS=workers)
    # Workers accept in parallel: who comes while another is on its way has come with it.
    groups = [waiters.add(2) for _ in range(20)]
    while groups:
        served.pop(0).close()
        first = until(lambda: [s for s in groups[0] if answered(s)], "the next one's turn")
        assert [wire.read_line(s) for s in first] == ["sa-1"]
        groups[0].remove(first[0])
        served.append(first[0])
        if not groups[0]:
            groups.pop(0)
        assert not any(answered(s) for group in groups for s in group)


@pytest.mark.concurrency
def test_nobody_overtakes_those_who_wait(full):
    """Not even who comes in the very moment in which a place is free."""
    proxy, (holder,), waiters = full(EDGEPROXY_WORKERS=4)
    for round in range(10):
        first = waiters.add()
        address = proxy.addr
        holder.close()
        later = [waiters.held.enter_context(proxy.connect(DE, to=address)) for _ in range(5)]
        assert wire.read_line(first) == "sa-1"
        assert not any(answered(sock) for sock in later)
        proxy.wait_session(lambda e: e["reason"] == "done", count=6 * round + 1)
        first.close()
        while later:
            served = until(lambda: [s for s in later if answered(s)], "the next one's turn")
            assert [wire.read_line(s) for s in served] == ["sa-1"]
            later.remove(served[0])
            if later:
                served[0].close()
        holder = served[0]
        waiters.count += 5


def test_a_release_serves_at_once(full):
    """Not with the help of the timer that offers places (every 100 ms): these give up before."""
    proxy, (holder,), waiters = full(EDGEPROXY_WORKERS=1, EDGEPROXY_QUEUE_TIMEOUT_MS=50)

    def served():
        nonlocal holder
        waiting = waiters.add()
        holder.close()
        if wire.read_line(waiting) == "sa-1":
            return True
        holder = waiters.held.enter_context(proxy.connect(BR))
        assert wire.read_line(holder) == "sa-1"
        return False

    until(served, "a client that was served in time", timeout=20)


def test_the_wait_is_in_the_log(full):
    proxy, (holder,), waiters = full()
    first = waiters.add()
    assert not answered(first)
    holder.close()
    assert wire.read_line(first) == "sa-1"
    first.close()
    proxy.wait_session(count=2)
    assert "queue_ms" not in proxy.sessions()[0]
    waited = proxy.sessions()[1]
    assert 0 < float(waited["queue_ms"]) <= float(waited["total_ms"])
    assert (waited["reason"], waited["backend"]) == ("done", "sa-1")


def test_a_full_queue_refuses_at_once(full):
    proxy, (holder,), waiters = full(EDGEPROXY_QUEUE_MAX=2)
    first, second = waiters.add(2)
    assert proxy.label(BR) == ""
    refused = proxy.wait_session()
    assert refused["reason"] == "queue-full" and "queue_ms" not in refused
    assert not answered(first) and not answered(second)
    # One who leaves makes room.
    first.close()
    proxy.wait_session(lambda e: e["reason"] == "client-gone")
    third = waiters.add()
    holder.close()
    for sock in (second, third):
        assert wire.read_line(sock) == "sa-1"
        sock.close()


def test_no_queue(full):
    proxy, _, _ = full(EDGEPROXY_QUEUE_MAX=0)
    assert proxy.label(BR) == ""
    assert proxy.wait_session()["reason"] == "backends-full"


def test_nobody_waits_for_ever(full):
    proxy, (holder,), waiters = full(EDGEPROXY_QUEUE_TIMEOUT_MS=100)
    assert wire.is_over(waiters.add())
    session = proxy.wait_session()
    assert session["reason"] == "queue-timeout"
    assert float(session["queue_ms"]) >= 99
    holder.close()
    until(lambda: proxy.label(BR) == "sa-1", "a free place")


@pytest.mark.parametrize("how", ["reset", "end"])
def test_a_client_that_leaves_gives_its_place_up(full, how):
    proxy, (holder,), waiters = full(EDGEPROXY_QUEUE_MAX=2)
    first = waiters.add()
    if how == "reset":
        first.sendall(b"never mind")
        reset(first)
    else:
        first.shutdown(socket.SHUT_WR)
    gone = proxy.wait_session()
    assert gone["reason"] == "client-gone" and "queue_ms" in gone and "backend" not in gone
    second, third = waiters.add(2)
    holder.close()
    for sock in (second, third):
        assert wire.read_line(sock) == "sa-1"
        sock.close()


def test_a_client_that_has_asked_and_ended_its_side_still_waits(db, start, peer, held, relay_mode):
    backend = peer(EchoOnce, "sa-1")
    db.add("sa-1", backend, soft_limit=1, hard_limit=1)
    proxy = start(EDGEPROXY_LOG_LEVEL="debug", EDGEPROXY_RELAY_MODE=relay_mode)
    holder = held.enter_context(proxy.connect(BR))
    until(lambda: backend.open == 1, "the only place taken")
    waiting = Waiters(proxy, held).add()
    waiting.sendall(b"question")
    waiting.shutdown(socket.SHUT_WR)
    holder.sendall(b"first")
    assert wire.read_all(holder) == b"sa-1 first"
    holder.close()
    assert wire.read_all(waiting) == b"sa-1 question"


CHANGES = {
    "a new backend": lambda db, other: db.add("sa-2", other),
    "a higher limit": lambda db, other: db.set("sa-1", hard_limit=3),
    "a backend that is up again": lambda db, other: db.set("down", healthy=1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_places_that_appear_while_clients_wait(full, db, peer, change):
    other = peer(Counting, "other")
    db.add("down", other, healthy=0)
    proxy, (holder,), waiters = full(EDGEPROXY_WORKERS=4)
    socks = waiters.add(2)
    CHANGES[change](db, other)
    for sock in socks:
        assert wire.read_line(sock) in ("sa-1", "other")
    assert not answered(holder)


def test_a_place_that_is_no_good(db, start, peer, held):
    """Its backend has died: its waiter goes back to the front, and the next place is his."""
    dying, other = peer(Identity, "dying"), peer(Counting, "other")
    db.add("dying", dying, soft_limit=1, hard_limit=1)
    proxy = start(EDGEPROXY_LOG_LEVEL="debug", EDGEPROXY_QUEUE_TIMEOUT_MS=PATIENCE_SECS * 1000)
    first = held.enter_context(proxy.connect(BR))
    assert wire.read_line(first) == "dying"
    mark = proxy.mark()
    db.add("other", other, soft_limit=1, hard_limit=1)
    proxy.wait_event("table_loaded", since=mark)
    second = held.enter_context(proxy.connect(DE))
    assert wire.read_line(second) == "other"

    waiters = Waiters(proxy, held)
    unlucky, next_one = waiters.add(), waiters.add()
    dying.stop_listening()
    first.close()
    # Each of them is given that place, and fails.
    proxy.wait_event("connect_failed", count=2)
    proxy.wait_event("queued", count=4)
    assert not answered(unlucky) and not answered(next_one)
    second.close()
    assert wire.read_line(unlucky) == "other"
    assert not answered(next_one)
    unlucky.close()
    assert wire.read_line(next_one) == "other"
    next_one.close()
    session = proxy.wait_session(lambda e: e["retries"] == "1", count=2)
    assert session["reason"] == "done" and session["backend"] == "other"


def test_a_dead_backend_beside_a_full_one(db, start, peer, held):
    db.add("full", peer(Counting, "full"), country="BR", soft_limit=1, hard_limit=1)
    db.add("dead", peer(Refusing))
    proxy = start(EDGEPROXY_LOG_LEVEL="debug")
    holder = held.enter_context(proxy.connect(BR))
    assert wire.read_line(holder) == "full"
    waiting = Waiters(proxy, held).add()
    holder.close()
    assert wire.read_line(waiting) == "full"


def test_apps_wait_for_themselves(db, start, peer, port, held):
    web, ssh, every = port(), port(), port()
    db.service(web, app="web")
    db.service(ssh, app="ssh")
    db.service(every)
    db.add("web", peer(Counting, "web"), app="web", soft_limit=1, hard_limit=1)
    db.add("ssh", peer(Counting, "ssh"), app="ssh", soft_limit=1, hard_limit=1)
    proxy = start(EDGEPROXY_LISTEN_ADDR="", EDGEPROXY_LOG_LEVEL="debug", EDGEPROXY_QUEUE_MAX=3,
                  EDGEPROXY_QUEUE_TIMEOUT_MS=PATIENCE_SECS * 1000)
    host = web.rsplit(":", 1)[0]
    to = {name: (host, int(addr.rsplit(":", 1)[1]))
          for name, addr in dict(web=web, ssh=ssh, every=every).items()}
    proxy.wait_event("listening", count=3)
    on_web = held.enter_context(proxy.connect(BR, to=to["web"]))
    assert wire.read_line(on_web) == "web"
    waiters = Waiters(proxy, held)
    waiting = waiters.add(3, to=to["web"])

    # A queue full of one app's clients is nothing to another app while it has room.
    with proxy.connect(BR, to=to["ssh"]) as sock:
        assert wire.read_line(sock) == "ssh"
        assert proxy.label(BR, to=to["every"]) == ""
        assert proxy.wait_session()["reason"] == "queue-full"
        waiting.pop().close()
        proxy.wait_session(lambda e: e["reason"] == "client-gone")
        anywhere = waiters.add(to=to["every"])
    assert wire.read_line(anywhere) == "ssh"
    on_web.close()
    served = until(lambda: [s for s in waiting if answered(s)], "the next one's turn")
    assert [wire.read_line(s) for s in served] == ["web"]


def test_waiting_clients_at_the_end(full):
    proxy, (holder,), waiters = full(EDGEPROXY_WORKERS=4, EDGEPROXY_SHUTDOWN_TIMEOUT_SECS=0)
    waiters.add(20)
    proxy.stop()
    reasons = [e["reason"] for e in proxy.sessions()]
    assert reasons == ["shutdown"] * 21


@pytest.mark.parametrize("ends", ["before", "while"])
def test_a_request_that_was_taken_waits_though_its_client_has_ended(db, start, peer, ends,
                                                                    relay_mode):
    """Its first bytes went to a backend that reset it, and are kept for the next: they are not in
    the client's socket any more, and a client that has ended its side still wants its answer."""
    first, second = peer(Puppet), peer(Puppet)
    db.add("second", second, soft_limit=1, hard_limit=1)
    proxy = start(EDGEPROXY_WORKERS=1, EDGEPROXY_LOG_LEVEL="debug",
                  EDGEPROXY_RELAY_MODE=relay_mode,
                  EDGEPROXY_QUEUE_TIMEOUT_MS=PATIENCE_SECS * 1000)
    with proxy.connect(BR) as holder, contextlib.ExitStack() as held:
        place = held.enter_context(second.take())
        db.add("first", first)
        proxy.wait_event("table_loaded", count=2)
        sock = held.enter_context(proxy.connect(BR))
        theirs = first.take()
        sock.sendall(b"request")
        assert wire.read_exactly(theirs, 7) == b"request"
        if ends == "before":
            with one_batch(proxy):
                reset_and_wait(theirs)
                end_and_wait(sock)
        else:
            reset_and_wait(theirs)
        proxy.wait_event("queued")
        if ends == "while":
            end_and_wait(sock)
            until(lambda: is_idle(proxy.pid), "a proxy that knows of it")
        holder.close()
        place.close()
        theirs = second.take()
        assert wire.read_exactly(theirs, 7) == b"request"
        theirs.sendall(b"answer")
        theirs.shutdown(socket.SHUT_WR)
        assert wire.read_all(sock) == b"answer"
