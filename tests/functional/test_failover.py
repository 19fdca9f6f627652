"""A backend that cannot be reached is not the client's problem while another can."""

import errno
import socket

import pytest

import wire
from harness import BR, needs_ipv6, until
from peers import (Blackhole, Echo, EchoOnce, Identity, Refusing, ResetAfterAnswer,
                   ResetAfterRequest, ResetOnAccept, SeesReset)

# Own country first, so the order of tries is certain.
FIRST = dict(country="BR", soft_limit=1000)


@pytest.fixture
def second(db, peer):
    """The backend that is tried after one of FIRST."""
    backend = peer(Identity, "second")
    db.add("second", backend)
    return backend


def test_refused(db, start, peer, second, relay_mode):
    db.add("first", peer(Refusing), **FIRST)
    proxy = start(EDGEPROXY_RELAY_MODE=relay_mode)
    assert proxy.label(BR) == "second"
    failed = proxy.wait_event("connect_failed")
    assert failed["backend"] == "first" and failed["level"] == "warn"
    assert "refused" in failed["error"].lower()
    session = proxy.wait_session()
    assert (session["backend"], session["retries"], session["reason"]) == ("second", "1", "done")


@needs_ipv6
def test_refused_over_ipv6(db, start, peer, second):
    db.add("first", peer(Refusing, host="::1"), **FIRST)
    proxy = start()
    assert proxy.label(BR) == "second"


def test_no_answer(db, start, peer, second):
    db.add("first", peer(Blackhole), **FIRST)
    proxy = start(EDGEPROXY_CONNECT_TIMEOUT_MS=200)
    assert proxy.label(BR) == "second"
    failed = proxy.wait_event("connect_failed")
    assert failed["backend"] == "first"
    assert "timed out" in failed["error"].lower() or "timeout" in failed["error"].lower()


@pytest.mark.parametrize("retry_on", ["conn-failure", "early-reset"])
def test_reset_before_the_client_has_said_anything(db, start, peer, second, relay_mode, retry_on):
    first = peer(ResetOnAccept)
    db.add("first", first, **FIRST)
    proxy = start(EDGEPROXY_RELAY_MODE=relay_mode, EDGEPROXY_RETRY_ON=retry_on)
    assert proxy.label(BR) == "second"
    session = proxy.wait_session()
    assert (session["backend"], session["retries"]) == ("second", "1")
    assert first.accepted == 1


@pytest.mark.concurrency
@pytest.mark.parametrize("size", [1, 100, 1000])
def test_reset_after_the_request_sends_it_again(db, start, peer, relay_mode, size):
    first, second = peer(ResetAfterRequest), peer(EchoOnce, "second")
    db.add("first", first, **FIRST)
    db.add("second", second)
    proxy = start(EDGEPROXY_RELAY_MODE=relay_mode)
    request = b"?" * size
    with proxy.connect(BR) as sock:
        sock.sendall(request)
        assert wire.read_all(sock) == b"second " + request
    assert first.requests == [request] and second.requests == [request]
    session = proxy.wait_session()
    assert (session["backend"], session["retries"], session["reason"]) == ("second", "1", "done")
    assert int(session["bytes_in"]) == size


def test_a_request_with_its_end_is_answered_whole_or_not_at_all(db, start, peer, relay_mode):
    """A client that ended its side behind the request gets its answer from the next backend, or a
    reset: no clean end without an answer."""
    first, second = peer(ResetAfterRequest), peer(EchoOnce, "second")
    db.add("first", first, **FIRST)
    db.add("second", second)
    proxy = start(EDGEPROXY_RELAY_MODE=relay_mode)
    with proxy.connect(BR) as sock:
        try:
            sock.sendall(b"last words")
            sock.shutdown(socket.SHUT_WR)
            assert wire.read_all(sock) == b"second last words"
        except OSError as error:
            assert error.errno in (errno.ECONNRESET, errno.ENOTCONN)
            assert second.requests == []


def test_nothing_is_sent_twice_unless_asked_to(db, start, peer, relay_mode):
    first, second = peer(ResetAfterRequest), peer(EchoOnce, "second")
    db.add("first", first, **FIRST)
    db.add("second", second)
    proxy = start(EDGEPROXY_RELAY_MODE=relay_mode, EDGEPROXY_RETRY_ON="conn-failure")
    with proxy.connect(BR) as sock:
        sock.sendall(b"pay 100")
        assert wire.read_to_reset(sock) == b""
    session = proxy.wait_session()
    assert (session["backend"], session["retries"]) == ("first", "0")
    assert session["reason"] == "server-reset"
    assert second.requests == [] and second.accepted == 0


def test_nothing_is_sent_twice_once_there_is_an_answer(db, start, peer, second, relay_mode):
    db.add("first", peer(ResetAfterAnswer, b"half an ans", wait=True), **FIRST)
    proxy = start(EDGEPROXY_RELAY_MODE=relay_mode)
    with proxy.connect(BR) as sock:
        assert wire.read_exactly(sock, 11) == b"half an ans"
        sock.sendall(b"go on")
        assert wire.read_to_reset(sock) == b""
    assert proxy.wait_session()["reason"] == "server-reset"
    assert second.accepted == 0


def test_a_clean_end_is_an_answer(db, start, peer, second, relay_mode):
    class Hello(Identity):
        def script(self, sock):
            pass

    db.add("first", peer(Hello, ""), **FIRST)
    proxy = start(EDGEPROXY_RELAY_MODE=relay_mode)
    with proxy.connect(BR) as sock:
        assert wire.read_all(sock) == b""
    session = proxy.wait_session()
    assert (session["backend"], session["reason"]) == ("first", "done")
    assert second.accepted == 0


@pytest.mark.concurrency
def test_many_dead_before_one_that_lives(db, start, peer, second):
    for number in range(20):
        db.add(f"dead-{number}", peer(Refusing), **FIRST)
    proxy = start()
    assert proxy.label(BR) == "second"
    assert proxy.wait_session()["retries"] == "20"
    tried = [e["backend"] for e in proxy.log.find("connect_failed")]
    assert sorted(tried) == sorted(f"dead-{n}" for n in range(20))


def test_all_dead(db, start, peer):
    for number in range(3):
        db.add(f"dead-{number}", peer(Refusing))
    proxy = start()
    with proxy.connect(BR) as sock:
        assert wire.is_over(sock)
    session = proxy.wait_session()
    assert session["reason"] == "connect-failed"
    proxy.wait_event("connect_failed", count=3)


def test_all_reset(db, start, peer, relay_mode):
    for number in range(3):
        db.add(f"bad-{number}", peer(ResetOnAccept))
    proxy = start(EDGEPROXY_RELAY_MODE=relay_mode)
    with proxy.connect(BR) as sock:
        assert wire.is_over(sock)
    assert proxy.wait_session()["reason"] in ("connect-failed", "server-reset")


def test_the_budget_ends_the_tries(db, start, peer):
    for number in range(6):
        db.add(f"hole-{number}", peer(Blackhole))
    proxy = start(EDGEPROXY_CONNECT_TIMEOUT_MS=300, EDGEPROXY_CONNECT_BUDGET_MS=700)
    with proxy.connect(BR) as sock:
        assert wire.is_over(sock)
    session = proxy.wait_session()
    assert session["reason"] == "connect-budget"
    assert len(proxy.log.find("connect_failed")) <= 4


def test_full_and_dead_together(db, start, peer):
    db.add("full", peer(Identity, "full"), country="BR", soft_limit=1, hard_limit=1)
    db.add("dead", peer(Refusing))
    proxy = start(EDGEPROXY_QUEUE_MAX=0)
    with proxy.connect(BR) as sock:
        assert sock.recv(100) == b"full\n"
        assert proxy.label(BR) == ""
        assert proxy.wait_session()["reason"] == "connect-failed"


def test_a_failed_connect_gives_its_place_back(db, start, peer):
    dead = peer(Refusing)
    db.add("only", dead, soft_limit=1, hard_limit=1)
    proxy = start()
    for _ in range(5):
        assert proxy.label(BR) == ""
    proxy.wait_session(lambda e: e["reason"] == "connect-failed", count=5)
    db.set("only", port=peer(Identity, "only").addr[1])
    until(lambda: proxy.label(BR) == "only", "the revived backend")


def test_the_client_leaves_while_connecting(db, start, peer):
    hole = peer(Blackhole)
    db.add("only", hole, soft_limit=1, hard_limit=1)
    proxy = start(EDGEPROXY_CONNECT_TIMEOUT_MS=3600000, EDGEPROXY_CONNECT_BUDGET_MS=3600000,
                  EDGEPROXY_TCP_USER_TIMEOUT_MS=0)
    wire.reset(proxy.connect(BR))
    assert proxy.wait_session()["reason"] == "client-gone"

    db.set("only", port=peer(Identity, "only").addr[1])

    def its_place_is_free():
        sock = proxy.connect(BR, timeout=0.5)
        try:
            return wire.read_line(sock) == "only"
        except TimeoutError:
            return False  # still with the old table
        finally:
            wire.reset(sock)

    until(its_place_is_free, "its place is free again")


def test_clients_leave_right_behind_their_header(db, start, peer):
    """Header and reset may be seen in one look; nobody connects to a backend for a dead client."""
    db.add("only", peer(Blackhole))
    proxy = start(EDGEPROXY_CONNECT_TIMEOUT_MS=3600000, EDGEPROXY_CONNECT_BUDGET_MS=3600000,
                  EDGEPROXY_TCP_USER_TIMEOUT_MS=0, EDGEPROXY_WORKERS=1,
                  EDGEPROXY_PROXY_HEADER_TIMEOUT_MS=3600000)
    before, count = proxy.fd_count(), 100
    socks = [proxy.connect() for _ in range(count)]
    until(lambda: proxy.fd_count() >= before + count, "all of them accepted")
    for sock in socks:
        sock.sendall(wire.header_v2((BR, 5555), proxy.addr))
        wire.reset(sock)
    proxy.wait_session(lambda e: e["reason"] == "client-gone", count=count)


def test_bytes_sent_while_connecting_are_not_lost(db, start, peer, relay_mode):
    db.add("first", peer(Blackhole), **FIRST)
    db.add("second", peer(Echo))
    proxy = start(EDGEPROXY_RELAY_MODE=relay_mode, EDGEPROXY_CONNECT_TIMEOUT_MS=500)
    data = wire.Stream(200_000)
    with proxy.connect(BR) as sock:
        data.send(sock)
        sock.shutdown(socket.SHUT_WR)
        assert wire.hash_to_end(sock) == (data.size, data.digest())


def test_a_backend_that_dies_resets_its_clients(db, start, peer, second, relay_mode):
    first = peer(SeesReset, greeting=b"first\n")
    db.add("first", first, **FIRST)
    proxy = start(EDGEPROXY_RELAY_MODE=relay_mode)
    with proxy.connect(BR) as sock:
        assert sock.recv(100) == b"first\n"
        first.die()
        assert wire.read_to_reset(sock) == b""
    assert proxy.wait_session()["reason"] == "server-reset"
    assert proxy.label(BR) == "second"


class FlakyOnce(Identity):
    """Resets its first connection and serves the rest."""

    def script(self, sock):
        if self.accepted == 1:
            wire.reset(sock)
        else:
            super().script(sock)


def test_recovery_needs_no_reload(db, start, peer):
    """What failed once is tried again for the next client."""
    flaky = peer(FlakyOnce, "only")
    db.add("only", flaky)
    proxy = start()
    assert proxy.label(BR) == ""
    assert proxy.label(BR) == "only"
