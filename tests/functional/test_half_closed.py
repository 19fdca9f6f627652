"""Clients of HTTP that end their side behind the request (shutdown(SHUT_WR), `nc -N`)."""

import contextlib
import json
import os
import select
import signal
import socket

import pytest

import wire
from harness import BR, split_addr, until
from peers import Identity

AT_ONCE = "/api/v1/status"
# The workers collect what these show, while the request waits: docs/api.md says that there may be no
# answer then.
WAITING = ["/api/v1/sessions", "/api/v1/bindings"]


def request(path):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


@pytest.fixture(params=["tcp", "unix"])
def world(request, db, peer, start, control_path):
    """A proxy with one session, and connect(), which connects to one of its doors."""
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy = start(EDGEPROXY_CONTROL_SOCKET=control_path, EDGEPROXY_API_ENABLED=1,
                  EDGEPROXY_API_LISTEN_ADDR="127.0.0.1:0")
    api = split_addr(proxy.wait_event("api_listening", lambda e: e["door"] == "api")["addr"])

    def connect():
        sock = socket.socket(socket.AF_INET if request.param == "tcp" else socket.AF_UNIX)
        sock.settimeout(60)
        sock.connect(api if request.param == "tcp" else control_path)
        return sock
    with proxy.connect(BR) as session:
        assert wire.read_line(session) == "sa-1"
        yield proxy, connect


@contextlib.contextmanager
def asleep(proxy):
    """Whatever is sent meanwhile, the proxy finds all of it at once."""
    proxy.kill(signal.SIGSTOP)
    try:
        until(lambda: os.waitid(os.P_PID, proxy.pid,
                                os.WSTOPPED | os.WNOHANG | os.WNOWAIT), "it has stopped")
        yield
    finally:
        proxy.kill(signal.SIGCONT)


def all_of(sock):
    data = b""
    while part := sock.recv(65536):
        data += part
    return data


@pytest.mark.parametrize("path", [AT_ONCE, *WAITING])
@pytest.mark.parametrize("together", [True, False])
def test_the_answer_comes_and_then_the_end(world, path, together):
    proxy, connect = world
    with contextlib.ExitStack() as stack:
        # It says nothing: its time is over before that of those that come after it.
        mute = stack.enter_context(connect())
        asked = [stack.enter_context(connect()) for _ in range(5)]
        with asleep(proxy) if together else contextlib.nullcontext():
            for sock in asked:
                sock.sendall(request(path))
                sock.shutdown(socket.SHUT_WR)
        for sock in asked:
            answer = all_of(sock)
            if answer or path == AT_ONCE:
                head, body = answer.split(b"\r\n\r\n", 1)
                assert head.startswith(b"HTTP/1.1 200 ") and json.loads(body)
            assert not select.select([mute], [], [], 0)[0], "only its timeout has ended it"


def test_each_of_several_requests_is_answered(world):
    proxy, connect = world
    with connect() as sock:
        with asleep(proxy):
            sock.sendall(5 * request(AT_ONCE))
            sock.shutdown(socket.SHUT_WR)
        assert all_of(sock).count(b"HTTP/1.1 200 ") == 5


def test_half_a_request_gets_the_end_alone(world):
    proxy, connect = world
    with connect() as mute, connect() as sock:
        with asleep(proxy):
            sock.sendall(request(AT_ONCE)[:-2])
            sock.shutdown(socket.SHUT_WR)
        assert b" 200 " not in all_of(sock)
        assert not select.select([mute], [], [], 0)[0], "only its timeout has ended it"


@pytest.mark.parametrize("world", ["tcp"], indirect=True)
@pytest.mark.parametrize("together", [True, False])
def test_a_stream_goes_on(world, together):
    proxy, connect = world
    with connect() as sock:
        with asleep(proxy) if together else contextlib.nullcontext():
            sock.sendall(request("/api/v1/live"))
            sock.shutdown(socket.SHUT_WR)
        data = b""
        while data.count(b"data: ") < 4:
            part = sock.recv(65536)
            assert part, data[-200:]
            data += part
