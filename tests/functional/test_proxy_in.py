"""PROXY headers that come in: required from trusted addresses, never read from others."""

import socket
import struct

import pytest

import wire
from harness import BR, BR6, PATIENCE_SECS, needs_ipv6, until
from peers import Echo, Identity, Silent

CLIENT = (BR, 4321)
DST = ("198.51.100.1", 443)
HEADERS = {
    "v1": wire.header_v1(CLIENT, DST),
    "v2": wire.header_v2(CLIENT, DST),
    "v1-tcp6": wire.header_v1((BR6, 4321), ("2001:db8::1", 443)),
    "v2-tcp6": wire.header_v2((BR6, 4321), ("2001:db8::1", 443)),
    "v2-tlvs": wire.header_v2(CLIENT, DST, tlvs=b"\x04\x03\xe8" + bytes(1000) + b"\x02\0\x03abc"),
    "v2-mapped": wire.header_v2((f"::ffff:{BR}", 4321), ("::ffff:198.51.100.1", 443)),
}
LOCAL = {
    "v1-unknown": b"PROXY UNKNOWN\r\n",
    "v1-unknown-with-addresses": b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
    "v2-local": wire.header_v2_local(),
    "v2-local-with-addresses": wire.header_v2(CLIENT, DST, command=0x20),
    "v2-unspec": wire.V2_SIGNATURE + b"\x21\0\0\0",
}
BAD = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls": bytes.fromhex("1603010200010001fc0303") + bytes(100),
    "v1-family": b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
    "v1-address": b"PROXY TCP4 1.2.3.400 5.6.7.8 1 2\r\n",
    "v1-port": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
    "v1-wrong-family": b"PROXY TCP4 ::1 ::2 1 2\r\n",
    "v1-endless": b"PROXY TCP4 " + b"1" * 200,
    "v1-no-cr": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n" + bytes(107),
    "v2-version": wire.V2_SIGNATURE + b"\x31\x11\0\x0c" + bytes(12),
    "v2-command": wire.V2_SIGNATURE + b"\x22\x11\0\x0c" + bytes(12),
    "v2-short": wire.V2_SIGNATURE + b"\x21\x11\0\x04" + bytes(12),
    "v2-long": wire.V2_SIGNATURE + b"\x21\x11\xff\xff" + bytes(2000),
    "zeros": bytes(16),
}


@pytest.fixture
def proxied(db, start, peer, relay_mode):
    """(proxy, backend): an echo behind a listener that trusts 127.0.0.1."""
    backend = peer(Echo)
    db.add("only", backend)
    return start(EDGEPROXY_RELAY_MODE=relay_mode,
                 EDGEPROXY_PROXY_HEADER_TIMEOUT_MS=3600000), backend


def client_of(name):
    return f"[{BR6}]:4321" if "tcp6" in name else f"{BR}:4321"


@pytest.mark.parametrize("name", HEADERS)
def test_the_header_names_the_client(proxied, name):
    proxy, _ = proxied
    with proxy.connect() as sock:
        here = "%s:%d" % sock.getsockname()
        sock.sendall(HEADERS[name] + b"payload")  # header and payload in one segment
        assert wire.read_exactly(sock, 7) == b"payload"
        sock.shutdown(socket.SHUT_WR)
        assert wire.read_all(sock) == b""
    session = proxy.wait_session()
    assert session["client"] == client_of(name)
    assert session["peer"] == here
    assert (session["country"], session["bytes_in"]) == ("BR", "7")


@pytest.mark.parametrize("name", ["v1", "v2", "v2-tlvs", "v1-tcp6"])
def test_byte_by_byte(proxied, name):
    proxy, _ = proxied
    with proxy.connect() as sock:
        for byte in HEADERS[name] + b"payload":
            sock.sendall(bytes([byte]))
        assert wire.read_exactly(sock, 7) == b"payload"
    assert proxy.wait_session()["client"] == client_of(name)


def test_a_large_payload_behind_the_header(proxied):
    proxy, _ = proxied
    stream = wire.Stream(3_000_001)
    with proxy.connect() as sock:
        sock.sendall(HEADERS["v2"] + b"".join(list(stream.blocks())[:2]))
        rest = list(stream.blocks())[2:]
        for block in rest:
            sock.sendall(block)
            wire.read_exactly(sock, len(block))
        sock.shutdown(socket.SHUT_WR)
        assert len(wire.read_all(sock)) == stream.size - sum(map(len, rest))


def test_a_header_and_the_end_in_one_segment(proxied):
    proxy, _ = proxied
    with proxy.connect() as sock:
        sock.sendall(HEADERS["v2"])
        sock.shutdown(socket.SHUT_WR)
        assert wire.read_all(sock) == b""
    assert proxy.wait_session()["reason"] == "done"


@pytest.mark.parametrize("name", LOCAL)
def test_the_peer_speaks_for_itself(proxied, name):
    proxy, _ = proxied
    with proxy.connect() as sock:
        here = "%s:%d" % sock.getsockname()
        sock.sendall(LOCAL[name] + b"payload")
        assert wire.read_exactly(sock, 7) == b"payload"
    session = proxy.wait_session()
    assert session["client"] == here
    assert "peer" not in session and "country" not in session


@pytest.mark.parametrize("name", BAD)
def test_bad_headers_are_turned_away(db, start, peer, name):
    backend = peer(Silent)
    db.add("only", backend)
    proxy = start()
    with proxy.connect() as sock:
        sock.sendall(BAD[name])
        assert wire.is_over(sock)
    session = proxy.wait_session()
    assert session["reason"] == "proxy-header-bad"
    assert session["client"].startswith("127.0.0.1:") and "backend" not in session
    assert backend.accepted == 0


@pytest.mark.parametrize("said", [b"", b"PROXY TCP4 1.2", wire.V2_SIGNATURE[:7],
                                  wire.V2_SIGNATURE + b"\x21\x11"])
def test_a_header_that_does_not_come(db, start, peer, said):
    backend = peer(Silent)
    db.add("only", backend)
    proxy = start(EDGEPROXY_PROXY_HEADER_TIMEOUT_MS=200)
    with proxy.connect() as sock:
        sock.sendall(said)
        assert wire.is_over(sock)
    assert proxy.wait_session()["reason"] == "proxy-header-timeout"
    assert backend.accepted == 0


def test_a_trickled_header_buys_no_time(db, start, peer):
    """The timeout is that of the whole header, not of a silence."""
    db.add("only", peer(Silent))
    proxy = start(EDGEPROXY_PROXY_HEADER_TIMEOUT_MS=500)
    with proxy.connect() as sock:
        sock.settimeout(0.1)

        def over():
            """Sends another byte; has the proxy had enough?"""
            try:
                sock.sendall(b"x")
                return sock.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        # v2 with a long TLV area, so that every prefix of it is correct.
        sock.sendall(wire.V2_SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 4000))
        until(over, "the end of a slow header")
    assert proxy.wait_session()["reason"] == "proxy-header-timeout"


@pytest.mark.parametrize("said", [b"", b"PROXY TCP4 1.2", wire.V2_SIGNATURE + b"\x21\x11"])
def test_the_peer_leaves_before_the_header_is_whole(db, start, peer, said):
    backend = peer(Silent)
    db.add("only", backend)
    proxy = start()
    with proxy.connect() as sock:
        sock.sendall(said)
        sock.shutdown(socket.SHUT_WR)
        assert wire.is_over(sock)
    assert proxy.wait_session()["reason"] in ("proxy-header-bad", "client-gone")
    wire.reset(proxy.connect())
    assert proxy.wait_session(count=2)["reason"] in ("client-reset", "client-gone")
    assert backend.accepted == 0


@pytest.mark.parametrize("name", [*HEADERS, *BAD])
def test_from_others_no_header_is_read(proxied, name):
    """127.0.0.2 is not trusted: what it sends is payload, whatever it looks like."""
    proxy, _ = proxied
    data = {**HEADERS, **BAD}[name]
    with proxy.connect(bind="127.0.0.2") as sock:
        sock.sendall(data)
        assert wire.read_exactly(sock, len(data)) == data
    session = proxy.wait_session()
    assert session["client"].startswith("127.0.0.2:")
    assert "peer" not in session and "country" not in session
    assert int(session["bytes_in"]) == len(data)


def test_from_others_nothing_is_waited_for(db, start, peer):
    """A backend that speaks first does so although the client never says a word."""
    db.add("only", peer(Identity, "only"))
    proxy = start(EDGEPROXY_TRUSTED_PROXIES="10.0.0.0/8, 127.0.0.1")
    with proxy.connect(bind="127.0.0.2") as sock:
        assert sock.recv(100) == b"only\n"


def test_a_listener_may_read_none_at_all(db, start, peer, port):
    db.add("only", peer(Echo))
    listen = port()
    db.service(listen, accept_proxy=0)
    db.service(port("127.0.0.2"), accept_proxy=1)
    proxy = start(EDGEPROXY_LISTEN_ADDR=listen)
    with proxy.connect() as sock:
        sock.sendall(HEADERS["v1"])
        assert wire.read_exactly(sock, len(HEADERS["v1"])) == HEADERS["v1"]
    assert proxy.wait_session()["client"].startswith("127.0.0.1:")
    with proxy.connect(to=proxy.listen_addr("127.0.0.2")) as sock:
        sock.sendall(HEADERS["v1"] + b"payload")
        assert wire.read_exactly(sock, 7) == b"payload"
    assert proxy.wait_session(count=2)["client"] == f"{BR}:4321"


@needs_ipv6
def test_v4_over_a_v6_listener_is_v4(db, start, peer, port):
    """Trust, place and log see 127.0.0.1, not ::ffff:127.0.0.1."""
    db.add("only", peer(Identity, "only"))
    proxy = start(EDGEPROXY_LISTEN_ADDR=port("::"))
    addr = ("127.0.0.1", proxy.addr[1])
    assert proxy.label(BR, to=addr) == "only"
    session = proxy.wait_session()
    assert session["client"] == f"{BR}:5555"
    assert session["peer"].startswith("127.0.0.1:")
    with proxy.connect(to=addr, bind="127.0.0.2") as sock:
        assert sock.recv(100) == b"only\n"
    assert proxy.wait_session(count=2)["client"].startswith("127.0.0.2:")


def test_waiting_for_a_header_takes_no_backend(db, start, peer):
    """Those who only connect hold no place of a backend."""
    db.add("only", peer(Identity, "only"), soft_limit=1, hard_limit=1)
    proxy = start(EDGEPROXY_PROXY_HEADER_TIMEOUT_MS=3600000)
    idle = [proxy.connect() for _ in range(20)]
    assert proxy.label(BR) == "only"
    for sock in idle:
        sock.settimeout(PATIENCE_SECS)
        sock.close()
