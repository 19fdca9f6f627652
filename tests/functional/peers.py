"""Scripted backends. Each listens on a port that the kernel picked, serves every connection in a
thread of its own (or all in one, where there are thousands), and remembers what it saw.

A script that fails leaves its error in `errors`; the `peer` fixture shows it."""

import contextlib
import hashlib
import select
import selectors
import socket
import threading
import time

import wire
from harness import PATIENCE_SECS, until


class Peer:
    """A listener whose connections run script(sock). Subclasses are the scripts. One that is asleep
    refuses connections until wake()."""

    def __init__(self, host="127.0.0.1", backlog=4096, asleep=False):
        self.listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.listener.bind((host, 0))
        self.addr = self.listener.getsockname()[:2]
        self.accepted = 0
        self.open = 0
        self.errors = []
        self._lock = threading.Lock()
        self._socks = set()
        self._closed = False
        self._backlog = backlog
        self._thread = threading.Thread(target=self._accept, daemon=True)
        if not asleep:
            self.wake()

    def wake(self):
        self.listener.listen(self._backlog)
        self._thread.start()

    def script(self, sock):
        raise NotImplementedError

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self._lock:
                if self._closed:
                    sock.close()
                    return
                self.accepted += 1
                self.open += 1
                self._socks.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.script(sock)
        except (OSError, ValueError, AssertionError) as error:
            self.errors.append(error)
        with self._lock:
            self.open -= 1
            self._socks.discard(sock)
        sock.close()

    def die(self):
        """Refuses from now on and resets what is open, like a process that is killed."""
        self.stop_listening()
        with self._lock:
            socks = list(self._socks)
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.shutdown(socket.SHUT_RD)  # wakes the script, whose close() then resets

    def stop_listening(self):
        """Connections go on; new ones are refused."""
        with self._lock:
            self._closed = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self.listener.close()
        if self._thread.ident is not None:
            self._thread.join(PATIENCE_SECS)

    def close(self):
        self.stop_listening()
        with self._lock:
            socks = list(self._socks)
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def echo_to_end(sock):
    while data := sock.recv(1 << 18):
        sock.sendall(data)


class Identity(Peer):
    """Says its label at once, echoes, and ends when the client does."""

    def __init__(self, label, **how):
        self.label = label
        super().__init__(**how)

    def script(self, sock):
        sock.sendall(self.label.encode() + b"\n")
        echo_to_end(sock)


class Moody(Identity):
    """Like Identity, but resets connections at once as long as its mood is bad."""

    def __init__(self, label, bad=True, **how):
        self.bad = bad
        super().__init__(label, **how)

    def script(self, sock):
        if self.bad:
            wire.reset(sock)
        else:
            super().script(sock)


class Echo(Peer):
    """Says nothing unasked."""

    def script(self, sock):
        echo_to_end(sock)


class EchoOnce(Peer):
    """Waits for a request, answers with label and request, and ends."""

    def __init__(self, label, **how):
        self.label = label
        self.requests = []
        super().__init__(**how)

    def script(self, sock):
        request = sock.recv(1 << 16)
        self.requests.append(request)
        sock.sendall(self.label.encode() + b" " + request)


class Source(Peer):
    """Sends a stream whatever the client does, ends, then reads to the client's end.

    sent counts what the kernel took from it."""

    def __init__(self, stream, **how):
        self.stream = stream
        self.sent = 0
        super().__init__(**how)

    def script(self, sock):
        for block in self.stream.blocks():
            sock.sendall(block)
            self.sent += len(block)
        sock.shutdown(socket.SHUT_WR)
        wire.read_all(sock)


class Sink(Peer):
    """Reads to the client's clean end, then answers with count and digest."""

    def script(self, sock):
        count, digest = wire.hash_to_end(sock)
        sock.sendall(f"{count} {digest}\n".encode())


class Exchange(Peer):
    """Sends a stream and hashes the client's at the same time; uploads holds (count, digest)."""

    def __init__(self, stream, **how):
        self.stream = stream
        self.uploads = []
        super().__init__(**how)

    def script(self, sock):
        def send():
            with contextlib.suppress(OSError):
                self.stream.send(sock)
                sock.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        self.uploads.append(wire.hash_to_end(sock))
        sender.join()


class HalfClose(Peer):
    """Reads everything up to the client's end, and only then answers, with a long stream."""

    def __init__(self, stream, **how):
        self.stream = stream
        self.requests = []
        super().__init__(**how)

    def script(self, sock):
        self.requests.append(wire.read_all(sock))
        self.stream.send(sock)


class EndFirst(Peer):
    """Sends its greeting, ends its side, then reads what the client still has to say."""

    def __init__(self, greeting=b"hello\n", **how):
        self.greeting = greeting
        self.received = []
        super().__init__(**how)

    def script(self, sock):
        sock.sendall(self.greeting)
        sock.shutdown(socket.SHUT_WR)
        self.received.append(wire.hash_to_end(sock))


class Silent(Peer):
    """Accepts, reads, and never says a word. Keeps what it read."""

    def __init__(self, **how):
        self.received = bytearray()
        super().__init__(**how)

    def script(self, sock):
        while data := sock.recv(1 << 16):
            self.received += data


class Deaf(Peer):
    """Accepts and never reads. release() lets it read to the end."""

    def __init__(self, **how):
        self._release = threading.Event()
        self.received = []
        super().__init__(**how)

    def script(self, sock):
        self._release.wait(PATIENCE_SECS)
        self.received.append(wire.hash_to_end(sock))

    def release(self):
        self._release.set()

    def close(self):
        self.release()
        super().close()


class Mute(Peer):
    """Ends its side only when told to: a backend that keeps its half of a half-closed session."""

    def __init__(self, greeting=b"", **how):
        self.greeting = greeting
        self._release = threading.Event()
        super().__init__(**how)

    def script(self, sock):
        sock.sendall(self.greeting)
        wire.read_all(sock)
        self._release.wait(PATIENCE_SECS)

    def close(self):
        self._release.set()
        super().close()


class ResetOnAccept(Peer):
    """Resets at once, before any byte."""

    def script(self, sock):
        wire.reset(sock)


class ResetAfterRequest(Peer):
    """Waits for the first bytes of the client, then resets without an answer."""

    def __init__(self, **how):
        self.requests = []
        super().__init__(**how)

    def script(self, sock):
        self.requests.append(sock.recv(1 << 16))
        wire.reset(sock)


class ResetAfterAnswer(Peer):
    """Sends an answer, then resets: at once, or when a byte from the client says that the answer
    has arrived."""

    def __init__(self, answer, wait=False, **how):
        self.answer = answer
        self.wait = wait
        super().__init__(**how)

    def script(self, sock):
        sock.sendall(self.answer)
        if self.wait:
            sock.recv(1)
        wire.reset(sock)


class ResetWhenTaken(Peer):
    """Sends an answer, resets as soon as the proxy's kernel has taken all of it, and says so."""

    def __init__(self, answer, **how):
        self.answer = answer
        self.done = threading.Event()
        super().__init__(**how)

    def script(self, sock):
        sock.sendall(self.answer)
        until(lambda: wire.unacknowledged(sock) == 0, "an answer that is taken")
        wire.reset(sock)
        self.done.set()


class SeesReset(Peer):
    """Reads until the connection breaks; how it ended stands in `ends`: "reset" or "end". It does
    not begin to before the event deaf is set, where there is one."""

    def __init__(self, greeting=b"", deaf=None, **how):
        self.greeting = greeting
        self.deaf = deaf
        self.received = bytearray()
        self.ends = []
        super().__init__(**how)

    def script(self, sock):
        sock.sendall(self.greeting)
        if self.deaf:
            self.deaf.wait(PATIENCE_SECS)
        try:
            while data := sock.recv(1 << 16):
                self.received += data
            self.ends.append("end")
        except ConnectionResetError:
            self.ends.append("reset")


class Trickler(Peer):
    """Sends single bytes until told how many are enough, then ends."""

    def __init__(self, count, gap_secs, **how):
        self.count = count
        self.gap_secs = gap_secs
        super().__init__(**how)

    def script(self, sock):
        for number in range(self.count):
            sock.sendall(b"%d" % (number % 10))
            time.sleep(self.gap_secs)


class ReadsHeader(Peer):
    """Wants a PROXY header first, as a backend behind send_proxy does, then echoes.

    headers holds (version, src, dst)."""

    def __init__(self, **how):
        self.headers = []
        super().__init__(**how)

    def script(self, sock):
        data = b""
        while True:
            more = sock.recv(1 << 16)
            if not more:
                raise ValueError(f"ended within the header: {data!r}")
            data += more
            try:
                src, dst, rest = wire.parse_header(data)
                break
            except ValueError:
                if len(data) > 232:
                    raise
        self.headers.append((1 if data.startswith(b"PROXY") else 2, src, dst))
        sock.sendall(rest)
        echo_to_end(sock)


class Refusing:
    """A port on which nobody listens and that nobody else gets."""

    def __init__(self, host="127.0.0.1"):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.bind((host, 0))
        self.addr = self.socket.getsockname()[:2]
        self.errors = []

    def close(self):
        self.socket.close()


class Blackhole:
    """A listener that never accepts and whose queue is full: connecting to it gets no answer."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addr = self.listener.getsockname()[:2]
        self.errors = []
        self.fillers = []
        until(self._full, "a full accept queue")

    def _full(self):
        """A connect that is still pending after a while shows that the queue is full."""
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(self.addr)
        self.fillers.append(filler)
        return not select.select([], [filler], [], 0.2)[1]

    def close(self):
        for filler in self.fillers:
            filler.close()
        self.listener.close()


class Counting:
    """Serves thousands in one thread: says its label, holds the connection, and ends when the
    client does. Records the most that were open at one time: what closed is seen before what
    came."""

    def __init__(self, label):
        self.label = label.encode() + b"\n"
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.listener.setblocking(False)
        self.addr = self.listener.getsockname()[:2]
        self.errors = []
        self.accepted = 0
        self.most = 0
        self._open = set()
        self._ends = selectors.EpollSelector()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def open(self):
        return len(self._open)

    def _run(self):
        poll = select.epoll()
        poll.register(self.listener, select.EPOLLIN)
        poll.register(self._ends.fileno(), select.EPOLLIN)
        while not self._stop.is_set():
            poll.poll(0.1)
            self._see_ends()
            self._accept()
        poll.close()
        for sock in self._open:
            sock.close()
        self._ends.close()

    def _see_ends(self):
        for key, _ in self._ends.select(0):
            try:
                over = key.fileobj.recv(1 << 16) == b""
            except BlockingIOError:
                continue
            except ConnectionError:
                over = True
            if over:
                self._ends.unregister(key.fileobj)
                self._open.discard(key.fileobj)
                key.fileobj.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            self._see_ends()
            sock.setblocking(False)
            self._open.add(sock)
            self.accepted += 1
            self.most = max(self.most, len(self._open))
            self._ends.register(sock, selectors.EVENT_READ)
            with contextlib.suppress(OSError):
                sock.send(self.label)

    def close(self):
        self._stop.set()
        self._thread.join(PATIENCE_SECS)
        self.listener.close()


def digest_of(data):
    return len(data), hashlib.sha256(data).hexdigest()
