"""Whatever comes to the API, clients of the proxy are served, and so are backends that behave."""

import contextlib
import http.client
import json
import shutil
import socket
import sqlite3

import pytest

from crowd import Flood, Pinger, SlowClients
from harness import split_addr, until
from peers import Echo

ENV = dict(EDGEPROXY_API_ENABLED="true", EDGEPROXY_API_LISTEN_ADDR="127.0.0.1:0",
           EDGEPROXY_API_ALLOW_ADDRS="127.0.0.0/8", EDGEPROXY_BINDING_TTL_SECS=0)
MANY = tuple(f"127.0.1.{n}" for n in range(1, 17))
BACKEND = "127.0.0.9"  # where the backend that behaves calls from


@pytest.fixture
def echo(db, peer):
    db.add("sa-1", peer(Echo))


def api_of(proxy):
    return split_addr(proxy.wait_event("api_listening")["addr"])


def call(addr, method, path, body=None, source=BACKEND):
    """The status of an answer; None where the connection was not wanted."""
    connection = http.client.HTTPConnection(*addr, timeout=60, source_address=(source, 0))
    with contextlib.closing(connection):
        try:
            connection.request(method, path, body and json.dumps(body),
                               {"Content-Type": "application/json"} if body else {})
            return connection.getresponse().status
        except (ConnectionError, http.client.HTTPException):
            return None


def register(addr, **how):
    return call(addr, "POST", "/api/v1/register",
                dict(id="b-1", app="other", region="sa", ip="127.0.0.1", port=9), **how)


def goes_on(pinger, count=50):
    """So many more pings have been answered."""
    want = pinger.answered + count
    until(lambda: pinger.error or pinger.answered >= want, "pings are answered")
    assert pinger.error is None


def clients(proxy):
    return Pinger(lambda: proxy.connect("200.160.2.3"))


def test_one_address_cannot_have_every_connection(start, echo):
    proxy = start(EDGEPROXY_API_CLIENT_MAX_CONN=32, **ENV)
    addr = api_of(proxy)
    before = proxy.fd_count()
    with SlowClients(addr) as slow, clients(proxy) as pinger:
        until(lambda: slow.ended > 1000, "those beyond the limit are ended")
        assert register(addr) == 201
        for _ in range(20):
            assert call(addr, "POST", "/api/v1/heartbeat/b-1") == 200
            # 32 that are kept, some that were taken in a turn and are about to be ended, the
            # pinger, the database: far from the 256 that it could have.
            assert proxy.fd_count() <= before + 32 + 64
            until(lambda: proxy.fd_count() <= before + 32 + 24, "those on their way out have gone")
        goes_on(pinger)
    until(lambda: call(addr, "GET", "/healthz", source="127.0.0.1") == 200, "its places are free")


def test_a_unix_socket_has_no_such_limit(start, tmp_path):
    path = tmp_path / "api.sock"
    proxy = start(**{**ENV, "EDGEPROXY_API_LISTEN_ADDR": f"unix:{path}"},
                  EDGEPROXY_API_CLIENT_MAX_CONN=2)
    proxy.wait_event("api_listening")
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(10)]
        for sock in held:
            sock.settimeout(60)
            sock.connect(str(path))
        for sock in held:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 200 " in sock.makefile("rb").readline()


def test_bad_clients_do_not_disturb_clients_of_the_proxy(start, echo):
    proxy = start(**ENV)
    addr = api_of(proxy)
    before = proxy.fd_count()
    assert register(addr) == 201
    with clients(proxy) as pinger:
        with SlowClients(addr, sources=MANY), Flood(addr) as flood:
            until(lambda: proxy.fd_count() >= before + 200, "all places are taken")
            goes_on(pinger, 500)
        with Flood(addr) as flood:
            until(lambda: {"400", "413", "429"} <= set(flood.statuses), "every kind of refusal")
            goes_on(pinger, 500)
        # Nothing has stayed behind.
        until(lambda: call(addr, "POST", "/api/v1/heartbeat/b-1") == 200, "heard again")
        until(lambda: proxy.fd_count() <= before + 16, "bad connections are gone")
        goes_on(pinger)


def test_a_broken_database_does_not_disturb_clients_of_the_proxy(start, db, echo, tmp_path):
    proxy = start(EDGEPROXY_API_RATE=0, **ENV)
    addr = api_of(proxy)
    assert register(addr) == 201
    good = tmp_path / "good"
    shutil.copy(db.path, good)

    def busy(pinger):
        """Every write is refused, and pings go on."""
        until(lambda: register(addr, source="127.0.0.8") == 503 or call(
            addr, "DELETE", "/api/v1/backends/b-1") == 503, "refused")
        assert call(addr, "POST", "/api/v1/heartbeat/b-1") == 200
        assert call(addr, "GET", "/health") == 200
        goes_on(pinger)
    with clients(proxy) as pinger, Flood(addr, connections=2):
        with contextlib.closing(sqlite3.connect(db.path, isolation_level=None)) as locker:
            locker.execute("BEGIN EXCLUSIVE")
            assert call(addr, "PUT", "/api/v1/backends/b-2", dict(
                app="other", region="sa", ip="127.0.0.1", port=9)) == 503
            goes_on(pinger)
            locker.execute("ROLLBACK")
        for bad in (b"garbage" * 1000, b"", good.read_bytes()[:5000], None):
            db.path.unlink()
            if bad is not None:
                db.path.write_bytes(bad)
            busy(pinger)
            if bad is None:
                shutil.copy(good, db.path)
        until(lambda: register(addr) in (200, 201), "the database is back")
        goes_on(pinger)
