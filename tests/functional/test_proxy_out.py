"""PROXY headers that go out, as send_proxy of a service asks."""

import socket

import pytest

import wire
from harness import BR, BR6, recorded
from peers import Exchange, ReadsHeader, Refusing, ResetAfterRequest, ResetOnAccept

VERSIONS = [1, 2]


@pytest.fixture(params=VERSIONS, ids=["v1", "v2"])
def version(request):
    return request.param


@pytest.fixture
def proxied(db, start, peer, version, relay_mode, port):
    """(proxy, backend): the backend wants a header."""
    backend = peer(ReadsHeader)
    db.add("only", backend)
    listen = port()
    db.service(listen, send_proxy=version)
    return start(EDGEPROXY_LISTEN_ADDR=listen, EDGEPROXY_RELAY_MODE=relay_mode), backend


def test_a_direct_client(proxied, version):
    proxy, backend = proxied
    with proxy.connect(bind="127.0.0.2") as sock:
        client, listener = sock.getsockname(), sock.getpeername()
        sock.sendall(b"hello")
        assert wire.read_exactly(sock, 5) == b"hello"
    assert backend.headers == [(version, client, listener)]
    assert proxy.wait_session()["bytes_in"] == "5"  # the header is not the client's


@pytest.mark.parametrize("src", [BR, BR6])
@pytest.mark.parametrize("version_in", VERSIONS)
def test_the_client_of_the_header_that_came_in(proxied, version, version_in, src):
    proxy, backend = proxied
    with proxy.connect((src, 4321), version=version_in) as sock:
        sock.sendall(b"hello")
        assert wire.read_exactly(sock, 5) == b"hello"
    assert [header[:2] for header in backend.headers] == [(version, (src, 4321))]


def test_a_large_upload_behind_the_header(proxied):
    proxy, backend = proxied
    stream = wire.Stream(4_000_000)
    with proxy.connect(BR) as sock:
        for block in stream.blocks():
            sock.sendall(block)
            assert wire.read_exactly(sock, len(block)) == block
        sock.shutdown(socket.SHUT_WR)
        assert wire.read_all(sock) == b""
    assert proxy.wait_session()["bytes_in"] == str(stream.size)


def test_a_backend_that_is_told_at_once(proxied):
    """The header does not wait for the client to speak."""
    proxy, backend = proxied
    with proxy.connect(BR) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert wire.read_all(sock) == b""
    assert len(recorded(backend.headers)) == 1


def test_each_backend_that_is_tried_gets_one(db, start, peer, version, relay_mode, port):
    refusing, first, second = peer(Refusing), peer(ResetAfterRequest), peer(ReadsHeader)
    db.add("refusing", refusing, country="BR")
    db.add("first", first, country="BR")
    db.add("mute", peer(ResetOnAccept), country="BR")
    db.add("second", second)
    listen = port()
    db.service(listen, send_proxy=version)
    proxy = start(EDGEPROXY_LISTEN_ADDR=listen, EDGEPROXY_RELAY_MODE=relay_mode)
    with proxy.connect(BR) as sock:
        sock.sendall(b"question")
        assert wire.read_exactly(sock, 8) == b"question"
    assert [header[:2] for header in second.headers] == [(version, (BR, 5555))]
    src, _, rest = wire.parse_header(first.requests[0])
    assert src == (BR, 5555) and b"question".startswith(rest)
    session = proxy.wait_session()
    assert (session["backend"], session["retries"]) == ("second", "3")
    assert session["bytes_in"] == "8"


def test_versions_belong_to_listeners(db, start, peer, port):
    backend = peer(ReadsHeader)
    plain = peer(Exchange, wire.Stream(5))
    db.add("only", backend, app="header")
    db.add("plain", plain, app="plain")
    db.service(port("127.0.0.2"), app="header", send_proxy=1)
    db.service(port("127.0.0.3"), app="header", send_proxy=2)
    db.service(port("127.0.0.4"), app="plain", send_proxy=0)
    db.service(port("127.0.0.5"), app="plain")
    proxy = start()
    for host in ("127.0.0.2", "127.0.0.3"):
        with proxy.connect(BR, to=proxy.listen_addr(host)) as sock:
            sock.sendall(b"x")
            assert sock.recv(10) == b"x"
    assert [header[0] for header in backend.headers] == [1, 2]
    for host in ("127.0.0.4", "127.0.0.5"):
        with proxy.connect(BR, to=proxy.listen_addr(host)) as sock:
            sock.shutdown(socket.SHUT_WR)
            assert len(wire.read_all(sock)) == 5
    assert [count for count, _ in recorded(plain.uploads, 2)] == [0, 0]
