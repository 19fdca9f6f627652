"""Sessions in which nothing happens end, each side by its own timeout."""

import contextlib
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

import wire
from harness import BR, PATIENCE_SECS, until
from peers import Deaf, Echo, EndFirst, Identity, Mute, Peer, Silent, Trickler

SHORT_MS = 300


def test_a_silent_client(serve, peer, relay_mode):
    proxy = serve(peer(Identity, "only"), relay_mode, EDGEPROXY_CLIENT_TIMEOUT_MS=SHORT_MS)
    with proxy.connect(BR) as sock:
        assert sock.recv(100) == b"only\n"
        assert wire.is_over(sock)
    assert proxy.wait_session()["reason"] == "client-timeout"


def test_nobody_says_anything(db, start, peer, port, relay_mode):
    """Only those sessions end in which neither side has sent a byte."""
    first, silent = port(), port()
    db.service(first, app="first")
    db.service(silent, app="silent")
    db.add("speaks-first", peer(Identity, "speaks-first"), app="first")
    db.add("silent", peer(Silent), app="silent")
    proxy = start(EDGEPROXY_RELAY_MODE=relay_mode, EDGEPROXY_FIRST_BYTE_TIMEOUT_MS=SHORT_MS,
                  EDGEPROXY_LISTEN_ADDR="")
    proxy.wait_event("listening", count=2)
    to_first, to_silent = (("127.0.0.1", int(a.rsplit(":", 1)[1])) for a in (first, silent))
    with proxy.connect(BR, to=to_first) as listener, proxy.connect(to=to_silent) as asker, \
            proxy.connect(to=to_silent) as ender, proxy.connect(BR, to=to_silent) as idler:
        # What these say comes with their headers, however slow this test is.
        asker.sendall(wire.header_v2((BR, 5555), to_silent) + b"?")
        ender.sendall(wire.header_v2((BR, 5555), to_silent), socket.MSG_MORE)
        ender.shutdown(socket.SHUT_WR)
        assert listener.recv(100) == b"speaks-first\n"
        assert wire.is_over(idler)
        assert wire.read_all(ender) == b""
        # All others are as old, and older than any that is closed now.
        with proxy.connect(BR, to=to_silent) as later:
            assert wire.is_over(later)
        proxy.wait_session(lambda e: e["reason"] == "first-byte-timeout", count=2)
        listener.sendall(b"x")
        assert listener.recv(1) == b"x"
        assert not wire_ready(asker)
    reasons = sorted(e["reason"] for e in proxy.sessions())
    assert reasons.count("first-byte-timeout") == 2


def test_no_first_byte_timeout_unless_asked_for(serve, peer):
    proxy = serve(peer(Echo), "auto")
    with proxy.connect(BR) as sock:
        assert not wire_ready(sock)
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"


def test_a_silent_backend(serve, peer, relay_mode):
    backend = peer(Silent)
    proxy = serve(backend, relay_mode, EDGEPROXY_SERVER_TIMEOUT_MS=SHORT_MS)
    with proxy.connect(BR) as sock:
        sock.sendall(b"anybody there?")
        assert wire.is_over(sock)
    assert proxy.wait_session()["reason"] == "server-timeout"
    until(lambda: bytes(backend.received) == b"anybody there?", "the question")
    until(lambda: backend.open == 0, "the backend's end")


def test_a_backend_that_does_not_read(serve, peer, relay_mode):
    """Bytes that nobody takes are no activity of the backend."""
    proxy = serve(peer(Deaf), relay_mode, EDGEPROXY_SERVER_TIMEOUT_MS=SHORT_MS)
    with proxy.connect(BR) as sock:
        with pytest.raises(ConnectionError):
            while True:
                sock.sendall(b"x" * 65536)
    assert proxy.wait_session()["reason"] == "server-timeout"


def test_a_backend_that_keeps_its_half(serve, peer, relay_mode):
    proxy = serve(peer(Mute, b"only\n"), relay_mode, EDGEPROXY_SERVER_FIN_TIMEOUT_MS=SHORT_MS)
    with proxy.connect(BR) as sock:
        assert sock.recv(100) == b"only\n"
        sock.shutdown(socket.SHUT_WR)
        assert wire.is_over(sock)
    assert proxy.wait_session()["reason"] == "server-fin-timeout"


def test_a_client_that_keeps_its_half(serve, peer, relay_mode):
    proxy = serve(peer(EndFirst), relay_mode, EDGEPROXY_CLIENT_FIN_TIMEOUT_MS=SHORT_MS)
    with proxy.connect(BR) as sock:
        assert wire.read_all(sock) == b"hello\n"
        assert proxy.wait_session()["reason"] == "client-fin-timeout"
        # The proxy's end of it is closed: what is sent now is answered by a reset.
        with pytest.raises(ConnectionError):
            until(lambda: sock.sendall(b"x"), "a reset")


class EndsThenLags(Peer):
    """Ends its side when told to, and reads only when told to."""

    def __init__(self):
        self.ends = threading.Event()
        self.reads = threading.Event()
        super().__init__()

    def script(self, sock):
        sock.sendall(b"hello\n")
        self.ends.wait(PATIENCE_SECS)
        sock.shutdown(socket.SHUT_WR)
        self.reads.wait(PATIENCE_SECS)
        with contextlib.suppress(ConnectionResetError):
            wire.hash_to_end(sock)

    def close(self):
        self.ends.set()
        self.reads.set()
        super().close()


def has_keepalive(backend):
    """Does the keepalive timer run towards this backend? From then on the session is a long one,
    and has no other timer than its timeouts."""
    host, port = backend.addr
    wanted = f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}"
    sockets = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines())
    return any(one[2] == wanted and one[5].startswith("02:") for one in sockets)


def send_until_full(sock):
    """Sends until nobody takes more for several timeouts; returns how many bytes went."""
    sent, last = 0, time.monotonic()
    sock.setblocking(False)
    while time.monotonic() - last < 5 * SHORT_MS / 1000:
        try:
            sent += sock.send(b"x" * 65536)
            last = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    return sent


def test_a_client_that_keeps_its_half_behind_a_backend_that_lagged(serve, peer):
    """While bytes wait for the backend it is the one who is waited for; when it has taken them the
    shorter time counts again."""
    backend = peer(EndsThenLags)
    proxy = serve(backend, "auto", EDGEPROXY_CLIENT_FIN_TIMEOUT_MS=SHORT_MS,
                  EDGEPROXY_CLIENT_TIMEOUT_MS=600_000, EDGEPROXY_SERVER_TIMEOUT_MS=600_000)
    with proxy.connect(BR) as sock:
        assert wire.read_line(sock) == "hello"
        until(lambda: has_keepalive(backend), "a long session")
        # The other side must lag before the short time is over, so it does from the beginning.
        sent = send_until_full(sock)
        backend.ends.set()
        sock.settimeout(PATIENCE_SECS)
        assert wire.is_over(sock)
        sent += send_until_full(sock)
        backend.reads.set()
        session = proxy.wait_event("session", timeout=20)
    assert (session["reason"], int(session["bytes_in"])) == ("client-fin-timeout", sent)


@pytest.mark.parametrize("mode, side", [("copy", "CLIENT"), ("splice", "SERVER")])
def test_trickled_bytes_are_activity(serve, peer, mode, side):
    """A session that lasts much longer than its timeout, because it is never idle for so long."""
    proxy = serve(peer(Trickler, 30, 0.1), mode, **{f"EDGEPROXY_{side}_TIMEOUT_MS": 1500})
    with proxy.connect(BR) as sock:
        assert wire.read_all(sock) == b"0123456789" * 3
    assert proxy.wait_session()["reason"] == "done"


def test_half_closed_is_no_reason_while_bytes_flow(serve, peer):
    proxy = serve(peer(Trickler, 30, 0.1), "auto", EDGEPROXY_SERVER_FIN_TIMEOUT_MS=1500,
                  EDGEPROXY_CLIENT_FIN_TIMEOUT_MS=1500)
    with proxy.connect(BR) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert wire.read_all(sock) == b"0123456789" * 3
    assert proxy.wait_session()["reason"] == "done"


def test_idle_sessions_wake_nobody(serve, peer):
    """Nothing runs for a session in which nothing happens."""
    proxy = serve(peer(Identity, "only"), "auto", EDGEPROXY_WORKERS=1)
    socks = [proxy.connect(BR) for _ in range(50)]
    for sock in socks:
        assert sock.recv(100) == b"only\n"
    before, polls = proxy.cpu_secs(), 0
    while polls < 20:
        polls += 1
        assert not wire_ready(socks[0])
    assert proxy.cpu_secs() - before < 0.5
    for sock in socks:
        sock.close()


def wire_ready(sock):
    """Is there something to read within a tenth of a second?"""
    sock.settimeout(0.1)
    try:
        return sock.recv(1)
    except TimeoutError:
        return b""
