"""The commands that speak to a running proxy over its control socket."""

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

import pytest

import wire
from harness import BINARY, BR, ROOT, US, base_env, http_connection, run_cli, until
from peers import Blackhole, Echo, Identity
from test_upgrade import generations  # noqa: F401


@pytest.fixture
def path():
    """A path for the socket: pytest's own folders may be too long for one."""
    folder = tempfile.mkdtemp(dir="/tmp")
    yield f"{folder}/control.sock"
    shutil.rmtree(folder)


@pytest.fixture
def cli(path):
    """cli("status", ...): standard output of a command that must succeed."""
    def run(*args, status=0, **env):
        done = run_cli(*args, env=dict(EDGEPROXY_CONTROL_SOCKET=path, **env))
        assert done.returncode == status, (args, done.stdout, done.stderr)
        return done.stdout if status == 0 else done.stderr

    return run


@pytest.fixture
def up(start, path):
    """up(...): a proxy whose control socket listens."""
    def run(**env):
        proxy = start(EDGEPROXY_CONTROL_SOCKET=path, **env)
        proxy.wait_event("api_listening", lambda e: e["door"] == "control")
        return proxy

    return run


@pytest.fixture
def pair(db, peer):
    backends = {id: peer(Identity, id) for id in ("sa-1", "us-1")}
    for id, backend in backends.items():
        db.add(id, backend, region=id[:2])
    return backends


def asked(cli, *args):
    return json.loads(cli(*args, "--json"))


def hold(proxy, stack, src, count):
    socks = [stack.enter_context(proxy.connect(src)) for _ in range(count)]
    for sock in socks:
        assert wire.read_line(sock)
    return socks


def alive(sock):
    sock.sendall(b"ping\n")
    return wire.read_line(sock) == "ping"


def was_reset(sock):
    try:
        sock.recv(1)
    except ConnectionResetError:
        return True
    return False


def survives(sock):
    try:
        return alive(sock)
    except OSError:
        return False


# ---- status and backends ----


def test_status_says_what_is(pair, up, cli):
    proxy = up(EDGEPROXY_APP="myapp")
    with contextlib.ExitStack() as stack:
        hold(proxy, stack, BR, 3)
        hold(proxy, stack, US, 2)
        text = cli("status")
        answer = asked(cli, "status")
    assert f"pid {proxy.pid}, up " in text and "region sa, app myapp; 2 workers" in text
    assert "5 now, 5 accepted" in text and "2, 2 take clients" in text
    assert answer["pid"] == proxy.pid and answer["sessions"]["now"] == 5
    assert answer["backends"] | {"rows": 2, "usable": 2, "faulty": 0} == answer["backends"]
    assert answer["panic"] == [] and answer["table"]["version"] == 1
    assert all(len(line) <= 80 for line in text.splitlines() if "socket" not in line
               and "routes" not in line)


def test_status_says_what_the_database_lacks(pair, db, up, cli):
    proxy = up()
    assert "quarantined" not in cli("status")
    db.set("us-1", port=70000)
    proxy.wait_event("row_quarantined")
    until(lambda: asked(cli, "status")["table"]["quarantined"] == 1, "it is counted")
    assert "1 rows are quarantined" in cli("status")
    db.path.write_bytes(b"garbage" * 1000)
    until(lambda: asked(cli, "status")["table"]["failing"], "it is told")
    assert "cannot be read" in cli("status")


def test_backends_are_shown_with_what_is_seen_of_them(pair, db, peer, up, cli):
    db.add("sa-dead", peer(Blackhole), weight=0)
    proxy = up()
    with contextlib.ExitStack() as stack:
        hold(proxy, stack, BR, 4)
        rows = {b["id"]: b for b in asked(cli, "backends")["backends"]}
        text = cli("backends")
        assert "sa-dead" in cli("backends", "--state", "weight-0", "--wide")
    assert rows["sa-1"]["connections"] == 4 and rows["sa-1"]["connects"] == 4
    assert rows["sa-1"]["rtt_us"] > 0 and rows["us-1"]["rtt_us"] is None
    assert [rows[id]["status"] for id in ("sa-1", "sa-dead", "us-1")] == ["up", "weight-0", "up"]
    line = next(line for line in text.splitlines() if line.startswith("sa-1 "))
    assert line.split()[:5] == ["sa-1", "myapp", "sa", "up", "4/1000/2000"]
    assert [b["id"] for b in asked(cli, "backends", "--region", "us")["backends"]] == ["us-1"]
    assert asked(cli, "backends", "--app", "other")["backends"] == []
    assert cli("backends", "--app", "other") == "no backend\n"


def test_backends_come_in_pages_of_any_id(db, up, cli):
    odd = b"sa-\xff\xfe \"quoted\" \\ \xc3\xa9"
    with db.connect() as connection:
        connection.execute(
            "INSERT INTO backends (id, app, region, wg_ip, port, healthy, weight, soft_limit, "
            "hard_limit) VALUES (CAST(? AS TEXT), 'myapp', 'sa', '127.0.0.1', 9, 1, 1, 1, 1)",
            (odd,))
        connection.executemany(
            "INSERT INTO backends (id, app, region, wg_ip, port, healthy, weight, soft_limit, "
            "hard_limit) VALUES (?, 'myapp', 'sa', '127.0.0.1', 9, 1, 1, 1, 1)",
            [(f"b-{n:05}",) for n in range(2500)])
    connection.close()
    up()
    ids = [b["id"] for b in asked(cli, "backends")["backends"]]
    assert len(ids) == 2501 and ids[:2500] == sorted(ids[:2500])
    assert ids[-1] == "sa-?? \"quoted\" \\ ??"
    assert asked(cli, "explain", BR)["winner"] in ids


# ---- sessions ----


def test_sessions_are_listed_by_what_is_asked(pair, up, cli):
    proxy = up()
    with contextlib.ExitStack() as stack:
        mine = hold(proxy, stack, BR, 2)
        hold(proxy, stack, US, 3)
        assert alive(mine[0])
        every = asked(cli, "sessions")
        assert (every["matched"], every["seen"], len(every["sessions"])) == (5, 5, 5)
        assert len({s["id"] for s in every["sessions"]}) == 5
        for filter, count in ((("--client", BR), 2), (("--client", US + "/32"), 3),
                              (("--country", "br"), 2), (("--backend", "us-1"), 3),
                              (("--backend", "none"), 0), (("--app", "other"), 0),
                              (("--app", "myapp", "--country", "US"), 3),
                              (("--country", "US", "--client", BR), 0)):
            assert asked(cli, "sessions", *filter)["matched"] == count, filter
        some = asked(cli, "sessions", "--limit", "1")
        assert (some["matched"], len(some["sessions"])) == (5, 1)
        text = cli("sessions", "--backend", "sa-1")
        assert text.splitlines()[-1] == "2 of 5 sessions" and text.count(f"{BR}:") == 2
        one = next(s for s in every["sessions"] if s["bytes_in"] == 5)
        assert one | dict(backend="sa-1", state="relay", country="BR", region="sa") == one


def test_exactly_the_session_named_is_ended(pair, up, cli):
    proxy = up()
    with contextlib.ExitStack() as stack:
        socks = hold(proxy, stack, BR, 4)
        before = {s["id"]: s for s in asked(cli, "sessions")["sessions"]}
        assert len(before) == 4
        id, victim = next(iter(before.items()))
        out = cli("sessions", "end", id)
        assert out == f"ended: session {id} of client {victim['client']}; both sides were reset\n"
        event = proxy.wait_session(lambda e: e["reason"] == "operator")
        assert event["client"] == victim["client"]
        proxy.wait_event("sessions_ended", lambda e: e["session"] == id and e["count"] == "1")
        assert {s["id"] for s in asked(cli, "sessions")["sessions"]} == set(before) - {id}
        assert "may have ended" in cli("sessions", "end", id, status=1)
        assert "no such session" in cli("sessions", "end", "1-zz", status=1)
        assert sum(survives(sock) for sock in socks) == 3
        assert len(proxy.sessions(lambda e: e["reason"] == "operator")) == 1


def test_many_are_ended_by_a_filter_that_was_confirmed(pair, up, cli):
    proxy = up()
    with contextlib.ExitStack() as stack:
        mine = hold(proxy, stack, BR, 3)
        theirs = hold(proxy, stack, US, 3)
        assert "end which?" in cli("sessions", "end", status=2)
        assert "end which?" in cli("sessions", "end", "--yes", status=2)
        assert "say --yes" in cli("sessions", "end", "--backend", "us-1", status=1)
        assert all(alive(sock) for sock in mine + theirs)
        assert cli("sessions", "end", "--backend", "us-1", "--yes").startswith("ended: 3 sessions")
        until(lambda: len(proxy.sessions(lambda e: e["reason"] == "operator")) == 3, "their ends")
        assert all(was_reset(sock) for sock in theirs) and all(alive(sock) for sock in mine)
        assert asked(cli, "sessions", "end", "--all", "--yes")["ended"] == 3
        until(lambda: asked(cli, "status")["sessions"]["now"] == 0, "nobody is left")


def test_who_is_told_that_sessions_are_ended_finds_none(pair, up, path):
    """More than once, for the answer and the ends are two threads' work."""
    proxy = up()
    asking = http_connection(f"unix:{path}")

    def ask(method, route):
        asking.request(method, route)
        with asking.getresponse() as response:
            return json.load(response)

    for _ in range(40):
        with contextlib.ExitStack() as stack:
            hold(proxy, stack, BR, 30)
            assert ask("DELETE", "/api/v1/sessions?all=true")["ended"] == 30
            assert ask("GET", "/api/v1/status")["sessions"]["now"] == 0


def test_sessions_that_dial_or_wait_are_ended_too(db, peer, up, cli):
    db.add("slow", peer(Blackhole), hard_limit=1)
    proxy = up(EDGEPROXY_CONNECT_TIMEOUT_MS=60000, EDGEPROXY_CONNECT_BUDGET_MS=60000)
    with proxy.connect(BR) as dialling, proxy.connect(BR) as waiting:
        until(lambda: sorted(s["state"] for s in asked(cli, "sessions")["sessions"])
              == ["dial", "queue"], "one dials, one waits")
        assert asked(cli, "sessions", "end", "--country", "BR", "--yes")["ended"] == 2
        assert was_reset(dialling) and was_reset(waiting)


@pytest.mark.concurrency
def test_a_census_of_thousands_while_pings_go_on(db, peer, up, cli):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = 5000 if hard >= 30000 else 1000
    db.add("sa-1", peer(Echo), soft_limit=20000, hard_limit=20000)
    proxy = up()
    stop = threading.Event()
    pings = [0]

    def ping(sock):
        while not stop.is_set():
            assert alive(sock)
            pings[0] += 1

    with contextlib.ExitStack() as stack:
        pinging = stack.enter_context(proxy.connect(BR))
        for _ in range(count):
            stack.enter_context(proxy.connect(US))
        until(lambda: asked(cli, "status")["sessions"]["now"] == count + 1, "all are accepted")
        thread = threading.Thread(target=ping, args=(pinging,))
        thread.start()
        try:
            until(lambda: pings[0] > 0, "a ping")
            for _ in range(5):
                before = pings[0]
                answer = asked(cli, "sessions", "--limit", "10000", "--client", US)
                assert answer["matched"] == len(answer["sessions"]) == count
                assert len({s["id"] for s in answer["sessions"]}) == count
                until(lambda: pings[0] > before, "pings go on")
            # Censuses of several at one time, and one that ends most of them.
            runs = [subprocess.Popen([str(BINARY), "sessions", "--json", "--limit", "3"],
                                     env=cli_env(proxy), stdout=subprocess.PIPE)
                    for _ in range(4)]
            for run in runs:
                out = json.loads(run.communicate(timeout=60)[0])
                assert run.returncode == 0 and out["matched"] == count + 1
            ended = asked(cli, "sessions", "end", "--client", US, "--yes")["ended"]
            assert ended == count
            until(lambda: asked(cli, "status")["sessions"]["now"] == 1, "the rest has ended")
            before = pings[0]
            until(lambda: pings[0] > before, "pings go on")
        finally:
            stop.set()
            thread.join()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def cli_env(proxy):
    with open(f"/proc/{proxy.pid}/environ", "rb") as file:
        pairs = [item.split(b"=", 1) for item in file.read().split(b"\0") if item]
    return {key.decode(): value.decode() for key, value in pairs}


# ---- drain and back ----


def test_drain_and_back(pair, db, up, cli):
    proxy = up()
    with contextlib.ExitStack() as stack:
        sock, = hold(proxy, stack, BR, 1)
        text = cli("drain", "sa-1")
        assert text.startswith("sa-1 is in state drain, with 1 connections") and "10m" in text
        until(lambda: "sa-1" in cli("backends", "--state", "drain"), "the drain is seen")
        assert alive(sock)
        assert proxy.label("200.160.9.1") == "us-1"
        assert cli("maint", "sa-1").startswith("sa-1 is in state maint")
        until(lambda: proxy.label(BR) == "us-1", "even who had it goes elsewhere")
        assert "New clients" in cli("ready", "sa-1")
        strangers = (f"200.160.9.{n}" for n in range(2, 255))  # each is bound by its first visit
        until(lambda: proxy.label(next(strangers)) == "sa-1", "it is back", pause=0.05)
    db.set("sa-1", healthy=0)
    assert "healthy = 0" in cli("ready", "sa-1")
    assert "no such backend" in cli("drain", "nobody", status=1)
    assert "no such backend" in cli("drain", "..", status=1)
    assert json.loads(cli("drain", "us-1", "--json"))["state"] == "drain"


# ---- explain ----


def test_explain_agrees_with_what_the_next_client_gets(pair, db, up, cli):
    proxy = up()
    assert asked(cli, "explain", BR)["winner"] == proxy.label(BR) == "sa-1"
    bound = asked(cli, "explain", BR)
    assert bound["from_affinity"] and bound["live"]["bound"] == "sa-1" and not bound["drawn"]
    assert "its binding still holds" in " ".join(cli("explain", BR).split())
    # A drain: who had it may come back, others may not.
    cli("drain", "sa-1")
    until(lambda: "sa-1" in cli("backends", "--state", "drain"), "the drain is seen")
    other = "200.160.9.1"
    assert asked(cli, "explain", BR)["winner"] == proxy.label(BR) == "sa-1"
    assert asked(cli, "explain", other)["winner"] == proxy.label(other) == "us-1"
    row = next(b for b in asked(cli, "explain", "200.160.9.2")["backends"] if b["id"] == "sa-1")
    assert row["excluded"] == "drain"


def test_explain_takes_nothing(pair, db, up, cli):
    db.set("sa-1", hard_limit=1)
    proxy = up(EDGEPROXY_BINDING_TTL_SECS=600)
    for _ in range(5):
        assert asked(cli, "explain", BR)["winner"] == "sa-1"
    assert asked(cli, "bindings")["matched"] == 0
    with proxy.connect(BR) as sock:
        assert wire.read_line(sock) == "sa-1"
        assert asked(cli, "explain", "200.160.9.1")["winner"] == "us-1"
        db.set("us-1", healthy=0)
        until(lambda: asked(cli, "explain", "200.160.9.1")["winner"] is None, "no place is left")
        text = " ".join(cli("explain", "200.160.9.1").split())
        assert "would wait in the queue, behind 0" in text
        with proxy.connect("200.160.9.1"):
            until(lambda: asked(cli, "status")["queue"]["waiting"] == 1, "one waits")
            assert "behind 1" in " ".join(cli("explain", US).split())


def test_explain_knows_the_limits_of_one_client(pair, db, up, cli):
    proxy = up(EDGEPROXY_CLIENT_MAX_CONN=2, EDGEPROXY_CLIENT_CONN_RATE=3,
               EDGEPROXY_CLIENT_CONN_PERIOD_SECS=3600)
    for _ in range(5):
        answer = asked(cli, "explain", BR)
        assert answer["winner"] == "sa-1"
        assert (answer["live"]["client_connections"], answer["live"]["client_limit"]) == (0, None)
    with contextlib.ExitStack() as stack:
        hold(proxy, stack, BR, 2)
        answer = asked(cli, "explain", BR)
        assert answer["winner"] is None and proxy.label(BR) == ""
        assert answer["live"] | dict(client_connections=2, client_limit="client-conn-limit") \
            == answer["live"]
        proxy.wait_session(lambda e: e["reason"] == answer["live"]["client_limit"])
        text = " ".join(cli("explain", BR).split())
        assert "limits 2 connections, refused: client-conn-limit" in text
        assert "none: this client has 2 connections" in text
        assert asked(cli, "explain", US)["winner"] == "us-1"
    until(lambda: asked(cli, "explain", BR)["live"]["client_connections"] == 0, "they have left")
    # Two of three of its rate are used: no look was one.
    assert asked(cli, "explain", BR)["winner"] == proxy.label(BR) == "sa-1"
    assert asked(cli, "explain", BR)["live"]["client_limit"] == "client-rate-limit"
    assert proxy.label(BR) == ""
    proxy.wait_session(lambda e: e["reason"] == "client-rate-limit")
    assert "client-rate-limit" in " ".join(cli("explain", BR).split())


def test_explain_without_limits_of_clients(pair, up, cli):
    up()
    answer = asked(cli, "explain", BR)["live"]
    assert (answer["client_connections"], answer["client_limit"]) == (None, None)
    assert not [line for line in cli("explain", BR).splitlines() if line.startswith("limits ")]


def test_explain_refuses_what_is_no_app_whoever_would_be_asked(pair, db, up, cli):
    """An app has a name: without --app the question is about any."""
    up()
    for app in ("", "a" * 65):
        said = {cli("explain", BR, "--app", app, *more, status=2)
                for more in ([], ["--offline"], ["--db", db.path])}
        assert len(said) == 1 and "--app takes" in said.pop()
    assert asked(cli, "explain", BR)["winner"] == "sa-1"


def test_explain_says_what_it_asked(pair, db, up, cli, path):
    up()
    assert f"the proxy that runs, at {path}" in cli("explain", BR)
    assert asked(cli, "explain", BR)["live"] is not None
    offline = run_cli("explain", BR, "--db", db.path, env=dict(EDGEPROXY_CONTROL_SOCKET=path))
    assert "the files of this environment" in offline.stdout
    nobody = run_cli("explain", BR, db=db, env=dict(EDGEPROXY_CONTROL_SOCKET=path + "2"))
    assert f"files: no proxy answers at {path}2" in nobody.stdout
    assert "must be an IPv4" not in nobody.stderr
    assert "no service" in cli("explain", BR, "--app", "other", status=1)


# ---- bindings ----


def test_bindings_are_counted_listed_and_cleared(pair, up, cli):
    proxy = up()
    for n in range(5):
        assert proxy.label(f"200.160.9.{n}") == "sa-1"
    assert proxy.label(US) == "us-1"
    until(lambda: asked(cli, "bindings")["matched"] == 6, "six bindings")
    assert asked(cli, "bindings")["by_backend"] == [
        {"backend": "sa-1", "bindings": 5}, {"backend": "us-1", "bindings": 1}]
    assert "sa-1" in cli("bindings") and "6 of 6 bindings" in cli("bindings")
    mine = asked(cli, "bindings", "--client", "200.160.9.0/31")
    assert mine["matched"] == 2 and {b["backend"] for b in mine["bindings"]} == {"sa-1"}
    assert len(asked(cli, "bindings", "--limit", "1")["bindings"]) == 1
    assert "clear which?" in cli("bindings", "clear", status=2)
    assert "say --yes" in cli("bindings", "clear", "--backend", "sa-1", status=1)
    assert cli("bindings", "clear", "--backend", "sa-1", "--yes").startswith("cleared: 5 ")
    left = asked(cli, "bindings")
    assert left["by_backend"] == [{"backend": "us-1", "bindings": 1}]
    assert not asked(cli, "explain", "200.160.9.1")["from_affinity"]


# ---- what goes wrong ----


@pytest.mark.parametrize("args, option", [
    ("sessions --all", "--all"),
    ("sessions --yes --backend us-1", "--yes"),
    ("sessions end --backend us-1 --yes --limit 1", "--limit"),
    ("sessions end {id} --all", "--all"),
    ("sessions end {id} --limit 1 --json", "--limit"),
    ("sessions end {id} --client 10.0.0.1", "--client"),
    ("bindings --all", "--all"),
    ("bindings --yes", "--yes"),
    ("bindings clear --all --yes --limit 1", "--limit"),
    ("bindings clear --all --yes --limit 1 --json", "--limit"),
])
def test_an_option_that_would_not_be_heeded_is_refused(pair, up, cli, args, option):
    proxy = up()
    with contextlib.ExitStack() as stack:
        socks = hold(proxy, stack, BR, 1) + hold(proxy, stack, US, 1)
        id = asked(cli, "sessions")["sessions"][0]["id"]
        said = cli(*args.format(id=id).split(), status=2)
        assert f": {option} " in said and "usage: edgeproxy" in said
        assert all(survives(sock) for sock in socks)
        assert asked(cli, "bindings")["matched"] == 2


def test_errors_say_what_to_do(pair, up, cli, path):
    assert f"there is no control socket at {path}" in cli("status", status=1)
    with open(path, "wb"):
        assert f"{path} is no socket" in cli("status", status=1)
    os.unlink(path)
    proxy = up()
    assert "state must be up, ready" in cli("backends", "--state", "drained", status=1)
    for word in ("up", "ready", "maint", "hard-limit", "weight-0", "agent-maint", "ejected"):
        cli("backends", "--state", word)
    assert cli("status")
    assert "unknown option" in cli("status", "--nothing", status=2)
    assert "too many" in cli("status", "more", status=2)
    assert "client must be an address" in cli("sessions", "--client", "10.0.0.1/8", status=1)
    assert "limit must be 0..10000" in cli("sessions", "--limit", "10001", status=1)
    assert "country must be two letters" in cli("sessions", "--country", "Brazil", status=1)
    assert "limit must be" in cli("bindings", "--limit", "-1", status=1)
    assert "EDGEPROXY_CONTROL_SOCKET" in run_cli("status").stderr  # off
    proxy.kill(signal.SIGKILL)
    proxy.process.wait()
    proxy.stopped = True
    proxy.process.stderr.close()
    assert f"nobody listens at {path}" in cli("status", status=1)
    assert os.path.exists(path)
    up()  # takes the place of the dead socket's file
    assert cli("status")


def test_who_speaks_no_http_is_told(path, cli):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve():
            sock, _ = listener.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(b"SSH-2.0-other\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        assert f"what answers at {path} is no edgeProxy" in cli("status", status=1)
        thread.join()


def test_another_version_is_told(path, cli):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve(count, answers):
            for _ in range(count):
                sock, _ = listener.accept()
                with sock:
                    while True:
                        request = b""
                        while b"\r\n\r\n" not in request:
                            piece = sock.recv(4096)
                            if not piece:
                                break
                            request += piece
                        if not request:
                            break
                        status, body = answers(request.split()[1].decode())
                        sock.sendall(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
                                     f"Content-Length: {len(body)}\r\n\r\n{body}".encode())

        def old(asked_path):
            if asked_path == "/health":
                return "200 OK", '{"version":"0.0.9"}'
            return "404 Not Found", '{"detail":"no such path; /openapi.json lists them"}'

        def strange(_):
            return "200 OK", "<html>"

        for answers, words in ((old, "it has version 0.0.9"), (strange, "is no edgeProxy")):
            thread = threading.Thread(target=serve, args=(1, answers))
            thread.start()
            assert words in cli("status", status=1)
            thread.join()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_permission_is_a_matter_of_the_group(pair, up, path):
    up()
    os.chmod(os.path.dirname(path), 0o755)
    assert os.stat(path).st_mode & 0o777 == 0o660
    env = base_env(type("Nowhere", (), {"path": "/nonexistent"}), {"EDGEPROXY_CONTROL_SOCKET": path})
    done = subprocess.run([str(BINARY), "status"], env=env, capture_output=True, text=True,
                          user=65534, group=65534, extra_groups=[])
    if "denied" not in done.stderr and done.returncode in (126, 127):
        pytest.skip("the binary is not that user's to run")
    assert done.returncode == 1 and "may not be opened" in done.stderr
    assert "group root" in done.stderr


def test_a_second_proxy_leaves_the_socket_alone(pair, db, up, start, cli, path):
    proxy = up()
    second = start(wait_ready=False, EDGEPROXY_CONTROL_SOCKET=path)
    assert second.wait_exit() == 1 and "EDGEPROXY_CONTROL_SOCKET" in second.log.text()
    assert asked(cli, "status")["pid"] == proxy.pid


def test_the_successor_takes_the_socket_over(pair, generations, cli, path):  # noqa: F811
    line = generations(EDGEPROXY_CONTROL_SOCKET=path)
    with contextlib.ExitStack() as stack:
        hold(line.proxy, stack, BR, 3)
        until(lambda: asked(cli, "status")["sessions"]["now"] == 3, "three sessions")
        pid = line.upgrade()

        def newest_answers():
            done = run_cli("status", "--json", env=dict(EDGEPROXY_CONTROL_SOCKET=path))
            return done.returncode == 0 and json.loads(done.stdout)["pid"] == pid

        until(newest_answers, "the new one answers")
        sessions = asked(cli, "status")["sessions"]
        assert (sessions["now"], sessions["draining_elsewhere"]) == (0, 3)
        assert "3 more in the processes" in cli("status")


def test_whoever_asks_and_goes_disturbs_nobody(pair, up, cli, path):
    """Connections that ask for a census and end before it does."""
    proxy = up()
    with contextlib.ExitStack() as stack:
        hold(proxy, stack, BR, 50)
        for _ in range(100):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(path)
                sock.sendall(b"GET /api/v1/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert asked(cli, "sessions")["matched"] == 50


def test_a_stop_while_somebody_asks(pair, up, path):
    proxy = up()
    socks = []
    for _ in range(8):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        sock.sendall(b"GET /api/v1/bindings HTTP/1.1\r\nHost: localhost\r\n\r\n"
                     b"GET /api/v1/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n")
        socks.append(sock)
    proxy.stop()
    for sock in socks:
        sock.close()


# ---- completion and manual ----

def command_names():
    """Of --help, which is made from the same rows."""
    usage = run_cli("--help").stdout.split("Signals:")[0]
    return {name for name in re.findall(r"^  edgeproxy (\w+)", usage, re.M)}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_parse_and_name_every_command(shell, tmp_path):
    script = run_cli("completion", shell).stdout
    for name in command_names():
        assert re.search(rf"\b{name}\b", script), name
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here to parse it")
    file = tmp_path / "script"
    file.write_text(script)
    subprocess.run([shell, "-n", str(file)], check=True)
    assert run_cli("completion", "tcsh").returncode == 2


def complete(words, env, tmp_path):
    """What bash offers for the last of these words."""
    script = (f"source <({BINARY} completion bash)\n"
              f"COMP_WORDS=({' '.join(words)})\nCOMP_CWORD={len(words) - 1}\n"
              "_edgeproxy\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n")
    done = subprocess.run(["bash", "-c", script], env=env, cwd=tmp_path, check=True,
                          capture_output=True, text=True)
    return done.stdout.splitlines()


def test_bash_completes_ids_and_never_runs_them(pair, db, peer, up, tmp_path, path):
    db.add("$(touch gotcha)`touch gotcha`;touch gotcha", peer(Identity, "x"), weight=0)
    env = cli_env(up())
    assert "sessions" in complete([str(BINARY), "s"], env, tmp_path)
    assert complete([str(BINARY), "drain", "us"], env, tmp_path) == ["us-1"]
    offered = complete([str(BINARY), "sessions", "--backend", "''"], env, tmp_path)
    assert len(offered) == 3
    offered = complete([str(BINARY), "drain", '""'], env, tmp_path)
    assert len(offered) == 3 and {"sa-1", "us-1"} < set(offered)
    assert not list(tmp_path.glob("**/gotcha"))
    assert "--wide" in complete([str(BINARY), "backends", "--"], env, tmp_path)
    silent = complete([str(BINARY), "drain", '""'], env | {"EDGEPROXY_CONTROL_SOCKET": path + "2"},
                      tmp_path)
    assert silent in ([], [""])


@pytest.mark.skipif(not shutil.which("fish"), reason="not installed: fish")
def test_fish_completes_commands_and_options(tmp_path):
    file = tmp_path / "script"
    file.write_text(run_cli("completion", "fish").stdout)

    def offered(line):
        done = subprocess.run(
            ["fish", "--no-config", "-c", 'source $argv[1]; complete -C $argv[2]', file, line],
            env={**os.environ, "HOME": str(tmp_path)}, check=True, capture_output=True, text=True)
        return {row.split("\t")[0] for row in done.stdout.splitlines()}

    assert command_names() <= offered("edgeproxy ")
    assert offered("edgeproxy sessions --l") == {"--limit"}
    assert {"bash", "zsh", "fish"} <= offered("edgeproxy completion ")


def test_the_manual_has_every_command_option_and_signal():
    manual = ROOT / "docs" / "man" / "edgeproxy.8"
    text = manual.read_text()
    for name in command_names():
        assert re.search(rf"^\.It Cm {name}\b", text, re.M), name
        usage = run_cli(name, "--help").stdout if name not in ("run", "check", "healthcheck", "db") \
            else ""
        for option in re.findall(r"^  --(\S+)", usage, re.M):
            assert re.search(rf"\bFl -{option}\b", text), (name, option)
    handled = set(re.findall(r"sigaddset\(&set, (SIG\w+)\)",
                             (ROOT / "src" / "daemon" / "run.c").read_text()))
    assert {"SIGTERM", "SIGHUP", "SIGUSR2"} <= handled
    for name in handled - {"SIGPIPE", "SIGCHLD"}:
        assert f"Dv {name}" in text, name
    if shutil.which("mandoc"):
        # Whether other manuals are installed here is no fault of this one.
        done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", str(manual)], capture_output=True,
                              text=True)
        assert not done.stdout, done.stdout
    elif shutil.which("groff"):
        done = subprocess.run(["groff", "-mandoc", "-Tutf8", "-ww", "-z", str(manual)],
                              capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, done.stderr
