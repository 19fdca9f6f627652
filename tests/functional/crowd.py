"""Clients that behave badly towards the API, and one that is served by the proxy meanwhile."""

import contextlib
import json
import selectors
import socket
import threading
import time

ROUND_SECS = 0.5
LINE = (b"POST /api/v1/register HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 9999\r\n\r\n" + b" " * 9000)


class Background:
    """A thread that goes on until it is told to end; also a context."""

    def __init__(self):
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()


class SlowClients(Background):
    """count connections to addr, from these source addresses in turn, that send a byte now and then
    and come again when they are ended."""

    def __init__(self, addr, count=1000, sources=("127.0.0.1",)):
        super().__init__()
        self.addr = addr
        self.sources = sources
        self.count = count
        self.ended = 0  # by the API

    def _connect(self, number):
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((self.sources[number % len(self.sources)], 0))
        sock.connect_ex(self.addr)
        return sock

    def run(self):
        slow = [[self._connect(n), 0] for n in range(self.count)]
        while not self.ending.wait(ROUND_SECS):
            for number, (sock, sent) in enumerate(slow):
                try:
                    slow[number][1] += sock.send(LINE[sent:sent + 1])
                except BlockingIOError:
                    continue  # waits in the backlog, or for a place in it
                except OSError:
                    sock.close()
                    self.ended += 1
                    slow[number] = [self._connect(number), 0]
        for sock, _ in slow:
            sock.close()


class Flood(Background):
    """Requests that are wrong, one after the other on as many connections as there are threads."""

    BODIES = (b"{", b"[" * 16000, b"\xff" * 100, b'{"id":1}', b"x" * 200000, json.dumps(
        dict(id="x" * 300, app="a", region="sa", ip="10.1.1.1", port=1)).encode(), b"")

    def __init__(self, addr, source="127.0.0.3", connections=8):
        super().__init__()
        self.addr = addr
        self.source = source
        self.connections = connections
        self.statuses = {}

    @staticmethod
    def request(body):
        return (b"POST /api/v1/register HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def _open(self, selector, number):
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((self.source, 0))
        sock.connect_ex(self.addr)
        selector.register(sock, selectors.EVENT_WRITE, number)

    def run(self):
        selector = selectors.DefaultSelector()
        for number in range(self.connections):
            self._open(selector, number)
        while not self.ending.is_set():
            for key, events in selector.select(0.1):
                self._turn(selector, key, events)
        for key in list(selector.get_map().values()):
            key.fileobj.close()

    def _turn(self, selector, key, events):
        sock, number = key.fileobj, key.data
        try:
            if events & selectors.EVENT_WRITE:
                with contextlib.suppress(BlockingIOError):  # a part of it is bad enough
                    sock.send(self.request(self.BODIES[number % len(self.BODIES)]))
                selector.modify(sock, selectors.EVENT_READ, number + 1)
                return
            answer = sock.recv(65536)
            if answer:
                status = answer[9:12].decode("latin-1")
                self.statuses[status] = self.statuses.get(status, 0) + 1
        except OSError:
            pass
        # Not kept: a huge body may have been sent in part.
        selector.unregister(sock)
        sock.close()
        self._open(selector, number + 1)


class Pinger(Background):
    """A client of the proxy, of an echoing backend: one connection that stays, and new ones."""

    NEW_EVERY = 20

    def __init__(self, connect, pause_secs=0.002):
        super().__init__()
        self.connect = connect
        self.pause_secs = pause_secs
        self.answered = 0
        self.times = []  # of those on the connection that stays, in seconds
        self.error = None

    @staticmethod
    def ping(sock):
        began = time.perf_counter()
        sock.sendall(b"ping")
        got = sock.recv(4)
        if got != b"ping":
            raise ConnectionError(f"{got!r} in place of an echo")
        return time.perf_counter() - began

    def run(self):
        try:
            with self.connect() as stays:
                while not self.ending.is_set():
                    self.times.append(self.ping(stays))
                    if self.answered % self.NEW_EVERY == 0:
                        with self.connect() as new:
                            self.ping(new)
                    self.answered += 1
                    if self.pause_secs:
                        time.sleep(self.pause_secs)
        except OSError as error:
            self.error = error
