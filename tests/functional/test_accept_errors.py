"""When descriptors run out the listener pauses, waits without spinning, and goes on."""

import contextlib
import select
import time

import pytest

import wire
from harness import BR, until
from peers import Identity


def answered(sock):
    return bool(select.select([sock], [], [], 0)[0])


def test_out_of_descriptors(db, start, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy = start()
    with proxy.connect(BR) as old:
        assert old.recv(100) == b"sa-1\n"
        proxy.leave_fds(20)  # ten sessions
        with contextlib.ExitStack() as held:
            socks = [held.enter_context(proxy.connect(BR)) for _ in range(60)]
            paused = proxy.wait_event("accept_paused")
            assert paused["level"] == "warn"
            assert "too many open files" in paused["error"].lower()

            # It waits, and neither spins nor floods the log.
            lines, cpu, clock = len(proxy.log.lines), proxy.cpu_secs(), time.monotonic()
            while time.monotonic() - clock < 1:
                old.sendall(b"still here")
                assert wire.read_exactly(old, 10) == b"still here"
                time.sleep(0.05)
            assert proxy.cpu_secs() - cpu < 0.5
            assert len(proxy.log.lines) - lines < 60
            assert not all(answered(sock) for sock in socks)

            # As clients leave, those who wait have their turn: in the backlog, or accepted with the
            # last descriptor and without one for their backend. Nobody is turned away.
            served, waiting = 0, set(socks)

            def next_ones():
                nonlocal served
                for sock in [s for s in waiting if answered(s)]:
                    waiting.discard(sock)
                    served += wire.read_line(sock) == "sa-1"
                    sock.close()
                return not waiting

            until(next_ones, "the last client's turn")
        assert served == 60
        proxy.wait_session(lambda e: e["reason"] == "done", count=60)
        assert len(proxy.sessions()) == 60

        proxy.unlimit_fds()
        until(lambda: proxy.label(BR) == "sa-1", "everything as before")
        old.sendall(b"still here")
        assert wire.read_exactly(old, 10) == b"still here"


def test_the_last_descriptor_is_a_clients(db, start, peer):
    """One is left: accept takes it, and the dial waits for another without giving up its client."""
    backend = peer(Identity, "sa-1")
    db.add("sa-1", backend, soft_limit=1, hard_limit=2)
    proxy = start(EDGEPROXY_WORKERS=1)
    with proxy.connect(BR) as old:
        assert old.recv(100) == b"sa-1\n"
        proxy.leave_fds(1)
        with proxy.connect(BR) as starved, proxy.connect(BR) as behind:
            # The second one waits in the backlog, whatever descriptors there will be, until the
            # first has its backend.
            proxy.wait_event("accept_paused")
            assert not answered(starved) and not answered(behind)
            assert backend.open == 1
            proxy.leave_fds(1)
            assert starved.recv(100) == b"sa-1\n"
            assert not answered(behind)
            starved.close()
            old.close()
            proxy.unlimit_fds()
            assert behind.recv(100) == b"sa-1\n"
    proxy.wait_session(lambda e: e["reason"] == "done", count=3)
    assert len(proxy.sessions()) == 3


def test_who_waits_for_a_place_does_not_keep_others_from_being_accepted(db, start, peer):
    """It lacked a descriptor, and before there was one it lost its place: it needs none now."""
    db.add("sa-1", peer(Identity, "sa-1"), soft_limit=1, hard_limit=2)
    proxy = start(DEBUG=1, EDGEPROXY_QUEUE_TIMEOUT_MS=3600000)
    with proxy.connect(BR) as old:
        assert old.recv(100) == b"sa-1\n"
        proxy.leave_fds(1)
        with proxy.connect(BR) as starved, proxy.connect(BR) as behind:
            proxy.wait_event("accept_paused")
            db.set("sa-1", hard_limit=1)
            proxy.wait_event("queued")
            proxy.unlimit_fds()
            proxy.wait_event("queued", count=2)
            old.close()
            assert starved.recv(100) == b"sa-1\n"
            starved.close()
            assert behind.recv(100) == b"sa-1\n"


def test_a_dial_without_a_descriptor_ends_with_its_budget(db, start, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy = start(EDGEPROXY_CONNECT_BUDGET_MS=100)
    address = proxy.addr
    proxy.leave_fds(1)
    with proxy.connect(BR, to=address) as sock:
        assert wire.read_line(sock) == ""
    proxy.wait_session(lambda e: e["reason"] == "resources")
    proxy.unlimit_fds()
    until(lambda: proxy.label(BR) == "sa-1", "everything as before")


@pytest.mark.concurrency
def test_as_many_clients_as_the_descriptors_allow(db, start, peer):
    """EDGEPROXY_MAX_CONN=0 under a low limit from the start: those beyond wait, and no session dies
    for the lack of a descriptor."""
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy = start(limit_fds=128)
    socks = [proxy.connect(BR) for _ in range(150)]
    proxy.wait_event("accept_paused")
    for sock in socks:
        with sock:
            assert sock.recv(100) == b"sa-1\n"
    proxy.wait_session(lambda e: e["reason"] == "done", count=150)
    assert len(proxy.sessions()) == 150
