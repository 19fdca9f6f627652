"""SIGTERM and SIGINT end the proxy with the least harm, SIGHUP does not end it."""

import contextlib
import errno
import signal
import socket

import pytest

import wire
from harness import BR, until
from peers import Blackhole, Identity, Silent, Source

BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


def refused(addr):
    with socket.socket() as sock:
        return sock.connect_ex(addr) == errno.ECONNREFUSED


@BOTH
def test_idle(db, start, peer, number):
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy = start(EDGEPROXY_SHUTDOWN_TIMEOUT_SECS=3600)
    assert proxy.label(BR) == "sa-1"
    proxy.kill(number)
    assert proxy.wait_exit() == 0
    stopping, = proxy.log.find("stopping")
    assert stopping["signal"] in (number.name, number.name.removeprefix("SIG"))
    assert len(proxy.log.find("stopped")) == 1


@pytest.mark.concurrency
def test_a_transfer_under_way_is_finished(db, start, peer, any_relay_mode):
    stream = wire.Stream(32 << 20)
    db.add("sa-1", peer(Source, stream))
    proxy = start(EDGEPROXY_RELAY_MODE=any_relay_mode, EDGEPROXY_SHUTDOWN_TIMEOUT_SECS=3600)
    addr = proxy.addr
    with proxy.connect(BR) as sock:
        sock.recv(1, socket.MSG_PEEK)
        proxy.kill(signal.SIGTERM)
        proxy.wait_event("stopping")
        until(lambda: refused(addr), "no more clients")
        assert proxy.process.poll() is None
        assert wire.hash_to_end(sock) == (stream.size, stream.digest())
    assert proxy.wait_exit() == 0
    # refused() may have come in before the door was shut.
    mine = proxy.sessions(lambda e: e["client"].startswith(BR))
    assert [e["reason"] for e in mine] == ["done"]


def test_an_open_conversation_goes_on(db, start, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy = start(EDGEPROXY_SHUTDOWN_TIMEOUT_SECS=3600)
    with proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        proxy.kill(signal.SIGTERM)
        proxy.wait_event("stopping")
        for _ in range(20):
            sock.sendall(b"still here")
            assert wire.read_exactly(sock, 10) == b"still here"
    assert proxy.wait_exit() == 0


@BOTH
def test_what_does_not_end_is_ended_at_the_timeout(db, start, peer, number):
    db.add("sa-1", peer(Identity, "sa-1"))
    db.add("hole", peer(Blackhole), app="hole", region="us")
    proxy = start(EDGEPROXY_SHUTDOWN_TIMEOUT_SECS=1)
    with proxy.connect(BR) as served, proxy.connect() as no_header:
        assert served.recv(100) == b"sa-1\n"
        proxy.kill(number)
        assert wire.is_over(served)
        assert wire.is_over(no_header)
        assert proxy.wait_exit() == 0
    assert {e["reason"] for e in proxy.sessions()} == {"shutdown"}
    assert len(proxy.sessions()) == 2


def test_no_timeout_at_all(db, start, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy = start(EDGEPROXY_SHUTDOWN_TIMEOUT_SECS=0)
    with proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        proxy.kill(signal.SIGTERM)
        assert wire.is_over(sock)
    assert proxy.wait_exit() == 0
    assert [e["reason"] for e in proxy.sessions()] == ["shutdown"]


@pytest.mark.concurrency
@pytest.mark.parametrize("first, second", [
    (signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT),
    (signal.SIGTERM, signal.SIGINT)])
def test_the_second_signal_ends_it_at_once(db, start, peer, first, second):
    db.add("sa-1", peer(Silent))
    proxy = start(EDGEPROXY_SHUTDOWN_TIMEOUT_SECS=86400)
    with contextlib.ExitStack() as held:
        socks = [held.enter_context(proxy.connect(BR)) for _ in range(10)]
        for sock in socks:
            sock.sendall(b"x")
        until(lambda: not refused(proxy.addr), "a listener")
        proxy.kill(first)
        proxy.wait_event("stopping")
        proxy.kill(second)
        assert proxy.wait_exit() == 0
        for sock in socks:
            assert wire.is_over(sock)
    assert {e["reason"] for e in proxy.sessions()} <= {"shutdown", "client-gone", "done"}


@pytest.mark.concurrency
def test_clients_that_were_queued_are_served(db, start, peer):
    """Those whom the kernel accepted before the signal are no collateral damage."""
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy = start(EDGEPROXY_SHUTDOWN_TIMEOUT_SECS=3600, EDGEPROXY_MAX_CONN=2000)
    socks = [proxy.connect(BR) for _ in range(100)]
    proxy.kill(signal.SIGTERM)
    for sock in socks:
        assert sock.recv(100) == b"sa-1\n"
        sock.close()
    assert proxy.wait_exit() == 0
    assert len(proxy.sessions()) == 100
    assert {e["reason"] for e in proxy.sessions()} == {"done"}


def test_sighup_ends_nobody(db, start, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy = start()
    with proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        for _ in range(20):
            proxy.sighup()
            sock.sendall(b"still here")
            assert wire.read_exactly(sock, 10) == b"still here"
    assert proxy.label(BR) == "sa-1"


def test_a_client_that_is_gone_is_no_signal(db, start, peer):
    """Writing to a closed connection must not end the process (SIGPIPE)."""
    db.add("sa-1", peer(Source, wire.Stream(1 << 20)))
    proxy = start()
    for number in range(20):
        wire.reset(proxy.connect(BR))
    proxy.wait_session(count=20)
    assert proxy.process.poll() is None
