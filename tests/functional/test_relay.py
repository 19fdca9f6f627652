"""Bytes arrive whole, in order, once, in both directions; ends are ends and resets are resets."""

import contextlib
import errno
import hashlib
import socket
import threading

import pytest

import wire
from harness import BR, PATIENCE_SECS, recorded, until
from peers import (Deaf, Echo, EndFirst, Exchange, HalfClose, Identity, ResetAfterAnswer,
                   ResetWhenTaken, SeesReset, Sink, Source)

MIB = 1 << 20
SIZES = [0, 1, 1447, 65535, 65536, 65537, MIB + 1, 16 * MIB]
BIG = 64 * MIB


def upload(proxy, stream):
    with proxy.connect(BR) as sock:
        stream.send(sock)
        sock.shutdown(socket.SHUT_WR)
        assert wire.read_all(sock) == f"{stream.size} {stream.digest()}\n".encode()


def exchange(proxy, up):
    """Sends and receives at the same time; (count, digest) of what came."""
    with proxy.connect(BR) as sock:
        def send():
            with contextlib.suppress(OSError):  # seen by the reader as what is missing
                up.send(sock)
                sock.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send)
        sender.start()
        try:
            return wire.hash_to_end(sock)
        finally:
            sender.join()


def assert_counted(proxy, bytes_in, bytes_out, count=1):
    session = proxy.wait_session(count=count)
    assert session["reason"] == "done"
    assert (int(session["bytes_in"]), int(session["bytes_out"])) == (bytes_in, bytes_out)


def test_uploads(serve, peer, any_relay_mode):
    proxy = serve(peer(Sink), any_relay_mode)
    for number, size in enumerate(SIZES):
        stream = wire.Stream(size, number)
        upload(proxy, stream)
        answer = len(f"{size} {stream.digest()}\n")
        assert_counted(proxy, size, answer, number + 1)


def test_downloads(serve, db, peer, any_relay_mode):
    backend = peer(Source, wire.Stream(0))
    proxy = serve(backend, any_relay_mode)
    for number, size in enumerate(SIZES):
        backend.stream = wire.Stream(size, number)
        with proxy.connect(BR) as sock:
            sock.shutdown(socket.SHUT_WR)
            assert wire.hash_to_end(sock) == (size, backend.stream.digest())
        assert_counted(proxy, 0, size, number + 1)


@pytest.mark.concurrency
def test_both_ways_at_once(serve, peer, any_relay_mode):
    backend = peer(Exchange, wire.Stream(0))
    proxy = serve(backend, any_relay_mode)
    for number, size in enumerate(SIZES):
        backend.stream, up = wire.Stream(size, number), wire.Stream(SIZES[-1 - number], 99)
        assert exchange(proxy, up) == (size, backend.stream.digest())
        assert_counted(proxy, up.size, size, number + 1)
        assert recorded(backend.uploads, number + 1)[-1] == (up.size, up.digest())


def test_big_uploads(serve, peer, relay_mode):
    proxy = serve(peer(Sink), relay_mode)
    upload(proxy, wire.Stream(BIG))
    assert int(proxy.wait_session()["bytes_in"]) == BIG


def test_big_downloads(serve, peer, relay_mode):
    stream = wire.Stream(BIG)
    proxy = serve(peer(Source, stream), relay_mode)
    with proxy.connect(BR) as sock:
        assert wire.hash_to_end(sock) == (BIG, stream.digest())
    assert int(proxy.wait_session()["bytes_out"]) == BIG


def test_big_both_ways_in_auto(serve, peer):
    backend = peer(Exchange, wire.Stream(BIG, 1))
    proxy = serve(backend, "auto")
    assert exchange(proxy, wire.Stream(BIG, 2)) == (BIG, backend.stream.digest())
    assert_counted(proxy, BIG, BIG)
    assert recorded(backend.uploads) == [(BIG, wire.Stream(BIG, 2).digest())]


def test_small_and_large_messages_in_turn(serve, peer, any_relay_mode):
    """A direction becomes bulk and interactive again without losing its place."""
    proxy = serve(peer(Echo), any_relay_mode)
    with proxy.connect(BR) as sock:
        for turn in range(3):
            for number in range(50):
                ping = b"%d/%d" % (turn, number)
                sock.sendall(ping)
                assert wire.read_exactly(sock, len(ping)) == ping
            stream = wire.Stream(4 * MIB, turn)
            sender = threading.Thread(target=stream.send, args=(sock,))
            sender.start()
            digest = hashlib.sha256(wire.read_exactly(sock, stream.size)).hexdigest()
            sender.join()
            assert digest == stream.digest()


@pytest.mark.concurrency
def test_many_sessions_at_once_do_not_mix(serve, peer, any_relay_mode):
    backend = peer(Echo)
    proxy = serve(backend, any_relay_mode, EDGEPROXY_PIPE_MAX=4)  # fewer than there is use for
    failures = []

    def client(number):
        stream = wire.Stream((number % 7) * MIB // 2 + number, number)
        if exchange(proxy, stream) != (stream.size, stream.digest()):
            failures.append(number)

    clients = [threading.Thread(target=client, args=(n,)) for n in range(24)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    assert failures == []
    proxy.wait_session(lambda e: e["reason"] == "done", count=24)


def test_the_client_ends_first_and_gets_a_long_answer(serve, peer, any_relay_mode):
    stream = wire.Stream(8 * MIB)
    backend = peer(HalfClose, stream)
    proxy = serve(backend, any_relay_mode)
    with proxy.connect(BR) as sock:
        sock.sendall(b"question")
        sock.shutdown(socket.SHUT_WR)
        assert wire.hash_to_end(sock) == (stream.size, stream.digest())
    assert backend.requests == [b"question"]
    assert_counted(proxy, 8, stream.size)


def test_the_backend_ends_first_and_gets_a_long_upload(serve, peer, any_relay_mode):
    backend = peer(EndFirst)
    stream = wire.Stream(8 * MIB)
    proxy = serve(backend, any_relay_mode)
    with proxy.connect(BR) as sock:
        assert wire.read_all(sock) == b"hello\n"
        stream.send(sock)
    assert_counted(proxy, stream.size, 6)
    assert recorded(backend.received) == [(stream.size, stream.digest())]


def test_both_end_without_a_word(serve, peer, relay_mode):
    proxy = serve(peer(EndFirst, b""), relay_mode)
    with proxy.connect(BR) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert wire.read_all(sock) == b""
    assert_counted(proxy, 0, 0)


def test_a_slow_reader_holds_the_backend_back(serve, peer, any_relay_mode):
    backend = peer(Source, wire.Stream(BIG))
    proxy = serve(backend, any_relay_mode)
    sock = socket.socket()
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        before = proxy.rss_bytes()
        sock.connect(proxy.addr)
        sock.sendall(wire.header_v2((BR, 5555), proxy.addr))

        seen = [-1] * 10

        def stands_still():
            seen.append(backend.sent)
            return seen[-1] > 0 and len(set(seen[-10:])) == 1

        until(stands_still, "a backend that has to wait", pause=0.05)
        assert backend.sent < BIG
        if not proxy.sanitized():
            assert proxy.rss_bytes() - before < 8 * MIB
        assert wire.hash_to_end(sock) == (BIG, backend.stream.digest())
        if not proxy.sanitized():
            assert proxy.rss_bytes() - before < 8 * MIB
    assert_counted(proxy, 0, BIG)


def test_a_slow_backend_holds_the_client_back(serve, peer, any_relay_mode):
    backend = peer(Deaf)
    backend.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    proxy = serve(backend, any_relay_mode)
    stream, sent = wire.Stream(BIG), 0
    with proxy.connect(BR) as sock:
        before = proxy.rss_bytes()
        blocks = stream.blocks()
        sock.settimeout(1)  # much longer than a proxy that still reads would take
        pending = b""
        with pytest.raises(TimeoutError):
            for pending in blocks:
                while pending:
                    done = sock.send(pending)
                    sent += done
                    pending = pending[done:]
        assert sent < BIG
        if not proxy.sanitized():
            assert proxy.rss_bytes() - before < 8 * MIB
        backend.release()
        sock.settimeout(None)
        sock.sendall(pending)
        for block in blocks:
            sock.sendall(block)
        sock.shutdown(socket.SHUT_WR)
        assert wire.read_all(sock) == b""
    assert_counted(proxy, BIG, 0)
    assert recorded(backend.received) == [(BIG, stream.digest())]


def test_a_stalled_session_does_not_stall_its_neighbours(db, start, peer, any_relay_mode, port):
    """One worker, and more stalled bulk sessions than there are pipes."""
    bulk = peer(Source, wire.Stream(BIG))
    db.add("bulk", bulk, app="bulk")
    db.add("ping", peer(Echo), app="ping")
    db.service(port("127.0.0.2"), app="bulk")
    db.service(port("127.0.0.3"), app="ping")
    proxy = start(EDGEPROXY_RELAY_MODE=any_relay_mode, EDGEPROXY_WORKERS=1, EDGEPROXY_PIPE_MAX=2)
    with contextlib.ExitStack() as held:
        for _ in range(4):
            held.enter_context(proxy.connect(BR, to=proxy.listen_addr("127.0.0.2"))).recv(1)
        with proxy.connect(BR, to=proxy.listen_addr("127.0.0.3")) as sock:
            for number in range(100):
                sock.sendall(b"%d" % number)
                assert wire.read_exactly(sock, len(str(number))) == b"%d" % number


@pytest.mark.parametrize("wait", [False, True], ids=["at-once", "later"])
@pytest.mark.parametrize("size", [1, 1000, 100_000])
def test_a_reset_of_the_backend_reaches_the_client(serve, peer, relay_mode, wait, size):
    answer = bytes(range(256)) * (size // 256 + 1)
    proxy = serve(peer(ResetAfterAnswer, answer[:size], wait), relay_mode)
    with proxy.connect(BR) as sock:
        if wait:
            assert wire.read_exactly(sock, size) == answer[:size]
            sock.sendall(b"!")
            assert wire.read_to_reset(sock) == b""
        else:
            came = wire.read_to_reset(sock)
            assert answer.startswith(came)
            # What the backend's kernel had passed on before the reset is the client's.
            assert size > 1000 or came == answer[:size]
    session = proxy.wait_session()
    assert session["reason"] == "server-reset"


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_a_reset_of_the_client_reaches_the_backend(serve, peer, relay_mode, size):
    backend = peer(SeesReset, greeting=b"hello\n")
    proxy = serve(backend, relay_mode)
    sock = proxy.connect(BR)
    assert wire.read_exactly(sock, 6) == b"hello\n"
    sock.sendall(b"x" * size)
    wire.reset(sock)
    assert recorded(backend.ends) == ["reset"]
    assert bytes(backend.received) == b"x" * size
    assert proxy.wait_session()["reason"] == "client-reset"


@pytest.mark.parametrize("size", [100_000, 400_000])
def test_what_was_taken_before_a_reset_of_the_backend_is_delivered(serve, peer, relay_mode, size):
    """The client is slow: the bytes wait in the proxy while the backend dies."""
    answer = b"".join(wire.Stream(size).blocks())
    backend = peer(ResetWhenTaken, answer)
    proxy = serve(backend, relay_mode)
    with socket.socket() as sock:
        sock.settimeout(PATIENCE_SECS)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        sock.connect(proxy.addr)
        sock.sendall(wire.header_v2((BR, 5555), proxy.addr))
        assert backend.done.wait(PATIENCE_SECS)
        assert wire.read_to_reset(sock) == answer
    assert proxy.wait_session()["reason"] == "server-reset"


@pytest.mark.parametrize("size", [100_000, 400_000])
def test_what_was_taken_before_a_reset_of_the_client_is_delivered(serve, peer, relay_mode, size):
    """The backend is slow: the bytes wait in the proxy while the client dies."""
    upload = b"".join(wire.Stream(size).blocks())
    listens = threading.Event()
    backend = peer(SeesReset, greeting=b"hello\n", deaf=listens)
    backend.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    proxy = serve(backend, relay_mode)
    sock = proxy.connect(BR)
    assert wire.read_exactly(sock, 6) == b"hello\n"
    sock.sendall(upload)
    until(lambda: wire.unacknowledged(sock) == 0, "an upload that is taken")
    wire.reset(sock)
    listens.set()
    assert recorded(backend.ends) == ["reset"]
    assert bytes(backend.received) == upload
    assert proxy.wait_session()["reason"] == "client-reset"


def test_a_reset_in_the_middle_of_a_long_transfer(serve, peer, any_relay_mode):
    """The backend writes into a connection that its client has reset."""
    proxy = serve(peer(Source, wire.Stream(BIG)), any_relay_mode)
    sock = proxy.connect(BR)
    wire.read_exactly(sock, MIB)
    wire.reset(sock)
    session = proxy.wait_session()
    assert session["reason"] == "client-reset"
    assert MIB <= int(session["bytes_out"]) <= BIG


def test_a_reset_after_the_clients_end_is_a_reset(serve, peer, relay_mode):
    """Half-closed towards the backend, which then resets instead of answering."""
    class Rude(Identity):
        def script(self, sock):
            sock.sendall(b"partly")
            wire.read_all(sock)
            wire.reset(sock)

    proxy = serve(peer(Rude, ""), relay_mode)
    with proxy.connect(BR) as sock:
        assert wire.read_exactly(sock, 6) == b"partly"
        sock.shutdown(socket.SHUT_WR)
        assert wire.read_to_reset(sock) == b""
    assert proxy.wait_session()["reason"] == "server-reset"


def test_the_client_closes_with_unread_data(serve, peer, relay_mode):
    """Its kernel resets; the session ends and gives everything back."""
    proxy = serve(peer(Source, wire.Stream(8 * MIB)), relay_mode)
    with proxy.connect(BR) as sock:
        sock.recv(1)
    assert proxy.wait_session()["reason"] in ("client-reset", "done")


@pytest.mark.concurrency
def test_sessions_leave_nothing_behind(serve, peer, any_relay_mode):
    """Descriptors after many sessions are those after the first few, but for pooled pipes."""
    pipes = 2
    proxy = serve(peer(Echo), any_relay_mode, EDGEPROXY_PIPE_MAX=pipes)
    served = 0

    def some():
        nonlocal served
        for _ in range(4):
            stream = wire.Stream(MIB)
            assert exchange(proxy, stream) == (stream.size, stream.digest())
        for _ in range(20):
            wire.reset(proxy.connect(BR))
        served += 24
        proxy.wait_session(count=served)

    some()
    settled = proxy.fd_count() + 2 * pipes
    for _ in range(3):
        some()
    until(lambda: proxy.fd_count() <= settled, f"at most {settled} descriptors")


def test_interactive_bytes_are_not_held_back(serve, peer, any_relay_mode):
    """TCP_NODELAY on both sides: single bytes, each answered before the next."""
    proxy = serve(peer(Echo), any_relay_mode)
    with proxy.connect(BR) as sock:
        for number in range(300):
            sock.sendall(b"%c" % (number % 256))
            assert sock.recv(10) == b"%c" % (number % 256)


def test_connect_refused_is_what_a_dead_listener_gives(serve, peer):
    """The proxy's own end is visible as such."""
    proxy = serve(peer(Echo), "auto")
    addr = proxy.addr
    proxy.stop()
    with socket.socket() as sock:
        assert sock.connect_ex(addr) == errno.ECONNREFUSED
