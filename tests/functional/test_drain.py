"""What becomes of sessions and bindings when a backend is drained, taken out, or goes down."""

import contextlib
import threading

import pytest

import wire
from harness import BR, until
from peers import Blackhole, Echo, Identity, SeesReset, Silent
from test_affinity import other_of, visit

SHUTDOWN = dict(EDGEPROXY_ON_MARKED_DOWN="shutdown-sessions")
FIRST = dict(country="BR")


def take_out(proxy, db, id, **columns):
    """Changes a row (or removes it) and waits until that routes."""
    mark = proxy.mark()
    if columns:
        db.set(id, **columns)
    else:
        db.remove(id)
    proxy.wait_event("table_loaded", since=mark)


def is_alive(sock):
    sock.sendall(b"ping\n")
    return wire.read_line(sock) == "ping"


def hold(proxy, stack, count, label=None):
    """Sessions that have been answered, all on one backend where label says so."""
    socks = []
    for _ in range(count):
        sock = stack.enter_context(proxy.connect(BR))
        assert label in (None, wire.read_line(sock))
        socks.append(sock)
    return socks


def ended(proxy, reason):
    return len(proxy.sessions(lambda e: e["reason"] == reason))


# ---- drain ----


def test_drain_keeps_sessions_and_bindings_and_takes_nobody_new(pair, db, start):
    proxy = start()
    mine = visit(proxy, BR)["backend"]
    with proxy.connect(BR) as sock:
        assert wire.read_line(sock) == mine
        take_out(proxy, db, mine, state="drain")
        assert is_alive(sock)
        again = visit(proxy, BR)
        assert (again["backend"], again["affinity"]) == (mine, "hit")
        assert {proxy.label(f"200.160.3.{n}") for n in range(1, 30)} == {other_of(mine)}


def test_the_grace_ends(pair, db, start):
    proxy = start(EDGEPROXY_DRAIN_GRACE_SECS=1)
    mine = visit(proxy, BR)["backend"]
    take_out(proxy, db, mine, state="drain")
    until(lambda: visit(proxy, BR)["backend"] == other_of(mine), "the end of the grace")
    assert visit(proxy, BR)["affinity"] == "hit"


# ---- taken out ----

OUT = pytest.mark.parametrize("columns", [dict(state="maint"), dict(deleted=1), {}],
                              ids=["maint", "deleted", "removed"])


@OUT
def test_by_default_sessions_go_on(pair, db, start, columns):
    proxy = start()
    with contextlib.ExitStack() as stack:
        mine = visit(proxy, BR)["backend"]
        socks = hold(proxy, stack, 3, mine)
        take_out(proxy, db, mine, **columns)
        assert proxy.label(BR) == other_of(mine)
        assert all(is_alive(sock) for sock in socks)


@pytest.mark.concurrency
@OUT
def test_sessions_end_spread_over_a_time(db, start, peer, columns):
    first = peer(SeesReset, greeting=b"first\n")
    db.add("first", first, **FIRST)
    db.add("second", peer(Identity, "second"))
    proxy = start(EDGEPROXY_CLOSE_SPREAD_SECS=1)
    with contextlib.ExitStack() as stack:
        socks = hold(proxy, stack, 40, "first")
        other = stack.enter_context(proxy.connect("12.0.0.1"))  # served by either
        take_out(proxy, db, "first", **columns)
        lines = [proxy.wait_session(lambda e: e["reason"] == "backend-gone", count=n + 1)
                 for n in range(40)]
        assert {line["backend"] for line in lines} == {"first"}
        for sock in socks:
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        until(lambda: first.ends.count("reset") >= 40, "resets on the other side")
        assert proxy.label(BR) == "second"
        other.close()


def test_a_long_spread_does_not_end_them_at_once(pair, db, start):
    proxy = start(EDGEPROXY_CLOSE_SPREAD_SECS=86400)
    with contextlib.ExitStack() as stack:
        mine = visit(proxy, BR)["backend"]
        socks = hold(proxy, stack, 20, mine)
        take_out(proxy, db, mine, state="maint")
        # The workers have looked by the time that the next change routes, or soon after.
        take_out(proxy, db, other_of(mine), weight=2)
        assert all(is_alive(sock) for sock in socks)
        assert ended(proxy, "backend-gone") == 0


@pytest.mark.concurrency
@pytest.mark.parametrize("columns, reason", [
    (dict(state="maint"), "backend-gone"), (dict(deleted=1), "backend-gone"),
    ({}, "backend-gone"), (dict(healthy=0), "backend-down")],
    ids=["maint", "deleted", "removed", "unhealthy"])
def test_shutdown_sessions_ends_them_at_once(pair, db, start, columns, reason):
    proxy = start(**SHUTDOWN, EDGEPROXY_CLOSE_SPREAD_SECS=86400)
    with contextlib.ExitStack() as stack:
        mine = visit(proxy, BR)["backend"]
        socks = hold(proxy, stack, 100, mine)
        take_out(proxy, db, mine, **columns)
        proxy.wait_session(lambda e: e["reason"] == reason, count=100)
        for sock in socks:
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        assert proxy.label(BR) == other_of(mine)


def test_drain_and_weight_0_end_nobody(pair, db, start):
    proxy = start(**SHUTDOWN, EDGEPROXY_CLOSE_SPREAD_SECS=1)
    with contextlib.ExitStack() as stack:
        mine = visit(proxy, BR)["backend"]
        socks = hold(proxy, stack, 3, mine)
        take_out(proxy, db, mine, state="drain")
        take_out(proxy, db, mine, state="ready", weight=0)
        # Something that does end sessions has been through.
        other = other_of(mine)
        take_out(proxy, db, mine, weight=1)
        doomed = None
        for n in range(1, 60):
            sock = stack.enter_context(proxy.connect(f"200.160.3.{n}"))
            if wire.read_line(sock) == other:
                doomed = sock
                break
        take_out(proxy, db, other, state="maint")
        proxy.wait_session(lambda e: e["reason"] == "backend-gone")
        with pytest.raises(ConnectionResetError):
            doomed.recv(1)
        assert all(is_alive(sock) for sock in socks)


@pytest.mark.concurrency
def test_an_ejected_backend_loses_its_sessions_if_so_configured(db, start, peer):
    first = peer(Identity, "first")
    db.add("first", first, **FIRST)
    db.add("second", peer(Identity, "second"))
    proxy = start(**SHUTDOWN, EDGEPROXY_BINDING_TTL_SECS=0,
                  EDGEPROXY_OUTLIER_CONSECUTIVE_FAILURES=2)
    with contextlib.ExitStack() as stack:
        socks = hold(proxy, stack, 5, "first")
        first.stop_listening()
        # The success of an answer may be counted a moment after the client has it.
        until(lambda: proxy.label(BR) == "second" and proxy.log.find("backend_ejected"), "ejection")
        proxy.wait_session(lambda e: e["reason"] == "backend-down", count=5)
        for sock in socks:
            with pytest.raises(ConnectionResetError):
                sock.recv(1)


def test_by_default_an_ejected_backend_keeps_its_sessions(db, start, peer):
    first = peer(Identity, "first")
    db.add("first", first, **FIRST)
    db.add("second", peer(Identity, "second"))
    proxy = start(EDGEPROXY_BINDING_TTL_SECS=0, EDGEPROXY_OUTLIER_CONSECUTIVE_FAILURES=2,
                  EDGEPROXY_CLOSE_SPREAD_SECS=1)
    with contextlib.ExitStack() as stack:
        socks = hold(proxy, stack, 5, "first")
        first.stop_listening()
        until(lambda: proxy.label(BR) == "second" and proxy.log.find("backend_ejected"), "ejection")
        assert all(is_alive(sock) for sock in socks)


# ---- sessions that can still go elsewhere ----


@pytest.mark.parametrize("env", [dict(EDGEPROXY_CLOSE_SPREAD_SECS=86400), SHUTDOWN],
                         ids=["spread", "at-once"])
def test_who_is_still_dialling_it_goes_elsewhere(db, start, peer, env):
    db.add("first", peer(Blackhole), **FIRST)
    db.add("second", peer(Identity, "second"))
    proxy = start(**env, EDGEPROXY_CONNECT_TIMEOUT_MS=3000000,
                  EDGEPROXY_CONNECT_BUDGET_MS=3000000, DEBUG=1)
    with proxy.connect(BR) as sock:
        proxy.wait_event("decision", lambda e: e["backend"] == "first")
        take_out(proxy, db, "first", state="maint")
        assert wire.read_line(sock) == "second"


def test_who_has_said_nothing_yet_goes_elsewhere(db, start, peer):
    first = peer(Silent)
    db.add("first", first, **FIRST)
    db.add("second", peer(Identity, "second"))
    proxy = start(**SHUTDOWN, EDGEPROXY_CONNECT_BUDGET_MS=3000000)
    with proxy.connect(BR) as sock:
        until(lambda: first.open == 1, "a connection")
        take_out(proxy, db, "first", state="maint")
        assert wire.read_line(sock) == "second"
        sock.shutdown(1)
    session = proxy.wait_session()
    assert (session["backend"], session["retries"], session["reason"]) == ("second", "1", "done")


def test_who_has_said_something_does_not_say_it_twice(db, start, peer):
    first = peer(Silent)
    second = peer(Echo)
    db.add("first", first, **FIRST)
    db.add("second", second)
    proxy = start(**SHUTDOWN, EDGEPROXY_CONNECT_BUDGET_MS=3000000)
    with proxy.connect(BR) as sock:
        sock.sendall(b"once")
        until(lambda: bytes(first.received) == b"once", "the request")
        take_out(proxy, db, "first", state="maint")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert proxy.wait_session()["reason"] == "backend-gone"
    assert second.accepted == 0


@pytest.mark.concurrency
def test_others_are_served_while_many_end(pair, db, start):
    proxy = start(**SHUTDOWN)
    with contextlib.ExitStack() as stack:
        mine = visit(proxy, BR)["backend"]
        hold(proxy, stack, 400, mine)
        for n in range(1, 60):
            ping = stack.enter_context(proxy.connect(f"200.160.3.{n}"))
            if wire.read_line(ping) == other_of(mine):
                break
        stop = threading.Event()
        pings = []

        def go_on():
            while not stop.is_set():
                pings.append(is_alive(ping))

        thread = threading.Thread(target=go_on)
        thread.start()
        take_out(proxy, db, mine, state="maint")
        proxy.wait_session(lambda e: e["reason"] == "backend-gone", count=400)
        stop.set()
        thread.join()
        assert pings and all(pings)
