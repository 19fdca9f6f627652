"""How many packets a connection takes, as the kernel counts them: what can travel together does, and
nothing waits for something to travel with.

What others on this machine do costs a packet now and then (a client's bytes come a little later, an
end is seen after the bytes before it), so of some tries the best counts. Where bytes or
acknowledgements wait, they do so in each."""

import contextlib
import ctypes
import errno
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import wire
from harness import recorded, until
from peers import Echo, Peer, Silent

TRIES = 12
PIDFD_GETFD = 438  # pidfd_getfd(2): the same on every architecture

# Of struct tcp_info (linux/tcp.h): tcpi_segs_in.
SEGMENTS_IN_AT = 140


def segments_in(sock):
    """Packets that have come, those of the handshake too."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return struct.unpack_from("I", info, SEGMENTS_IN_AT)[0]


def nodelay_towards(proxy, backend):
    """TCP_NODELAY of each of the proxy's sockets that is connected to this backend."""
    found = []
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(proxy.pid)
    try:
        for fd in os.listdir(f"/proc/{proxy.pid}/fd"):
            copy = libc.syscall(PIDFD_GETFD, pidfd, int(fd), 0)
            if copy < 0 and ctypes.get_errno() == errno.EPERM:
                pytest.skip("no right to look at the proxy's sockets")
            if copy < 0:
                continue
            try:
                with socket.socket(fileno=copy) as sock:
                    if sock.getpeername()[:2] == backend.addr:
                        found.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)
            except OSError:
                with contextlib.suppress(OSError):
                    os.close(copy)  # no socket
    finally:
        os.close(pidfd)
    return found


class Counts(Peer):
    """Reads to the client's end, and notes what came and in how many packets."""

    def __init__(self):
        self.came = []
        super().__init__()

    def script(self, sock):
        self.came.append((wire.read_all(sock), segments_in(sock)))


class LastWords(Peer):
    """Its bytes and its end are one packet; then it reads to the client's end."""

    def script(self, sock):
        sock.send(b"last words", socket.MSG_MORE)
        sock.shutdown(socket.SHUT_WR)
        wire.read_all(sock)


@pytest.fixture
def serve(db, start):
    """serve(backend) is a proxy in front of it, whose clients speak for themselves."""
    def make(backend, **env):
        db.add("only", backend)
        return start(EDGEPROXY_TRUSTED_PROXIES="", **env)
    return make


@pytest.mark.parametrize("mode", ["copy", "auto"])
def test_the_end_of_a_backend_goes_with_its_last_bytes(serve, peer, mode):
    """A SYN and ACK, and the bytes with the end."""
    proxy = serve(peer(LastWords), EDGEPROXY_RELAY_MODE=mode)
    fewest = TRIES
    for _ in range(TRIES):
        with proxy.connect() as sock:
            assert wire.read_all(sock) == b"last words"
            fewest = min(fewest, segments_in(sock))
    assert fewest == 2


@pytest.mark.parametrize("mode", ["copy", "auto"])
def test_the_end_of_a_client_goes_with_its_last_bytes(serve, peer, mode):
    """A SYN, an ACK, and all the rest: where no bytes are kept for a retry."""
    backend = peer(Counts)
    proxy = serve(backend, EDGEPROXY_RELAY_MODE=mode, EDGEPROXY_RETRY_ON="conn-failure")
    for _ in range(TRIES):
        with proxy.connect() as sock:
            sock.send(b"last words", socket.MSG_MORE)
            sock.shutdown(socket.SHUT_WR)
            assert wire.read_all(sock) == b""
    came = recorded(backend.came, TRIES)
    assert {data for data, _ in came} == {b"last words"}
    assert min(segments for _, segments in came) == 3


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None,
                    reason="needs a network namespace of its own: root and iproute2")
@pytest.mark.parametrize("mode", ["copy", "auto", "splice"])
@pytest.mark.parametrize("answered", [False, True])
def test_a_second_message_waits_for_no_acknowledgement(serve, peer, mode, answered):
    """TCP_NODELAY is set before it is sent; the first, which needs none, is sent without."""
    backend = peer(Echo if answered else Silent)
    proxy = serve(backend, EDGEPROXY_RELAY_MODE=mode)
    with proxy.connect() as sock:
        sock.sendall(b"first")
        if answered:
            assert wire.read_exactly(sock, 5) == b"first"
        else:
            until(lambda: bytes(backend.received) == b"first", "the first message")
        assert nodelay_towards(proxy, backend) == [False]
        sock.sendall(b"second")
        until(lambda: nodelay_towards(proxy, backend) == [True], "TCP_NODELAY")


def test_a_header_before_the_first_message_counts_as_one(serve, db, peer, port):
    backend = peer(Silent)
    listen = port()
    db.service(listen, send_proxy=2)
    proxy = serve(backend, EDGEPROXY_LISTEN_ADDR=listen)
    with proxy.connect():
        until(lambda: nodelay_towards(proxy, backend) == [True], "TCP_NODELAY")


def test_nothing_waits():
    """In a network namespace, where the kernel counts nobody else's acknowledgements."""
    run = subprocess.run(
        ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable,
         "-m", "pytest", "-q", "-p", "no:cacheprovider",
         str(Path(__file__).with_name("delayed_acks.py"))],
        capture_output=True, text=True, timeout=240)
    if "unshare failed" in run.stderr or "Operation not permitted" in run.stderr:
        pytest.skip("no network namespace can be made here")
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
