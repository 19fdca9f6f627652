"""Events that the proxy learns of together: it is stopped while they happen, so that its worker
finds all of them in one batch."""

import contextlib
import hashlib
import os
import queue
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import wire
from harness import BR, PATIENCE_SECS, until
from peers import Echo, Peer, Sink

# Where the failure is that nothing happens any more: longer than anything that still goes on.
STALL_SECS = 20
NEVER_MS = 600_000  # a timeout that must not be what ends a test


class Puppet(Peer):
    """Hands its connections to the test, which plays the backend."""

    def __init__(self, **how):
        self._taken = queue.Queue()
        self._over = threading.Event()
        super().__init__(**how)

    def script(self, sock):
        sock.settimeout(STALL_SECS)
        self._taken.put(sock)
        self._over.wait(PATIENCE_SECS)

    def take(self):
        return self._taken.get(timeout=PATIENCE_SECS)

    def close(self):
        self._over.set()
        super().close()


@pytest.fixture
def serve(db, start, peer):
    """serve(kind, mode, ...) is (proxy, backend); all connections are one worker's."""
    def make(kind, mode="auto", **env):
        backend = peer(kind)
        db.add("only", backend)
        return start(EDGEPROXY_RELAY_MODE=mode, EDGEPROXY_WORKERS=1, **env), backend
    return make


# What the kernel says

def threads(pid):
    """[(state, how often it went to sleep)] of each thread of a process."""
    seen = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            fields = dict(line.split(":\t", 1) for line in
                          (task / "status").read_text().splitlines() if ":\t" in line)
            seen.append((fields["State"][0], fields["voluntary_ctxt_switches"]))
    return seen


def is_idle(pid):
    """Has it done all that there was to do? Its threads sleep, and slept between two looks."""
    before = threads(pid)
    time.sleep(0.01)
    return threads(pid) == before and all(state == "S" for state, _ in before)


def tcp_fields(local, remote):
    """A TCP socket's line of /proc/net/tcp; None when there is none."""
    wanted = [f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}"
              for host, port in (local, remote)]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1:3] == wanted:
            return fields
    return None


def tcp_state(local, remote):
    """As in /proc/net/tcp ("08" is CLOSE_WAIT); None when there is no such socket."""
    fields = tcp_fields(local, remote)
    return fields[3] if fields is not None else None


def unread(sock):
    """Bytes of this peer that the proxy's kernel has and the proxy has not read."""
    local, remote = sock.getpeername(), sock.getsockname()
    return int(tcp_fields(local, remote)[4].split(":")[1], 16)


def reset_and_wait(sock):
    """Resets; returns when the proxy's kernel knows."""
    ours, proxys = sock.getsockname(), sock.getpeername()
    wire.reset(sock)
    until(lambda: tcp_state(proxys, ours) is None, "a reset that has arrived")


def end_and_wait(sock):
    ours, proxys = sock.getsockname(), sock.getpeername()
    sock.shutdown(socket.SHUT_WR)
    until(lambda: tcp_state(proxys, ours) == "08", "an end that has arrived")


def send_and_wait(sock, data, flags=0):
    assert sock.send(data, flags) == len(data)
    until(lambda: wire.unacknowledged(sock) == 0, "bytes that have arrived")


@contextlib.contextmanager
def one_batch(proxy):
    """What happens within is one batch of events for the proxy."""
    until(lambda: is_idle(proxy.pid), "a proxy with nothing to do")
    proxy.kill(signal.SIGSTOP)
    try:
        until(lambda: all(state == "T" for state, _ in threads(proxy.pid)), "a stopped proxy")
        yield
    finally:
        proxy.kill(signal.SIGCONT)


def greeted(sock, backend_sock):
    """Makes the session one whose backend has answered."""
    backend_sock.sendall(b"hi")
    assert wire.read_exactly(sock, 2) == b"hi"


# The client's first bytes

def test_a_reset_after_no_word_is_no_end(serve, any_relay_mode):
    """The kernel tells of a reset once; whoever hears of it first must act on it."""
    proxy, backend = serve(Puppet, any_relay_mode)
    sock = proxy.connect(BR)
    theirs = backend.take()
    until(lambda: is_idle(proxy.pid), "a proxy with nothing to do")
    wire.reset(sock)
    assert wire.read_to_reset(theirs) == b""
    assert proxy.wait_session()["reason"] == "client-reset"


def test_first_bytes_go_once_when_answer_and_reset_come_together(serve, any_relay_mode):
    proxy, backend = serve(Puppet, any_relay_mode)
    sock = proxy.connect(BR)
    theirs = backend.take()
    sock.sendall(b"pay 100;")
    assert wire.read_exactly(theirs, 8) == b"pay 100;"
    with one_batch(proxy):
        send_and_wait(theirs, b"ok")
        reset_and_wait(sock)
    assert wire.read_to_reset(theirs) == b""
    session = proxy.wait_session()
    assert (session["reason"], session["bytes_in"]) == ("client-reset", "8")


def test_a_reset_of_the_backend_before_is_not_the_next_ones(db, start, peer, any_relay_mode):
    """The first bytes find the first backend gone, and its reset is still in the batch when the
    second is being connected to."""
    first = peer(Puppet)
    db.add("first", first, region="sa")
    db.add("second", peer(Echo), region="us")
    proxy = start(EDGEPROXY_WORKERS=1, EDGEPROXY_RELAY_MODE=any_relay_mode)
    with proxy.connect(BR) as sock:
        theirs = first.take()
        with one_batch(proxy):
            send_and_wait(sock, b"hello")
            reset_and_wait(theirs)
        assert wire.read_exactly(sock, 5) == b"hello"
    session = proxy.wait_session()
    assert (session["backend"], session["retries"]) == ("second", "1")
    assert [e["backend"] for e in proxy.log.find("connect_failed")] == ["first"]


def test_nobody_is_dialled_for_a_client_that_is_gone(db, start, peer, any_relay_mode):
    """Its first bytes find the backend gone, and the same event tells of its own reset: no other
    will."""
    first, second = peer(Puppet), peer(Puppet)
    db.add("first", first, region="sa")
    db.add("second", second, region="us")
    proxy = start(EDGEPROXY_WORKERS=1, EDGEPROXY_RELAY_MODE=any_relay_mode)
    sock = proxy.connect(BR)
    theirs = first.take()
    with one_batch(proxy):
        send_and_wait(sock, b"hello")
        reset_and_wait(theirs)
        reset_and_wait(sock)
    session = proxy.wait_session()
    assert (session["reason"], session["bytes_in"]) == ("client-gone", "0")
    assert second.accepted == 0


# Ends

def test_a_reset_right_behind_an_end(serve, any_relay_mode):
    proxy, backend = serve(Puppet, any_relay_mode, EDGEPROXY_SERVER_FIN_TIMEOUT_MS=NEVER_MS,
                           EDGEPROXY_SERVER_TIMEOUT_MS=NEVER_MS)
    sock = proxy.connect(BR)
    theirs = backend.take()
    greeted(sock, theirs)
    with one_batch(proxy):
        send_and_wait(sock, b"bye")
        end_and_wait(sock)
        reset_and_wait(sock)
    session = proxy.wait_event("session", timeout=STALL_SECS)
    assert (session["reason"], session["bytes_in"]) == ("client-reset", "3")
    assert wire.read_exactly(theirs, 3) == b"bye"
    gone = select.poll()
    gone.register(theirs, 0)
    assert gone.poll(STALL_SECS * 1000), "the backend is not told that nobody reads it"


# Urgent data

@pytest.mark.parametrize("when", ["first-bytes", "later"])
@pytest.mark.parametrize("way", ["up", "down"])
def test_an_urgent_byte_stays_in_the_stream(serve, any_relay_mode, way, when):
    proxy, backend = serve(Puppet, any_relay_mode)
    with proxy.connect(BR) as sock:
        theirs = backend.take()
        if when == "later":
            greeted(sock, theirs)
        sender, receiver = (sock, theirs) if way == "up" else (theirs, sock)
        receiver.settimeout(STALL_SECS)
        with one_batch(proxy):
            send_and_wait(sender, b"abc")
            send_and_wait(sender, b"D", socket.MSG_OOB)
            send_and_wait(sender, b"efg")
        assert wire.read_exactly(receiver, 7) == b"abcDefg"


@pytest.mark.parametrize("way", ["up", "down"])
def test_an_end_behind_an_urgent_byte(serve, any_relay_mode, way):
    proxy, backend = serve(Puppet, any_relay_mode)
    with proxy.connect(BR) as sock:
        theirs = backend.take()
        greeted(sock, theirs)
        sender, receiver = (sock, theirs) if way == "up" else (theirs, sock)
        receiver.settimeout(STALL_SECS)
        with one_batch(proxy):
            send_and_wait(sender, b"abc")
            send_and_wait(sender, b"D", socket.MSG_OOB)
            send_and_wait(sender, b"efg")
            end_and_wait(sender)
        assert wire.read_all(receiver) == b"abcDefg"


def test_urgent_bytes_within_a_long_stream(serve, any_relay_mode):
    proxy, _ = serve(Sink, any_relay_mode)
    stream = wire.Stream(4 << 20)
    digest, count = hashlib.sha256(), 0
    with proxy.connect(BR, timeout=STALL_SECS) as sock:
        for number, block in enumerate(stream.blocks()):
            sock.sendall(block)
            digest.update(block)
            count += len(block)
            if number % 16 == 15:
                assert sock.send(b"!", socket.MSG_OOB) == 1
                digest.update(b"!")
                count += 1
        sock.shutdown(socket.SHUT_WR)
        assert wire.read_line(sock) == f"{count} {digest.hexdigest()}"


# Messages that are read first and written later

def test_messages_of_one_batch_arrive_whole_and_where_they_belong(serve, any_relay_mode):
    """More than wait for each other, small ones and large ones, both ways, among ends and resets."""
    proxy, backend = serve(Puppet, any_relay_mode)
    pairs = []
    for _ in range(150):
        sock = proxy.connect(BR)
        theirs = backend.take()
        greeted(sock, theirs)
        pairs.append((sock, theirs))

    def message(number, way):
        size = (1, 64, 4095, 4096, 4097, 30000)[number % 6]
        return (b"%d %s;" % (number, way) * size)[:size]

    with one_batch(proxy):
        for number, (sock, theirs) in enumerate(pairs):
            send_and_wait(sock, message(number, b"up"))
            if number % 3 != 0:
                send_and_wait(theirs, message(number, b"down"))
            if number % 5 == 0:
                end_and_wait(sock)
            if number % 7 == 0:
                reset_and_wait(theirs)
    for number, (sock, theirs) in enumerate(pairs):
        down = message(number, b"down") if number % 3 != 0 else b""
        if number % 7 == 0:
            assert wire.read_to_reset(sock) == down
            continue
        up = message(number, b"up")
        assert wire.read_exactly(theirs, len(up)) == up
        assert wire.read_exactly(sock, len(down)) == down
        theirs.shutdown(socket.SHUT_WR)
        assert wire.read_all(sock) == b""


def test_a_message_for_a_receiver_that_is_gone(serve, any_relay_mode):
    """It is read before the batch tells of the reset, and written after it has happened; what the
    receiver said before it went reaches the sender."""
    proxy, backend = serve(Puppet, any_relay_mode)
    sock = proxy.connect(BR)
    theirs = backend.take()
    greeted(sock, theirs)
    with one_batch(proxy):
        send_and_wait(sock, b"into the void")
        send_and_wait(theirs, b"last words")
        reset_and_wait(theirs)
    assert wire.read_to_reset(sock) == b"last words"
    assert proxy.wait_session()["reason"] == "server-reset"


def test_a_message_is_held_while_the_other_way_fails(serve, any_relay_mode):
    """The client is behind when the backend resets, so nobody has read that yet. One event tells
    that the client has sent something, which is held, and that it takes bytes again."""
    proxy, backend = serve(Puppet, any_relay_mode, EDGEPROXY_SERVER_TIMEOUT_MS=NEVER_MS,
                           EDGEPROXY_CLIENT_TIMEOUT_MS=NEVER_MS)
    sock = proxy.connect(BR)
    theirs = backend.take()
    greeted(sock, theirs)
    sent = 0
    while unread(theirs) == 0:  # pieces of less than a read: it is no bulk
        send_and_wait(theirs, b"x" * 20000)
        sent += 20000
        until(lambda: is_idle(proxy.pid), "a proxy with nothing to do")
    reset_and_wait(theirs)
    until(lambda: is_idle(proxy.pid), "a proxy with nothing to do")
    got = 0
    with one_batch(proxy):
        send_and_wait(sock, b"more, please")
        while sent - got > 100_000:  # most of what is under way, so that there is room
            got += len(sock.recv(1 << 16))
    assert got + len(wire.read_to_reset(sock)) == sent
    assert proxy.wait_session()["reason"] == "server-reset"


# A session that ends in the middle of another one's event: what it had is free for that one

def test_its_place_is_free(db, start, peer):
    """What it has sent is passed on before the next event is served, and finds its backend gone."""
    puppets = peer(Puppet), peer(Puppet)
    for id, puppet in zip(("x", "y"), puppets):
        db.add(id, puppet, soft_limit=1, hard_limit=1)
    proxy = start(EDGEPROXY_WORKERS=1, EDGEPROXY_RELAY_MODE="copy", EDGEPROXY_QUEUE_MAX=0)
    ends = proxy.connect(BR)
    until(lambda: any(puppet.accepted for puppet in puppets), "a backend that was chosen")
    its = next(puppet for puppet in puppets if puppet.accepted)
    theirs = its.take()
    greeted(ends, theirs)
    with proxy.connect("200.160.2.4") as goes_on:
        refusing = next(puppet for puppet in puppets if puppet is not its).take()
        with one_batch(proxy):
            send_and_wait(ends, b"into the void")
            reset_and_wait(refusing)
            reset_and_wait(theirs)
        assert wire.read_to_reset(ends) == b""
        greeted(goes_on, its.take())
    its_end = proxy.wait_session(lambda e: e["client"].startswith(BR))
    assert its_end["reason"] == "server-reset"


def test_its_client_is_within_the_limit(serve):
    proxy, backend = serve(Puppet, "copy", EDGEPROXY_CLIENT_MAX_CONN=1)
    ends = proxy.connect(BR)
    theirs = backend.take()
    greeted(ends, theirs)
    with socket.create_connection(proxy.addr, timeout=PATIENCE_SECS) as comes:
        source = (BR, 777)
        with one_batch(proxy):
            send_and_wait(ends, b"into the void")
            send_and_wait(comes, wire.header(2, source, wire.same_family(source, proxy.addr)))
            reset_and_wait(theirs)
        greeted(comes, backend.take())
        ends.close()


# With a kernel that is set up for it, in a namespace of its own

NAMESPACE = """
ip link set lo up && ip link set lo mtu 1500 && sysctl -qw net.ipv4.tcp_wmem="4096 4096 4096" &&
exec "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None,
                    reason="needs a network namespace of its own: root and iproute2")
@pytest.mark.parametrize("name", ["inside_a_stale_reset_and_backends_without_a_route",
                                  "inside_a_first_flight_that_does_not_fit"])
def test_in_a_namespace(name):
    """Runs one of the functions below, where there is no network but the loopback and where a
    socket takes only few bytes."""
    run = subprocess.run(
        ["unshare", "--net", "sh", "-c", NAMESPACE, "sh", sys.executable, "-m", "pytest", "-q",
         "-p", "no:cacheprovider", "-o", "python_functions=inside_*", f"{__file__}::{name}"],
        capture_output=True, text=True, timeout=600)
    if "unshare failed" in run.stderr or "Operation not permitted" in run.stderr:
        pytest.skip("no network namespace can be made here")
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]


def inside_a_stale_reset_and_backends_without_a_route(db, start, peer):
    """Each try after the first fails before there is a socket that an event could be of."""
    first = peer(Puppet)
    db.add("first", first, region="sa")
    for number in range(1, 10):
        db.add(f"nowhere-{number}", (f"fd00:2::{number}", 9), region="us")
    proxy = start(EDGEPROXY_WORKERS=1)
    with proxy.connect(BR) as sock:
        theirs = first.take()
        with one_batch(proxy):
            send_and_wait(sock, b"hello")
            reset_and_wait(theirs)
        assert wire.is_over(sock)
    session = proxy.wait_session()
    assert session["reason"] == "connect-failed"
    failed = [e["backend"] for e in proxy.log.find("connect_failed")]
    assert failed[0] == "first" and len(failed) == len(set(failed)) == int(session["retries"])


def inside_a_first_flight_that_does_not_fit(db, start, peer):
    """The backend's socket takes a part of the first bytes; the rest must not wait for an answer,
    which the backend gives only to the whole."""
    backend = peer(Puppet)
    backend.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    db.add("only", backend)
    proxy = start(EDGEPROXY_WORKERS=1, EDGEPROXY_CONNECT_BUDGET_MS=NEVER_MS)
    request = b"".join(wire.Stream(60000).blocks())
    with proxy.connect(BR) as sock:
        theirs = backend.take()
        with one_batch(proxy):
            sock.sendall(request)
            until(lambda: wire.unacknowledged(sock) == 0, "bytes that have arrived")
        assert wire.read_exactly(theirs, len(request)) == request
        theirs.sendall(b"ok")
        assert wire.read_exactly(sock, 2) == b"ok"
