"""Backends that break, each in one way, and tell the ledger before they break what a client can
see. What a client must not see (all that happens before the first byte) they tell nobody."""

import select
import socket
import threading
import zlib

import wire
from peers import Blackhole, Peer, Refusing, ResetOnAccept
from traffic import BLOCK, DOWN, PATIENCE_SECS, pattern, read_request

__all__ = ["Blackhole", "Refusing", "ResetOnAccept", "ResetOnRequest", "ResetMidway", "EndsMidway",
           "Hangs", "Liar", "Mortal"]


class ResetOnRequest(Peer):
    """Reads what there is of the client's first bytes and resets without a word."""

    def script(self, sock):
        select.select([sock], [], [], PATIENCE_SECS)
        sock.recv(64)
        wire.reset(sock)


class Midway(Peer):
    """Reads the request, sends a part of what is due."""

    what = ""

    def __init__(self, ledger, rng, **how):
        self.ledger, self.rng = ledger, rng
        self._lock = threading.Lock()
        super().__init__(**how)

    def part(self, size):
        with self._lock:
            return self.rng.randint(1, max(1, size - 1))

    def script(self, sock):
        request = read_request(sock)
        if request is None:
            return
        number, _, down = request
        part = self.part(min(down, 100_000))
        self.ledger.breaks(number, f"{self.what}, {part} of {down} bytes")
        for start in range(0, part, BLOCK):
            sock.sendall(pattern(number, DOWN, start, min(BLOCK, part - start)))
        self.break_off(sock)

    def break_off(self, sock):
        raise NotImplementedError


class ResetMidway(Midway):
    what = "cut by a reset"

    def break_off(self, sock):
        wire.reset(sock)


class EndsMidway(Midway):
    """A backend that ends cleanly and early: the client is told just that."""

    what = "ended early"

    def break_off(self, sock):
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 16):
            pass


class Hangs(Midway):
    """Stops in the middle and reads on; the proxy's timeout is what ends it."""

    what = "cut by silence"

    def break_off(self, sock):
        while sock.recv(1 << 16):
            pass
        poll = select.poll()
        poll.register(sock, 0)  # only that it breaks
        poll.poll(PATIENCE_SECS * 1000)


class Liar(Peer):
    """Sends garbage, or what is another client's, and ends cleanly. The proxy must deliver just
    that, to this client alone."""

    def __init__(self, ledger, rng, **how):
        self.ledger, self.rng = ledger, rng
        self._lock = threading.Lock()
        super().__init__(**how)

    def script(self, sock):
        request = read_request(sock)
        if request is None:
            return
        number, _, down = request
        with self._lock:
            size = self.rng.randint(1, down + 50_000)
            other = max(1, number - self.rng.randint(1, 8))
            garbage = self.rng.randbytes(size) if self.rng.random() < 0.5 else None
        lies = garbage or b"".join(pattern(other, DOWN, start, min(BLOCK, size - start))
                                   for start in range(0, size, BLOCK))
        if other == number:  # the first client has no other before it
            lies = b"?" + lies[1:]
        self.ledger.breaks(number, f"lie, {size} bytes, crc {zlib.crc32(lies)}, end")
        reader = threading.Thread(target=self._read, args=(sock,), daemon=True)
        reader.start()
        sock.sendall(lies)
        sock.shutdown(socket.SHUT_WR)
        reader.join(PATIENCE_SECS)

    @staticmethod
    def _read(sock):
        try:
            while sock.recv(1 << 16):
                pass
        except OSError:
            pass


class Mortal(Midway):
    """Serves slowly until told to die: then what is open breaks and new ones are refused."""

    what = "cut by its backend's death"

    def __init__(self, ledger, rng, **how):
        self.dead = threading.Event()
        super().__init__(ledger, rng, **how)

    def break_off(self, sock):
        self.dead.wait(PATIENCE_SECS)
        wire.reset(sock)

    def close(self):
        self.dead.set()
        super().close()
