"""Options that change how sockets are used and must not change what clients get: fast open, busy
polling, congestion control, keepalive and user timeout switched off."""

import contextlib
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

import wire
from harness import BR, recorded, until
from peers import (Blackhole, Echo, EchoOnce, Identity, ReadsHeader, Refusing, ResetAfterRequest,
                   ResetOnAccept, Sink)

FAST = dict(EDGEPROXY_TCP_FASTOPEN=16, EDGEPROXY_BACKEND_FASTOPEN=1)
SETTINGS = {
    "fastopen": FAST,
    "fastopen-splice": {**FAST, "EDGEPROXY_RELAY_MODE": "splice"},
    "fastopen-no-replay": {**FAST, "EDGEPROXY_RETRY_ON": "conn-failure"},
    "busy-spin": dict(EDGEPROXY_BUSY_SPIN_US=50),
    "bare": dict(EDGEPROXY_TCP_KEEPALIVE_SECS=0, EDGEPROXY_TCP_USER_TIMEOUT_MS=0),
}
HEADER = wire.header_v2((BR, 5555), ("127.0.0.1", 80))


@pytest.fixture(params=SETTINGS)
def setting(request):
    return SETTINGS[request.param]


def ask(proxy, request):
    """Header and request in one segment, so that the request is there before any dial."""
    with proxy.connect() as sock:
        sock.sendall(HEADER + request)
        return wire.read_all(sock)


def test_a_request_that_is_there_before_the_connect(db, start, peer, setting):
    backend = peer(EchoOnce, "only")
    db.add("only", backend)
    proxy = start(**setting)
    for number in range(20):
        request = b"request %d" % number
        assert ask(proxy, request) == b"only " + request
    assert backend.requests == [b"request %d" % n for n in range(20)]
    proxy.wait_session(count=20)  # they need not end in the order in which they came
    assert sorted(int(e["bytes_in"]) for e in proxy.sessions()) == 10 * [9] + 10 * [10]


def test_no_request_at_all(db, start, peer, setting):
    db.add("only", peer(Identity, "only"))
    proxy = start(**setting)
    for _ in range(20):
        assert proxy.label(BR) == "only"


@pytest.mark.concurrency
@pytest.mark.parametrize("dead", [Refusing, Blackhole])
def test_the_next_backend_gets_the_request_once(db, start, peer, setting, dead):
    second = peer(EchoOnce, "second")
    for number in range(3):
        db.add(f"dead-{number}", peer(dead), country="BR")
    db.add("second", second)
    proxy = start(EDGEPROXY_CONNECT_TIMEOUT_MS=200, EDGEPROXY_BINDING_TTL_SECS=0, **setting)
    assert ask(proxy, b"question") == b"second question"
    assert second.requests == [b"question"]
    session = proxy.wait_session()
    assert (session["backend"], session["retries"]) == ("second", "3")
    assert (session["bytes_in"], session["bytes_out"]) == ("8", "15")


@pytest.mark.parametrize("first", [ResetOnAccept, ResetAfterRequest])
def test_a_reset_before_the_answer(db, start, peer, setting, first):
    second = peer(EchoOnce, "second")
    db.add("first", peer(first), country="BR")
    db.add("second", second)
    proxy = start(EDGEPROXY_BINDING_TTL_SECS=0, **setting)
    with proxy.connect() as sock:
        sock.sendall(HEADER + b"question")
        try:
            answer = wire.read_all(sock)
        except ConnectionResetError:
            answer = None
    if setting.get("EDGEPROXY_RETRY_ON") == "conn-failure":
        # Once its bytes may have been seen, a client is not sent to another.
        assert answer is None or first is ResetOnAccept
    else:
        assert answer == b"second question"
        assert second.requests == [b"question"]


def test_a_large_upload_whose_beginning_is_there_before_the_connect(db, start, peer, setting):
    db.add("only", peer(Sink))
    proxy = start(**setting)
    stream = wire.Stream((4 << 20) + 3)
    with proxy.connect() as sock:
        blocks = stream.blocks()
        sock.sendall(HEADER + next(blocks))
        for block in blocks:
            sock.sendall(block)
        sock.shutdown(socket.SHUT_WR)
        assert wire.read_all(sock) == f"{stream.size} {stream.digest()}\n".encode()
    assert proxy.wait_session()["bytes_in"] == str(stream.size)


@pytest.mark.parametrize("version", [1, 2])
def test_with_a_header_to_the_backend(db, start, peer, port, setting, version):
    backend = peer(ReadsHeader)
    db.add("dead", peer(Refusing), country="BR")
    db.add("only", backend)
    listen = port()
    db.service(listen, send_proxy=version)
    proxy = start(EDGEPROXY_LISTEN_ADDR=listen, **setting)
    with proxy.connect() as sock:
        sock.sendall(HEADER + b"hello")
        assert wire.read_exactly(sock, 5) == b"hello"
        sock.sendall(b"again")
        assert wire.read_exactly(sock, 5) == b"again"
    assert [header[:2] for header in recorded(backend.headers)] == [(version, (BR, 5555))]
    assert proxy.wait_session()["bytes_in"] == "10"


# Congestion control

def other_congestion_control():
    proc = Path("/proc/sys/net/ipv4")
    usual = (proc / "tcp_congestion_control").read_text().split()
    allowed = (proc / "tcp_allowed_congestion_control").read_text().split()
    return next((name for name in allowed if name not in usual), None)


needs_another = pytest.mark.skipif(
    not shutil.which("ss") or not other_congestion_control(),
    reason="no ss, or only one congestion control")


def congestion_of(local, remote):
    """The congestion control of the proxy's socket between these ports; None for any port."""
    where = " and ".join(f"{side} = :{addr[1]}" for side, addr in (("sport", local),
                                                                 ("dport", remote)) if addr)
    out = subprocess.run(["ss", "-tinHO", "state", "established", f"( {where} )"], check=True,
                         capture_output=True, text=True).stdout
    words = [line.split() for line in out.splitlines()]
    return {name for line in words for name in line if name in ("reno", "cubic", "bbr", "vegas")}


@needs_another
@pytest.mark.parametrize("by", ["option", "row"])
def test_congestion_control(db, start, peer, port, by):
    name = other_congestion_control()
    backend = peer(Echo)
    db.add("only", backend)
    listen = port()
    db.service(listen)
    env = {}
    if by == "row":
        db.run("ALTER TABLE backends ADD COLUMN congestion TEXT")
        db.run("ALTER TABLE services ADD COLUMN congestion TEXT")
        db.run("UPDATE backends SET congestion = ?", name)
        db.run("UPDATE services SET congestion = ?", name)
    else:
        env = {"EDGEPROXY_TCP_CONGESTION": name, "EDGEPROXY_BACKEND_TCP_CONGESTION": name}
    proxy = start(EDGEPROXY_LISTEN_ADDR=listen, **env)
    with proxy.connect(BR) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
        assert congestion_of(proxy.addr, sock.getsockname()) == {name}
        assert name in congestion_of(None, backend.addr)


@needs_another
def test_the_congestion_control_of_a_listener_changes_in_place(db, start, peer, port):
    name = other_congestion_control()
    db.add("only", peer(Identity, "only"))
    listen = port()
    db.run("ALTER TABLE services ADD COLUMN congestion TEXT")
    db.run("INSERT INTO services (listen) VALUES (?)", listen)
    proxy = start(EDGEPROXY_LISTEN_ADDR=listen)

    def is_used():
        with proxy.connect(BR) as sock:
            assert sock.recv(100) == b"only\n"
            return congestion_of(proxy.addr, sock.getsockname()) == {name}

    assert not is_used()
    db.run("UPDATE services SET congestion = ?", name)
    until(is_used, "the other congestion control")
    db.run("UPDATE services SET congestion = NULL")
    until(lambda: not is_used(), "the usual one")


def test_a_congestion_control_that_does_not_exist_hurts_nobody(db, start, peer):
    db.run("ALTER TABLE backends ADD COLUMN congestion TEXT")
    db.add("only", peer(Identity, "only"), congestion="nonesuch")
    proxy = start(EDGEPROXY_TCP_CONGESTION="nonesuch", wait_ready=False)
    # Refused at the start, or served without it: never half a service.
    until(lambda: proxy.log.find("ready") or proxy.log.ended, "a start or its end")
    if proxy.log.find("ready"):
        assert proxy.label(BR) == "only"
    else:
        assert proxy.wait_exit() == 1
        assert any("EDGEPROXY_TCP_CONGESTION" in line for line in proxy.log.lines)


def test_nothing_is_left_open(db, start, peer, setting):
    db.add("only", peer(Echo))
    proxy = start(**setting)
    before = proxy.fd_count()
    for _ in range(30):
        with proxy.connect(BR) as sock, contextlib.suppress(ConnectionError):
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
    proxy.wait_session(count=30)
    until(lambda: proxy.fd_count() <= before + 4, "all descriptors given back")
