"""Active health checks: what each kind takes for healthy, and what becomes of clients meanwhile.

Backends serve clients on one port and are checked on another, where a scripted peer answers: so a
test says what the check finds without touching what clients get."""

import contextlib
import os
import threading
import time
from pathlib import Path

import pytest

import h2
import wire
from harness import BR, run_cli, until
from peers import Blackhole, Echo, Identity, Peer, Refusing

FAST = dict(inter_ms=100, timeout_ms=10000, rise=2, fall=2)
SOON = dict(inter_ms=100, timeout_ms=150, rise=2, fall=2)


class Checked(Peer):
    """Reads a request (up to the empty line) and does what `answer` says: bytes to send, or a
    function of the socket. Can be changed at any time."""

    def __init__(self, answer, **how):
        self.answer = answer
        self.requests = []
        super().__init__(**how)

    def script(self, sock):
        answer, request = self.answer, b""
        while b"\r\n\r\n" not in request:
            data = sock.recv(1 << 16)
            if not data:
                return
            request += data
        self.requests.append(request)
        answer(sock) if callable(answer) else sock.sendall(answer)
        with contextlib.suppress(OSError):
            wire.read_all(sock)


class Speaks(Peer):
    """An agent: says its line at once and ends."""

    def __init__(self, line, **how):
        self.line = line
        super().__init__(**how)

    def script(self, sock):
        sock.sendall(self.line)


class Grpc(Peer):
    """Answers each call with the bytes in `answer`; messages holds the requests."""

    def __init__(self, answer, **how):
        self.answer = answer
        self.messages = []
        super().__init__(**how)

    def script(self, sock):
        self.messages.append(h2.read_call(sock))
        sock.sendall(self.answer)
        with contextlib.suppress(OSError):
            wire.read_all(sock)


def reply(status="200 OK", body=b"", *headers):
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


OK = reply(body=b"all is well\n")
BAD = reply("503 Service Unavailable")


def down(proxy, backend="a", count=1):
    return proxy.wait_event("health_down", lambda e: e["backend"] == backend, count=count)


def up(proxy, backend="a", count=1):
    return proxy.wait_event("health_up", lambda e: e["backend"] == backend, count=count)


@pytest.fixture
def start(start):
    """Each client is decided on anew, so that it shows at once who takes clients."""
    return lambda **how: start(**{"EDGEPROXY_BINDING_TTL_SECS": 0, **how})


@pytest.fixture
def pair(db, peer):
    """Two backends; clients prefer a, which is in their own country."""
    db.add("a", peer(Identity, "a"), country="BR")
    db.add("b", peer(Identity, "b"))


# ---- what clients notice ----


def test_clients_go_elsewhere_while_a_backend_is_down_and_come_back(db, peer, start, pair):
    checked = peer(Checked, OK)
    db.check("backend:a", "http", port=checked.addr[1], **FAST)
    proxy = start()
    until(lambda: len(checked.requests) >= 2, "two checks")
    assert proxy.label(BR) == "a"

    checked.answer = BAD
    event = down(proxy)
    assert event["check"] == "http" and event["reason"] == "status 503"
    assert event["attempts"] == "2" and event["level"] == "warn"
    assert proxy.label(BR) == "b"

    checked.answer = OK
    assert up(proxy)["attempts"] == "2"
    assert proxy.label(BR) == "a"
    assert db.connect().execute("SELECT healthy FROM backends WHERE id = 'a'").fetchone() == (1,)
    assert len(proxy.log.find("health_down")) == len(proxy.log.find("health_up")) == 1


def test_the_database_says_no_though_the_check_passes(db, peer, start, pair):
    checked = peer(Checked, OK)
    db.check("*", "http", port=checked.addr[1], **FAST)
    proxy = start()
    assert proxy.label(BR) == "a"
    db.set("a", healthy=0)
    proxy.wait_event("table_loaded", count=2)
    until(lambda: proxy.label(BR) == "b", "a client that goes elsewhere")
    before = len(checked.requests)
    until(lambda: len(checked.requests) >= before + 4, "checks that go on")
    assert proxy.label(BR) == "b"
    db.set("a", healthy=1)
    until(lambda: proxy.label(BR) == "a", "a client that comes back")
    assert not proxy.log.find("health_down")


def test_the_check_says_no_though_the_database_says_healthy(db, peer, start, pair):
    checked = peer(Checked, BAD)
    db.check("backend:a", "http", port=checked.addr[1], **FAST)
    proxy = start()
    down(proxy)
    assert proxy.label(BR) == "b"
    # Whatever else the database says of it.
    db.set("a", weight=7)
    proxy.wait_event("table_loaded", count=2)
    before = len(checked.requests)
    until(lambda: len(checked.requests) >= before + 3, "checks with the new table")
    assert proxy.label(BR) == "b"
    assert len(proxy.log.find("health_down")) == 1


def test_no_backend_is_left(db, peer, start):
    db.add("a", peer(Identity, "a"))
    db.check("*", "tcp", port=peer(Refusing).addr[1], **FAST)
    proxy = start(EDGEPROXY_HEALTHY_PANIC_THRESHOLD=0)
    assert down(proxy)["reason"] == "connect refused"
    assert proxy.label(BR) == ""
    assert proxy.wait_session()["reason"] == "no-backend"


def test_when_none_is_left_all_are(db, peer, start):
    """Panic: rather than nobody, those who fail their checks."""
    db.add("a", peer(Identity, "a"))
    db.check("*", "tcp", port=peer(Refusing).addr[1], **FAST)
    proxy = start()
    down(proxy)
    proxy.wait_event("panic_entered")
    assert proxy.label(BR) == "a"


def test_nothing_is_checked_by_default(db, peer, start):
    backend = peer(Identity, "a")
    db.add("a", backend)
    proxy = start()
    assert proxy.label(BR) == "a"
    assert backend.accepted == 1
    assert not proxy.log.find("health_down") + proxy.log.find("health_up")


def test_checks_of_the_environment(db, peer, start, pair):
    proxy = start(EDGEPROXY_HEALTH_CHECK="http", EDGEPROXY_HEALTH_INTER_MS=100,
                  EDGEPROXY_HEALTH_HTTP_PATH="/up", EDGEPROXY_HEALTH_HTTP_HOST="x.example",
                  EDGEPROXY_HEALTH_PORT=peer(Checked, BAD).addr[1])
    assert down(proxy)["reason"] == "status 503"
    assert down(proxy, "b")
    # A row is stronger: no check at all, and up.
    db.check("app:myapp", "none")
    until(lambda: proxy.label(BR) == "a", "a backend that is not checked any more")


def test_a_backend_that_was_never_up_is_down_after_one_failure(db, peer, start, pair):
    db.check("backend:a", "tcp", port=peer(Refusing).addr[1], inter_ms=100, fall=200)
    assert down(start())["attempts"] == "1"


def test_failures_within_the_grace_do_not_count(db, peer, start, pair):
    checked = peer(Checked, BAD)
    db.check("backend:a", "http", port=checked.addr[1], grace_ms=3600000, **FAST)
    proxy = start()
    until(lambda: len(checked.requests) >= 5, "checks that fail")
    assert proxy.label(BR) == "a"
    db.check("backend:a", "http", port=checked.addr[1], grace_ms=0, **FAST)
    db.set("a", wg_ip="127.0.0.2")  # as good as another backend
    down(proxy)


def test_a_backend_in_maint_is_not_checked(db, peer, start, pair):
    checked = peer(Checked, BAD)
    db.check("backend:a", "http", port=checked.addr[1], **FAST)
    proxy = start()
    down(proxy)
    db.set("a", state="maint")
    proxy.wait_event("table_loaded", count=2)
    until(lambda: checked.open == 0, "no check under way")
    db.set("a", state="ready")
    down(proxy, count=2)


def test_a_backend_that_is_gone_and_comes_back_begins_anew(db, peer, start, pair):
    checked = peer(Checked, BAD)
    db.check("backend:a", "http", port=checked.addr[1], **FAST)
    proxy = start(EDGEPROXY_SHRINK_HOLD_SECS=0)
    down(proxy)
    db.remove("a")
    proxy.wait_event("table_loaded", count=2)
    checked.answer = OK
    db.add("a", peer(Identity, "a2"), country="BR")
    until(lambda: proxy.label(BR) == "a2", "the new one")


# ---- TCP ----


def test_tcp(db, peer, start, pair):
    checked = peer(Echo)
    db.check("backend:a", "tcp", port=checked.addr[1], **FAST)
    proxy = start()
    until(lambda: checked.accepted >= 3, "checks")
    checked.die()
    assert down(proxy)["reason"] == "connect refused"


def test_tcp_without_an_answer(db, peer, start, pair):
    hole = peer(Blackhole)
    db.check("backend:a", "tcp", port=hole.addr[1], **SOON)
    assert down(start())["reason"] == "connect timeout"


@pytest.mark.parametrize("version", [1, 2])
def test_a_check_can_begin_with_a_proxy_header(db, peer, start, pair, version):
    checked = peer(Checked, OK)
    db.check("backend:a", "http", port=checked.addr[1], send_proxy=version, **FAST)
    start()
    until(lambda: checked.requests, "a check")
    local = {1: b"PROXY UNKNOWN\r\n", 2: b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"}[version]
    # The empty line inside a v2 header is all that the peer waits for.
    assert checked.requests[0].startswith(local[:4])
    if version == 1:
        assert checked.requests[0].startswith(local + b"GET / HTTP/1.1\r\n")


def test_a_tcp_check_with_a_proxy_header(db, peer, start, pair):
    class Reads(Peer):
        read = []

        def script(self, sock):
            self.read.append(wire.read_all(sock))
    checked = peer(Reads)
    db.check("backend:a", "tcp", port=checked.addr[1], send_proxy=2, **FAST)
    proxy = start()
    until(lambda: len(checked.read) >= 3, "checks")
    assert set(checked.read) == {b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"}
    assert proxy.label(BR) == "a" and not checked.errors


# ---- HTTP ----


def test_http_request(db, peer, start, pair):
    checked = peer(Checked, OK)
    db.check("backend:a", "http", port=checked.addr[1], method="POST", path="/health?x=1",
             host="app.example", **FAST)
    start()
    until(lambda: checked.requests, "a check")
    lines = checked.requests[0].decode().split("\r\n")
    assert lines[0] == "POST /health?x=1 HTTP/1.1"
    assert {"Host: app.example", "Connection: close", "Content-Length: 0"} <= set(lines)


def until_passed(proxy, checked):
    """Two more checks have ended, and none of them badly."""
    before = len(checked.requests)
    until(lambda: len(checked.requests) >= before + 3, "checks")
    assert not proxy.log.find("health_down")


def trickled(data):
    def send(sock):
        for byte in data:
            sock.sendall(bytes([byte]))
    return send


@pytest.mark.parametrize("answer, columns", [
    (reply("204 No Content"), {}),
    (reply("299"), {}),
    (reply("302 Found", b"", "Location: /"), {"expect_status": "200,302"}),
    (reply(body=b"x" * 5000 + b"status: ok" + b"y" * 90000), {"expect_body": "status: ok"}),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstatu\r\n5;e=1\r\ns: ok\r\n0\r\n\r\n",
     {"expect_body": "status: ok"}),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\n\nall is well", {"expect_body": "is well"}),
    (trickled(OK), {"expect_body": "well"}),
], ids=["204", "299", "302-wanted", "body", "chunks", "interim-and-lf", "byte-by-byte"])
def test_http_passes(db, peer, start, pair, answer, columns):
    checked = peer(Checked, answer)
    db.check("backend:a", "http", port=checked.addr[1], **FAST, **columns)
    proxy = start()
    until_passed(proxy, checked)
    assert proxy.label(BR) == "a"


def half_closed(data):
    def send(sock):
        sock.sendall(data)
        sock.shutdown(1)
    return send


@pytest.mark.parametrize("answer, columns, reason", [
    (reply("302 Found", b"", "Location: /ok"), {}, "status 302, redirects are not followed"),
    (reply("404 Not Found"), {}, "status 404"),
    (OK, {"expect_status": "204"}, "status 200"),
    (OK, {"expect_body": "well done"}, "body mismatch"),
    (reply("204 No Content"), {"expect_body": "x"}, "body mismatch"),
    (b"HTTP/1.1 200 OK\r\n\r\n" + b"y" * 90000, {"expect_body": "x"}, "reply too long"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 9000, {}, "reply too long"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000, {}, "reply too long"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", {}, "malformed reply"),
    (b"HTTP/1.1 200 OK\r\nno header\r\n\r\n", {}, "malformed reply"),
    (half_closed(b"HTTP/1.1 200 OK\r\nContent-"), {}, "connection closed before the reply was whole"),
    (half_closed(reply(body=b"abc")[:-1]), {"expect_body": "abc"},
     "connection closed before the reply was whole"),
    (half_closed(b""), {}, "connection closed before the reply was whole"),
    (wire.reset, {}, "connection reset"),
], ids=["redirect", "404", "other-200", "body", "no-body", "long-body", "long-line", "many-headers",
        "no-http", "no-header", "cut-header", "cut-body", "silence", "reset"])
def test_http_fails(db, peer, start, pair, answer, columns, reason):
    checked = peer(Checked, answer)
    db.check("backend:a", "http", port=checked.addr[1], **FAST, **columns)
    proxy = start()
    assert down(proxy)["reason"] == reason
    assert proxy.label(BR) == "b"


def test_http_that_trickles_is_too_slow(db, peer, start, pair):
    def trickle(sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\n")
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(b"X: y\r\n")
                time.sleep(0.02)
    db.check("backend:a", "http", port=peer(Checked, trickle).addr[1], **SOON)
    assert down(start())["reason"] == "reply timeout"


# ---- gRPC ----


@pytest.mark.parametrize("service", [None, "shop.Cart"])
def test_grpc_passes(db, peer, start, pair, service):
    server = peer(Grpc, h2.answer())
    db.check("backend:a", "grpc", port=server.addr[1], grpc_service=service, **FAST)
    proxy = start()
    until(lambda: len(server.messages) >= 4, "checks")
    body = b"" if service is None else b"\x0a" + bytes([len(service)]) + service.encode()
    assert set(server.messages) == {h2.message(body)}
    assert not proxy.log.find("health_down")
    server.answer = h2.answer(body=h2.serving(2))
    assert down(proxy)["reason"] == "serving status NOT_SERVING"
    server.answer = h2.answer()
    up(proxy)


@pytest.mark.parametrize("answer, reason", [
    (h2.answer(body=b""), "serving status UNKNOWN"),
    (h2.answer(body=h2.serving(3)), "serving status SERVICE_UNKNOWN"),
    (h2.answer(grpc_status="12", body=None), "grpc status 12"),
    (h2.answer(http_status="503"), "status 503"),
    (h2.answer(body=b"\x0a"), "malformed reply"),
    (h2.answer(body=h2.serving(1) + b"\x12\xff\x01" + b"x" * 300), "reply too long"),
    (h2.frame(h2.SETTINGS, 0, 0) + h2.frame(h2.PING, 0, 0, b"12345678") * 9000,
     "HTTP/2: Flooding was detected in this HTTP/2 session, and it must be closed"),
    (h2.frame(h2.SETTINGS, 0, 0) + h2.frame(h2.RST_STREAM, 0, 1, b"\0\0\0\2"),
     "stream ended: INTERNAL_ERROR"),
], ids=["unknown", "service-unknown", "unimplemented", "503", "cut-message", "long-message",
        "flood", "reset-stream"])
def test_grpc_fails(db, peer, start, pair, answer, reason):
    db.check("backend:a", "grpc", port=peer(Grpc, answer).addr[1], **FAST)
    assert down(start())["reason"] == reason


def test_grpc_at_a_server_that_speaks_http_1(db, peer, start, pair):
    db.check("backend:a", "grpc", port=peer(Checked, OK).addr[1], **FAST)
    assert down(start())["reason"] == "HTTP/2 protocol error"


def test_grpc_with_a_server_of_the_official_library(db, start, pair):
    grpc = pytest.importorskip("grpc")
    futures = pytest.importorskip("concurrent.futures")
    asked, status = [], [1]

    def check(request, _):
        asked.append(request)
        return h2.serving(status[0])
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        db.check("backend:a", "grpc", port=port, grpc_service="shop.Cart", **FAST)
        proxy = start()
        until(lambda: len(asked) >= 3, "checks")
        assert set(asked) == {b"\x0a\x09shop.Cart"} and not proxy.log.find("health_down")
        status[0] = 2
        assert down(proxy)["reason"] == "serving status NOT_SERVING"
        status[0] = 1
        up(proxy)
    finally:
        server.stop(0).wait()


# ---- scripts ----


@pytest.fixture
def script(tmp_path):
    """script(name, text) puts a shell script into the allowed folder; script.dir is that."""
    folder = tmp_path / "checks"
    folder.mkdir()

    def make(name, text):
        path = folder / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return path

    make.dir = folder
    return make


def test_script(db, start, pair, script, tmp_path):
    told = tmp_path / "told"
    script("ok.sh", f'{{ echo "$@"; env; ls /proc/self/fd; }} > {told}.new; mv {told}.new {told}\n'
                    f'test ! -e {tmp_path}/bad\n')
    db.check("backend:a", "script", script="ok.sh", **FAST)
    proxy = start(EDGEPROXY_HEALTH_SCRIPT_DIR=script.dir)
    until(told.exists, "a run")
    lines = told.read_text().split("\n")
    assert lines[0].split()[:3] == ["NOT_USED", "NOT_USED", "127.0.0.1"]
    names = {line.split("=")[0] for line in lines if "=" in line} - {"PWD", "SHLVL", "_", "OLDPWD"}
    assert names == {"PATH", *(f"HAPROXY_{n}" for n in (
        "PROXY_NAME", "PROXY_ADDR", "PROXY_PORT", "SERVER_NAME", "SERVER_ADDR", "SERVER_PORT",
        "SERVER_CURCONN", "SERVER_MAXCONN", "SERVER_SSL", "SERVER_PROTO"))}
    assert "HAPROXY_SERVER_NAME=a" in lines and "HAPROXY_PROXY_NAME=myapp" in lines
    # Nothing of the proxy's is open in it: ls itself has one more than the first three.
    assert {line for line in lines if line.isdigit()} <= {"0", "1", "2", "3"}
    (tmp_path / "bad").touch()
    assert down(proxy)["reason"] == "script exit status 1"
    (tmp_path / "bad").unlink()
    up(proxy)


def alive(pid):
    with contextlib.suppress(OSError):
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return False


def test_a_script_that_hangs_and_forks_is_killed_with_its_children(db, start, pair, script, tmp_path):
    pids = tmp_path / "pids"
    script("hang.sh", f"trap '' TERM INT HUP\nsleep 1000 & echo $! >> {pids}\n"
                      f"(trap '' TERM; sleep 1000; true) & echo $! >> {pids}\n"
                      f"echo $$ >> {pids}\nwait; sleep 1000\n")
    db.check("backend:a", "script", script="hang.sh", inter_ms=100, timeout_ms=1000)
    proxy = start(EDGEPROXY_HEALTH_SCRIPT_DIR=script.dir)
    assert down(proxy)["reason"] == "script timeout"
    first = pids.read_text().split()[:3]
    until(lambda: not any(alive(pid) for pid in first), "the end of all of them")
    proxy.stop()
    until(lambda: not any(alive(pid) for pid in pids.read_text().split()), "nobody left behind")


def test_what_a_script_leaves_behind_is_killed_too(db, start, pair, script, tmp_path):
    pids = tmp_path / "pids"
    script("leave.sh", f"sleep 1000 & echo $! >> {pids}\nyes | head -c 1000000\nexit 0\n")
    db.check("backend:a", "script", script="leave.sh", **FAST)
    proxy = start(EDGEPROXY_HEALTH_SCRIPT_DIR=script.dir)
    until(lambda: pids.exists() and len(pids.read_text().split()) >= 3, "runs")
    first = pids.read_text().split()[:2]
    until(lambda: not any(alive(pid) for pid in first), "its end")
    assert not proxy.log.find("health_down")


def test_scripts_are_off_unless_a_folder_is_allowed(db, start, pair, script, tmp_path):
    script("run.sh", f"touch {tmp_path}/ran\nexit 1\n")
    db.check("backend:a", "script", script="run.sh", **FAST)
    db.check("backend:b", "tcp", **FAST)
    proxy = start(EDGEPROXY_LOG_LEVEL="debug")
    proxy.wait_event("health_probe", lambda e: e["backend"] == "b", count=5)
    assert not (tmp_path / "ran").exists() and not proxy.log.find("health_down")
    assert proxy.label(BR) == "a"


def test_a_script_that_is_not_there_says_nothing_of_the_backend(db, start, pair, script):
    db.check("backend:a", "script", script="missing.sh", **FAST)
    proxy = start(EDGEPROXY_HEALTH_SCRIPT_DIR=script.dir)
    event = proxy.wait_event("health_not_run")
    assert event["backend"] == "a" and "No such file" in event["reason"]
    assert proxy.label(BR) == "a"


@pytest.mark.parametrize("name", ["../run.sh", "/bin/sh", ".hidden", "a b", ""])
def test_a_script_cannot_be_anywhere_else(db, start, pair, script, name):
    db.check("backend:a", "script", script=name, **FAST)
    event = start(EDGEPROXY_HEALTH_SCRIPT_DIR=script.dir).wait_event("row_quarantined")
    assert event["table"] == "health_checks" and event["column"] == "script"


def test_a_folder_of_scripts_that_is_none_stops_the_start(db, start, tmp_path):
    proxy = start(wait_ready=False, EDGEPROXY_HEALTH_SCRIPT_DIR=tmp_path / "nowhere")
    assert "No such file" in proxy.wait_event("start_failed")["error"]
    assert proxy.wait_exit() == 1


# ---- the agent ----


def test_agent(db, peer, start, pair):
    agent = peer(Speaks, b"up ready 100%\n")
    db.check("backend:a", "none", agent_port=agent.addr[1], agent_inter_ms=100)
    proxy = start()
    for line, health, state, percent, label in (
            (b"down # disk full\n", "down", "ready", "100", "b"),
            (b"up, drain\n", "up", "drain", "100", "b"),
            (b"maint\r\n", "up", "maint", "100", "b"),
            (b"ready 0%\n", "up", "ready", "0", "b"),
            (b"50%\n", "up", "ready", "50", "a"),
            (b"UP 100% maxconn:30", "up", "ready", "100", "a")):
        mark = proxy.mark()
        agent.line = line
        event = proxy.wait_event("agent_changed", since=mark)
        assert (event["health"], event["state"], event["weight_percent"]) == (health, state, percent)
        assert event.get("why") == ("disk full" if b"#" in line else None)
        assert proxy.label(BR) == label, line


def test_an_agent_that_falls_silent_changes_nothing(db, peer, start, pair):
    agent = peer(Speaks, b"drain\n")
    db.check("backend:a", "none", agent_port=agent.addr[1], agent_inter_ms=100)
    proxy = start()
    proxy.wait_event("agent_changed")
    agent.line = b"what?\n"
    assert proxy.wait_event("agent_silent")["reason"] == "malformed reply"
    assert proxy.label(BR) == "b"
    agent.line = b"ready\n"
    proxy.wait_event("agent_answers")
    assert proxy.label(BR) == "a"
    agent.line = b"drain\n"
    proxy.wait_event("agent_changed", count=3)
    db.check("backend:a", "none")  # without an agent nothing is left of what it said
    until(lambda: proxy.label(BR) == "a", "a backend without an agent")


def test_agent_and_check_must_both_agree(db, peer, start, pair):
    agent, checked = peer(Speaks, b"down\n"), peer(Checked, OK)
    db.check("backend:a", "http", port=checked.addr[1], agent_port=agent.addr[1],
             agent_inter_ms=100, **FAST)
    proxy = start()
    proxy.wait_event("agent_changed")
    assert proxy.label(BR) == "b"
    checked.answer = BAD
    down(proxy)
    agent.line = b"up\n"
    proxy.wait_event("agent_changed", count=2)
    assert proxy.label(BR) == "b"
    checked.answer = OK
    up(proxy)
    assert proxy.label(BR) == "a"


@pytest.mark.concurrency
def test_a_backend_that_drains_by_its_agent_may_still_go_down(db, peer, start, pair):
    agent, checked = peer(Speaks, b"up\n"), peer(Checked, OK)
    db.check("backend:a", "http", port=checked.addr[1], agent_port=agent.addr[1],
             agent_inter_ms=100, **FAST)
    proxy = start(EDGEPROXY_ON_MARKED_DOWN="shutdown-sessions")
    with proxy.connect(BR) as sock:
        assert wire.read_line(sock) == "a"
        agent.line = b"drain\n"
        until(lambda: proxy.label(BR) == "b", "the drain")
        sock.sendall(b"ping\n")
        assert wire.read_line(sock) == "ping"
        checked.answer = BAD
        proxy.wait_session(lambda e: e["reason"] == "backend-down")


@pytest.mark.concurrency
def test_who_was_kept_by_panic_ends_with_it(db, peer, start, pair):
    """Of two that are down one comes back: what is seen of the other is believed again."""
    checked = {id: peer(Checked, OK) for id in "ab"}
    for id in "ab":
        db.check(f"backend:{id}", "http", port=checked[id].addr[1], **FAST)
    proxy = start(EDGEPROXY_ON_MARKED_DOWN="shutdown-sessions")
    with proxy.connect(BR) as sock:
        assert wire.read_line(sock) == "a"
        checked["b"].answer = BAD
        down(proxy, "b")
        checked["a"].answer = BAD
        down(proxy, "a")
        proxy.wait_event("panic_entered")
        sock.sendall(b"ping\n")
        assert wire.read_line(sock) == "ping"
        checked["b"].answer = OK
        proxy.wait_event("panic_left")
        proxy.wait_session(lambda e: e["reason"] == "backend-down")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_the_weight_of_the_agent_decides_among_equals(db, peer, start):
    agent = peer(Speaks, b"10%\n")
    for id in "ab":
        db.add(id, peer(Identity, id), weight=10)
    db.check("backend:a", "none", agent_port=agent.addr[1], agent_inter_ms=100)
    proxy = start()
    proxy.wait_event("agent_changed")
    labels = []
    for number in range(220):
        labels.append(proxy.label(BR))
        proxy.wait_session(count=number + 1)  # both are idle again
    assert 0 < labels.count("a") < 50  # one of eleven


# ---- bounds ----


def connecting_or_connected(port):
    """Sockets of this machine on their way to a port of 127.0.0.1, as the kernel lists them."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(row[2] == f"0100007F:{port:04X}" and row[3] in ("01", "02") for row in rows)


def test_checks_under_way_are_bounded(db, peer, start):
    """Fifty backends that never answer share four places: never more than four at one time."""
    hole = peer(Checked, lambda sock: wire.read_all(sock))
    for number in range(50):
        db.add(f"n{number}", hole)
    db.check("*", "http", inter_ms=100, timeout_ms=100, fall=1)
    proxy = start(EDGEPROXY_HEALTH_CONCURRENCY=4)
    most = 0

    def all_down():
        nonlocal most
        most = max(most, connecting_or_connected(hole.addr[1]))
        return len(proxy.log.find("health_down")) == 50
    until(all_down, "all of them down")
    assert most <= 6  # some come and go while the kernel's list is read
    assert most >= 3
    assert proxy.log.find("health_late")


def test_no_descriptors_are_nobodys_fault(db, peer, start, pair):
    checked = peer(Checked, OK)
    db.check("backend:a", "http", port=checked.addr[1], **FAST)
    proxy = start()
    until(lambda: len(checked.requests) >= 2, "checks")
    until(lambda: checked.open == 0, "none under way")
    proxy.leave_fds(0)
    assert "Too many open files" in proxy.wait_event("health_not_run")["reason"]
    proxy.unlimit_fds()
    before = len(checked.requests)
    until(lambda: len(checked.requests) > before, "checks again")
    assert not proxy.log.find("health_down")


@pytest.mark.concurrency
def test_tables_change_while_checks_are_under_way(db, peer, start):
    checked = peer(Checked, OK)
    for number in range(20):
        db.add(f"n{number:02}", peer(Identity, "x"))
    db.check("*", "http", port=checked.addr[1], expect_body="well", **FAST)
    proxy = start(EDGEPROXY_SHRINK_HOLD_SECS=0)
    stop = threading.Event()
    errors = []

    def clients():
        while not stop.is_set():
            if proxy.label(BR) not in ("x", ""):
                errors.append("not served")
    threads = [threading.Thread(target=clients) for _ in range(2)]
    for one in threads:
        one.start()
    for turn in range(12):
        db.set(f"n{turn:02}", weight=turn + 2, deleted=turn % 2)
        db.check("*", "http", port=checked.addr[1], expect_body="well" if turn % 3 else "ill", **FAST)
        proxy.wait_event("table_loaded", count=turn + 2)
    stop.set()
    for one in threads:
        one.join()
    assert not errors


def test_a_check_outlives_the_table_that_it_began_with(db, peer, start, pair):
    """The text that it looks for was the old table's."""
    release = threading.Event()

    def wait(sock):
        release.wait(60)
        sock.sendall(OK)
    checked = peer(Checked, wait)
    db.check("backend:a", "http", port=checked.addr[1], expect_body="well", inter_ms=100,
             timeout_ms=60000)
    proxy = start(EDGEPROXY_LOG_LEVEL="debug")
    until(lambda: checked.requests, "a check under way")
    for turn in range(4):
        db.set("b", weight=turn + 2)
        proxy.wait_event("table_loaded", count=turn + 2)
    assert len(checked.requests) == 1
    release.set()
    assert proxy.wait_event("health_probe")["result"] == "passed"


# ---- what the commands say ----


def test_bad_rows_are_quarantined_alone(db, peer, start, pair):
    db.check("app:", "tcp")
    db.check("backend:a", "http", path="no-slash")
    db.check("backend:b", "http", expect_status="2xx")
    db.check("app:x", "smtp")
    db.check("*", "tcp", inter_ms=1)
    proxy = start()
    proxy.wait_event("row_quarantined", count=5)
    assert {(e["row"], e["column"]) for e in proxy.log.find("row_quarantined")} == {
        ("app:", "target"), ("backend:a", "path"), ("backend:b", "expect_status"),
        ("app:x", "type"), ("*", "inter_ms")}
    assert proxy.label(BR) == "a"


def test_the_last_good_table_has_the_checks(db, peer, start, pair, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    checked = peer(Checked, BAD)
    db.check("backend:a", "http", port=checked.addr[1], **FAST)
    start(EDGEPROXY_STATE_DIR=state).stop()
    os.unlink(db.path)
    os.unlink(state / "state.bin")  # it may say already that the backend is down
    proxy = start(EDGEPROXY_STATE_DIR=state)
    down(proxy)


def test_check_finds_what_would_not_be_checked(db, peer, pair, script):
    db.check("backend:gone", "tcp")
    db.check("app:gone", "tcp")
    db.check("app:myapp", "tcp")
    db.check("*", "script", script="missing.sh")
    done = run_cli("check", db=db)
    assert done.returncode == 0
    lines = done.stdout.split("\n")
    assert "warning  health_checks backend:gone: there is no such backend" in lines
    assert "warning  health_checks app:gone: there is no such backend" in lines
    assert "warning  health_checks *: script missing.sh is not run" in lines
    assert "app:myapp" not in done.stdout
    done = run_cli("check", db=db, env={"EDGEPROXY_HEALTH_SCRIPT_DIR": script.dir})
    assert done.returncode == 1
    assert f"problem  health_checks *: {script.dir}/missing.sh: No such file" in done.stdout
    script("missing.sh", "exit 0\n")
    assert run_cli("check", db=db, env={"EDGEPROXY_HEALTH_SCRIPT_DIR": script.dir}).returncode == 0
    done = run_cli("check", db=db, env={"EDGEPROXY_HEALTH_SCRIPT_DIR": "/nowhere"})
    assert "problem  EDGEPROXY_HEALTH_SCRIPT_DIR=/nowhere: No such file" in done.stdout


def test_bad_options_are_refused(db):
    done = run_cli("check", db=db, env={
        "EDGEPROXY_HEALTH_HTTP_PATH": "up", "EDGEPROXY_HEALTH_EXPECT_STATUS": "2xx",
        "EDGEPROXY_HEALTH_HTTP_HOST": "a b", "EDGEPROXY_HEALTH_CHECK": "ping"})
    for problem in ("EDGEPROXY_HEALTH_HTTP_PATH=up: does not begin with /",
                    "EDGEPROXY_HEALTH_EXPECT_STATUS=2xx: not a list of status codes",
                    "EDGEPROXY_HEALTH_HTTP_HOST=a b: not of visible ASCII characters alone",
                    "EDGEPROXY_HEALTH_CHECK=ping: not one of the words"):
        assert f"problem  {problem}" in done.stdout
