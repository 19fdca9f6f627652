"""Does anybody wait for an acknowledgement that the proxy keeps? The kernel counts those that were
sent only when their timer had run out, in a network namespace all of them together: so these tests
are run in one of their own, by test_packets.py.

A proxy that is kept from running for long enough makes one late, too. So not all tries may wait."""

import re
import socket
from pathlib import Path

import pytest

import wire
from peers import Identity, Peer
from test_packets import serve  # noqa: F401 (a fixture)

TRIES = 12

ways = pytest.mark.parametrize("env", [
    {}, {"EDGEPROXY_RELAY_MODE": "splice"}, {"EDGEPROXY_RETRY_ON": "conn-failure"},
    {"EDGEPROXY_BACKEND_FASTOPEN": "1"}], ids=lambda env: "-".join(env.values()) or "plain")


def delayed_acks():
    names, values = re.findall("^TcpExt: (.*)$", Path("/proc/net/netstat").read_text(), re.MULTILINE)
    return int(dict(zip(names.split(), values.split()))["DelayedACKs"])


@ways
def test_a_backend_that_speaks_first_is_told_that_it_is_connected(serve, peer, env):  # noqa: F811
    proxy = serve(peer(Identity, "here"), **env)
    waited = 0
    for _ in range(TRIES):
        before = delayed_acks()
        with proxy.connect() as sock:
            assert wire.read_line(sock) == "here"
            waited += delayed_acks() > before
    assert waited < TRIES


class TwoWrites(Peer):
    """Answers in two writes and without TCP_NODELAY, as many a server does that writes header and
    body apart: its kernel keeps the second until the first is acknowledged."""

    def script(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        sock.recv(100)
        sock.sendall(b"header ")
        sock.sendall(b"body")
        wire.read_all(sock)


@ways
def test_a_first_answer_in_two_writes_comes_at_once(serve, peer, env):  # noqa: F811
    """A new connection acknowledges at once (the kernel's quick ACKs), through the proxy too."""
    proxy = serve(peer(TwoWrites), **env)
    waited = 0
    for _ in range(TRIES):
        before = delayed_acks()
        with proxy.connect() as sock:
            sock.sendall(b"question")
            assert wire.read_exactly(sock, 11) == b"header body"
            waited += delayed_acks() > before
    assert waited < TRIES / 2
