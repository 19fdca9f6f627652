"""Clients and backends that compare every byte.

A client sends REQUEST: who it is and how many bytes each side sends. Both sides then send at the
same time what follows from the client's number, the direction and the place in the stream, so that
a byte that is lost, doubled, swapped, or somebody else's differs. Each side compares what it gets
while it gets it, and ends its side when it has sent everything.

The proxy promises that a backend which breaks before its first byte costs the client nothing, as far
as the client's first bytes came in one piece (docs/routing.md). So clients send some of theirs in
one piece, and the rest when they have been answered."""

import random
import select
import socket
import struct
import threading
import time
import zlib

import wire
from peers import Peer

PATIENCE_SECS = 40
FIRST_BYTES = 8000
REQUEST = struct.Struct("!4sQII")
MAGIC = b"CHAO"
UP, DOWN = 1, 2
BLOCK = 1 << 14
_NOISE = random.Random(1).randbytes(BLOCK * 4)


def pattern(number, way, start, size):
    """Bytes [start, start + size) of one direction of one client, within one block."""
    block, at = divmod(start, BLOCK)
    head = struct.pack("!QBQ", number, way, block)
    offset = (number * 1009 + way * 101 + block * 17) % (BLOCK * 3)
    return (head + _NOISE[offset:offset + BLOCK - len(head)])[at:at + size]


class Sending:
    """What is still to be sent of a direction. gap_secs > 0: a trickle of step bytes each."""

    def __init__(self, number, way, size, step=BLOCK, gap_secs=0.0):
        self.number, self.way, self.size = number, way, size
        self.step, self.gap_secs = step, gap_secs
        self.at = 0
        self.not_before = 0.0

    def next(self):
        room = min(self.step, BLOCK - self.at % BLOCK, self.size - self.at)
        return pattern(self.number, self.way, self.at, room)

    def sent(self, count):
        self.at += count
        if self.gap_secs:
            self.not_before = time.monotonic() + self.gap_secs

    @property
    def done(self):
        return self.at >= self.size


class Comparing:
    """What came of a direction; wrong_at is the place of the first block that differs."""

    def __init__(self, number, way, size):
        self.number, self.way, self.size = number, way, size
        self.at = 0
        self.wrong_at = None
        self.crc = 0  # of what came, right or wrong

    def feed(self, data):
        self.crc = zlib.crc32(data, self.crc)
        taken = 0
        while taken < len(data):
            room = min(BLOCK - self.at % BLOCK, len(data) - taken)
            if self.wrong_at is None and (
                    self.at + room > self.size or
                    data[taken:taken + room] != pattern(self.number, self.way, self.at, room)):
                self.wrong_at = self.at
            self.at += room
            taken += room

    @property
    def whole(self):
        return self.at == self.size and self.wrong_at is None


def exchange(sock, sending, comparing, end_when_sent=True, answered=True, stop=lambda: False):
    """Sends and compares at the same time, to the other side's end. "end", "reset", "stalled", or
    "stopped" as soon as stop() says so. A clean end that comes before everything is sent is an end
    of one half: the other goes on. Not answered: sends nothing before something has come."""
    sock.setblocking(False)
    poll = select.poll()
    ended, shut = False, False
    progress = time.monotonic()
    try:
        while True:
            answered = answered or comparing.at > 0 or ended
            if sending.done and answered and not shut and (end_when_sent or ended):
                sock.shutdown(socket.SHUT_WR)
                shut = True
            if ended and shut:
                return "end"
            if stop():
                return "stopped"
            now = time.monotonic()
            late = sending.not_before > now
            want = (0 if ended else select.POLLIN) | (
                select.POLLOUT if answered and not sending.done and not late else 0)
            poll.register(sock, want)
            pause = min(1.0, sending.not_before - now) if late and not sending.done else 0.25
            events = poll.poll(pause * 1000)
            if now - progress > PATIENCE_SECS:
                return "stalled"
            for _, event in events:
                if event & (select.POLLIN | select.POLLERR | select.POLLHUP) and not ended:
                    data = sock.recv(1 << 17)
                    progress = now
                    comparing.feed(data)
                    ended = data == b""
                if event & select.POLLOUT:
                    sending.sent(sock.send(sending.next()))
                    progress = now
                elif event & select.POLLERR and ended:
                    raise ConnectionResetError
    except BlockingIOError:
        return "stalled"  # poll() said otherwise: not seen on Linux
    except (ConnectionError, OSError):
        return "reset"


def client_addr(number):
    """The client's address as its PROXY header tells it, and so the log: one for each number. Of
    addresses there are as many as clients, but for those 65536 apart."""
    return f"200.160.{number >> 8 & 255}.{number & 255}", 1024 + (number >> 16)


def first_piece(sending):
    piece = b""
    while not sending.done and len(piece) + sending.step <= FIRST_BYTES:
        part = sending.next()[:FIRST_BYTES]
        sending.sent(len(part))
        piece += part
        if sending.gap_secs:
            break
    return piece


def converse(addr, number, up, down, sending=None):
    """One client. (how it ended, what it compared, bytes sent, its own address); "refused" when
    nobody listens."""
    local = None
    comparing = Comparing(number, DOWN, down)
    sending = sending or Sending(number, UP, up, step=FIRST_BYTES)
    try:
        with socket.socket() as sock:
            sock.settimeout(PATIENCE_SECS)
            try:
                sock.connect(addr)
            finally:
                local = sock.getsockname()  # also of one that is reset as early as that
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(wire.header_v2(client_addr(number), ("127.0.0.1", 1)) +
                         REQUEST.pack(MAGIC, number, up, down) + first_piece(sending))
            how = exchange(sock, sending, comparing, answered=False)
    except TimeoutError:
        how = "stalled"
    except ConnectionRefusedError:
        how = "refused"
    except OSError:
        how = "reset"
    return how, comparing, sending.at, local


def read_request(sock):
    """(number, up, down), or None where the client ends before it is whole."""
    data = b""
    while len(data) < REQUEST.size:
        more = sock.recv(REQUEST.size - len(data))
        if not more:
            return None
        data += more
    magic, number, up, down = REQUEST.unpack(data)
    if magic != MAGIC:
        raise AssertionError(f"no request: {data!r}")
    return number, up, down


class Honest(Peer):
    """Serves; the ledger hears of each upload before its client hears the end. With end_first it
    ends its side before it has read a byte beyond the request."""

    def __init__(self, ledger, *, end_first=False, step=BLOCK, gap_secs=0.0, **how):
        self.ledger = ledger
        self.end_first, self.step, self.gap_secs = end_first, step, gap_secs
        super().__init__(**how)

    def script(self, sock):
        request = read_request(sock)
        if request is None:
            return
        number, up, down = request
        sending = Sending(number, DOWN, down, self.step, self.gap_secs)
        comparing = Comparing(number, UP, up)
        if self.end_first:
            exchange(sock, sending, comparing)
            self.ledger.uploaded(comparing)
            return
        # Ends only when the upload is there: then its end is the receipt.
        first = exchange(sock, sending, comparing, end_when_sent=False,
                         stop=lambda: sending.done and comparing.at >= comparing.size)
        self.ledger.uploaded(comparing)
        if first == "stopped":
            exchange(sock, Sending(number, DOWN, 0), comparing)
            self.ledger.uploaded(comparing)  # a byte too many would be seen here


class Crowd:
    """Clients one after another in each of some threads, until told to stop."""

    def __init__(self, stage, addr, threads=6, up=(0, 60_000), down=(1, 200_000), trickle=0.05):
        self.stage, self.addr = stage, addr
        self.up, self.down, self.trickle = up, down, trickle
        self.finished = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True,
                                          args=(stage.rng_for(f"client {n}"),))
                         for n in range(threads)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECS * 2)
            if thread.is_alive():
                self.stage.ledger.problem("a client that does not end")

    def _run(self, rng):
        ledger = self.stage.ledger
        while not self._stop.is_set():
            number = ledger.next_number()
            up, down = rng.randint(*self.up), rng.randint(*self.down)
            sending = None
            if rng.random() < self.trickle:
                up = min(up, 400)
                sending = Sending(number, UP, up, step=rng.randint(1, 64), gap_secs=0.005)
            began = time.monotonic()
            how, comparing, sent, local = converse(self.addr, number, up, down, sending)
            ledger.client_ended(number, how, comparing, sent, began, up, local)
            self.finished += 1
            if how == "refused":
                self._stop.wait(0.02)

    def until_more(self, count):
        from harness import until
        target = self.finished + count
        until(lambda: self.finished >= target or self.stage.ledger.broken,
              f"{count} more clients")
