"""Where the API's thread can be spoken to: what each door answers, who may open it, and whose its
address is when processes come, go and die."""

import contextlib
import http.client
import json
import os
import signal
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness import Proxy, UnixConnection, http_connection, split_addr, until
from test_upgrade import Generations

AUTO = "/run/edgeproxy/control.sock"


@pytest.fixture
def folder():
    """With a short path, as a socket's must be."""
    with tempfile.TemporaryDirectory(dir="/tmp") as path:
        yield Path(path)


def opened(proxy, door, since=0):
    return proxy.wait_event("api_listening", lambda e: e["door"] == door, since=since)["addr"]


def ask(where, path, method="GET", **headers):
    with contextlib.closing(http_connection(where)) as c:
        c.request(method, path, headers=headers)
        r = c.getresponse()
        return r.status, json.loads(r.read())


def is_private(path):
    mode = os.stat(path).st_mode
    return stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660


def test_the_control_socket(db, start, folder):
    """It is there when the proxy says that it is ready, and gone when it has ended."""
    path = folder / "control"
    before = os.umask(0)
    try:
        proxy = start(EDGEPROXY_CONTROL_SOCKET=path)
    finally:
        os.umask(before)
    assert is_private(path)
    assert ask(f"unix:{path}", "/health")[0] == 200
    assert ask(f"unix:{path}", "/api/v1/register", "POST")[0] == 404  # the API's door only
    proxy.stop()
    assert not path.exists()


def test_tokens_are_for_the_door_of_the_api(db, start, folder):
    (folder / "tokens").write_text("all s3cret-of-everything-01\n")
    proxy = start(EDGEPROXY_CONTROL_SOCKET=folder / "control", EDGEPROXY_API_ENABLED=1,
                  EDGEPROXY_API_LISTEN_ADDR="127.0.0.1:0",
                  EDGEPROXY_API_TOKEN_FILE=folder / "tokens")
    assert ask(opened(proxy, "api"), "/api/v1/backends")[0] == 401
    assert ask(opened(proxy, "control"), "/api/v1/backends")[0] == 200


def test_what_monitors_may_ask(db, start):
    proxy = start(EDGEPROXY_METRICS_ENABLED=1, EDGEPROXY_METRICS_LISTEN_ADDR="127.0.0.1:0")
    where = opened(proxy, "metrics")
    assert ask(where, "/healthz")[0] == 200
    for path in ("/health", "/openapi.json", "/api/v1/backends", "/api/v1/backends/x"):
        assert ask(where, path)[0] == 404


def scrapes(stack, where, source, count):
    """How many of so many connections from one address, all kept, are answered."""
    served = 0
    for _ in range(count):
        c = http.client.HTTPConnection(*split_addr(where), timeout=60, source_address=(source, 0))
        stack.enter_context(contextlib.closing(c))
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            c.request("GET", "/metrics")
            served += c.getresponse().read().startswith(b"# ")
    return served


@pytest.mark.parametrize("most, served", [("4", 4), ("unset", 16), ("0", 20)])
def test_one_monitor_cannot_have_every_connection(db, start, most, served):
    proxy = start(EDGEPROXY_METRICS_ENABLED=1, EDGEPROXY_METRICS_LISTEN_ADDR="127.0.0.1:0",
                  EDGEPROXY_METRICS_CLIENT_MAX_CONN=most)
    where = opened(proxy, "metrics")
    with contextlib.ExitStack() as stack:
        assert scrapes(stack, where, "127.0.0.1", 20) == served
        assert scrapes(stack, where, "127.0.0.9", 2) == 2
    # Their places are free again.
    with contextlib.ExitStack() as stack:
        until(lambda: scrapes(stack, where, "127.0.0.1", 1) == 1, "who has left may come back")


def test_a_unix_socket_of_metrics_has_no_such_limit(db, start, folder):
    start(EDGEPROXY_METRICS_ENABLED=1, EDGEPROXY_METRICS_LISTEN_ADDR=f"unix:{folder / 'm'}",
          EDGEPROXY_METRICS_CLIENT_MAX_CONN=1)
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            c = stack.enter_context(contextlib.closing(UnixConnection(str(folder / "m"))))
            c.request("GET", "/healthz")
            response = c.getresponse()
            assert response.status == 200 and response.read()


def test_the_file_of_one_that_was_killed_is_replaced(db, start, folder):
    path = folder / "control"
    first = start(EDGEPROXY_CONTROL_SOCKET=path)
    first.kill(signal.SIGKILL)
    assert first.wait_exit() == -signal.SIGKILL
    assert path.exists()
    start(EDGEPROXY_CONTROL_SOCKET=path)
    assert is_private(path) and ask(f"unix:{path}", "/health")[0] == 200


@pytest.mark.parametrize("what", ["socket", "file", "no folder"])
def test_a_path_that_is_taken_stops_the_start(db, start, folder, what):
    path = folder / "control"
    if what == "socket":
        start(EDGEPROXY_CONTROL_SOCKET=path)
    elif what == "file":
        path.write_text("precious")
    else:
        path = path / "control"
    second = start(EDGEPROXY_CONTROL_SOCKET=path, wait_ready=False)
    assert second.wait_exit() == 1
    error = second.wait_event("start_failed")["error"]
    assert error.startswith(f"EDGEPROXY_CONTROL_SOCKET={path}: ")
    if what == "socket":
        assert "listens there: stop it" in error
        assert ask(f"unix:{path}", "/health")[0] == 200
    elif what == "file":
        assert "no socket" in error
        assert path.read_text() == "precious"


def test_one_of_several_that_start_at_once_has_the_path(db, start, folder):
    """Beside what one left that was killed. The others say who has it, and what helps."""
    path = folder / "control"
    killed = start(EDGEPROXY_CONTROL_SOCKET=path)
    killed.kill(signal.SIGKILL)
    killed.wait_exit()
    rivals = [start(EDGEPROXY_CONTROL_SOCKET=path, wait_ready=False) for _ in range(6)]
    until(lambda: sum(r.process.poll() is not None for r in rivals) == 5, "all but one have ended")
    [served] = [r for r in rivals if r.process.poll() is None]
    served.wait_event("ready")
    assert ask(f"unix:{path}", "/api/v1/status")[1]["pid"] == served.pid
    for other in rivals:
        if other is not served:
            assert other.wait_exit() == 1
            error = other.wait_event("start_failed")["error"]
            assert error.startswith(f"EDGEPROXY_CONTROL_SOCKET={path}: ")
            assert f"process {served.pid} listens there" in error or "is locked" in error
            assert error.endswith("stop it, or give this one a path of its own") or error.endswith(
                "stop that one, or give this one a path of its own")
    served.stop()
    assert list(folder.iterdir()) == []


def test_the_control_socket_moves_on(db, start, folder):
    path = folder / "control"
    chain = Generations(start(EDGEPROXY_CONTROL_SOCKET=path))
    try:
        for _ in range(2):
            mark = chain.proxy.mark()
            chain.upgrade()
            assert opened(chain.proxy, "control", mark) == f"unix:{path}"
            assert is_private(path) and ask(f"unix:{path}", "/health")[0] == 200
        assert not chain.proxy.log.find("api_not_listening")
    finally:
        chain.stop()
    until(lambda: not list(folder.iterdir()), "the end of the file, and of its lock")


# ---- auto ----


def may_unshare():
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


needs_unshare = pytest.mark.skipif(not may_unshare(), reason="no mount namespaces here")


def with_own_run(options):
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c",
            f'mount -t tmpfs -o {options} none /run && exec "$0"')


@needs_unshare
def test_auto(db):
    """The folder is made, before the proxy is ready; a second proxy is warned, serves, and has the place when the first has
    gone."""
    env = dict(EDGEPROXY_CONTROL_SOCKET="auto", EDGEPROXY_LOG_LEVEL="info")
    first = Proxy(db, env, prefix=with_own_run("mode=755"))
    try:
        first.wait_event("ready")
        assert [e["addr"] for e in first.log.find("api_listening")] == [f"unix:{AUTO}"]
        path = Path(f"/proc/{first.pid}/root{AUTO}")
        assert is_private(path)
        second = Proxy(db, env, prefix=("nsenter", "--mount", "--target", str(first.pid)))
        try:
            second.wait_event("ready")
            warned = second.wait_event("api_not_listening")
            assert (warned["level"], warned["door"]) == ("warn", "control")
            assert f"process {first.pid} listens there" in warned["error"]
            assert "EDGEPROXY_CONTROL_SOCKET" in warned["advice"]
            first.stop()
            assert opened(second, "control") == f"unix:{AUTO}"
        finally:
            second.stop()
    finally:
        first.stop()


@needs_unshare
def test_auto_where_it_cannot_be(db):
    """Nothing will change by itself, so it is said at once."""
    proxy = Proxy(db, dict(EDGEPROXY_CONTROL_SOCKET="auto"), prefix=with_own_run("ro"))
    try:
        proxy.wait_event("ready")
        log = proxy.log.find("api_not_listening")
        assert [e["level"] for e in log] == ["warn"]
    finally:
        proxy.stop()
