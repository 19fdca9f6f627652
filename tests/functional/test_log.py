"""The log: one line an event, one session line for each client that was accepted."""

import contextlib
import datetime
import fcntl
import json
import os
import random
import re
import signal
import socket
import subprocess
import threading
from collections import Counter

import pytest

import wire
from harness import (BINARY, BR, STOP_SECS, US, UNKNOWN, base_env, join_addr, parse_line,
                     run_cli, split_addr, until)
from peers import Blackhole, Identity, Refusing, ResetAfterAnswer, ResetOnAccept, Silent

ALWAYS = ["time", "level", "event", "client", "service", "bytes_in", "bytes_out", "total_ms",
          "retries", "reason"]
SERVED = ["backend", "backend_addr", "affinity", "region_score", "connect_ms", "place"]
NUMBERS = ["bytes_in", "bytes_out", "connect_ms", "total_ms", "retries", "region_score"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture
def world(db, peer):
    db.add("sa-1", peer(Identity, "sa-1"), region="sa")
    db.add("us-1", peer(Identity, "us-1"), region="us")
    return db


def test_a_session_line_in_text(world, start):
    proxy = start()
    with proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        sock.sendall(b"seven b")
        assert wire.read_exactly(sock, 7) == b"seven b"
    session = proxy.wait_session()
    for key in [*ALWAYS, *SERVED, "peer", "country", "region"]:
        assert key in session, key
    assert TIME.fullmatch(session["time"])
    datetime.datetime.fromisoformat(session["time"])
    assert session["level"] == "info"
    assert session["client"] == f"{BR}:5555"
    assert session["peer"].startswith("127.0.0.1:")
    assert "%s:%d" % proxy.addr in session["service"]
    assert (session["country"], session["region"], session["place"]) == ("BR", "sa", "database")
    assert session["backend_addr"].startswith("127.0.0.1:")
    assert (session["bytes_in"], session["bytes_out"]) == ("7", "12")
    assert (session["affinity"], session["region_score"]) == ("miss", "0")
    assert (session["retries"], session["reason"]) == ("0", "done")
    assert float(session["total_ms"]) >= float(session["connect_ms"]) > 0


def test_json_has_the_same_keys_and_numbers(world, start):
    text = start()
    text.label(BR)
    as_text = text.wait_session()
    proxy = start(EDGEPROXY_LOG_FORMAT="json", DEBUG=1)
    assert proxy.label(BR) == "sa-1"
    session = proxy.wait_session()
    assert list(session) == list(as_text)
    for key in NUMBERS:
        assert isinstance(session[key], (int, float)), key
    proxy.stop()
    for line in proxy.log.lines:
        event = json.loads(line)
        assert {"time", "level", "event"} <= set(event)
        assert TIME.fullmatch(event["time"])


def test_problems_of_the_environment_are_written_as_the_others(world, start):
    """Also before the configuration is known to be right, and where LOG_LEVEL itself is wrong."""
    wrong = {"EDGEPROXY_LOG_FORMAT": "json", "EDGEPROXY_WORKERS": "many", "EDGEPROXY_NONE": "1"}
    for env, expected in (
            (wrong, {"config_invalid", "config_warning"}),
            (wrong | {"EDGEPROXY_LOG_LEVEL": "error"}, {"config_invalid"}),
            (wrong | {"EDGEPROXY_LOG_LEVEL": "loud"}, {"config_invalid", "config_warning"})):
        done = run_cli(db=world, env=env)
        assert done.returncode == 1
        assert {json.loads(line)["event"] for line in done.stderr.splitlines()} == expected
    proxy = start(EDGEPROXY_LOG_FORMAT="json", EDGEPROXY_NONE="1")
    proxy.stop()
    assert [json.loads(line)["event"] for line in proxy.log.lines].count("config_warning") == 1


def test_values_are_quoted_where_they_must_be(db, start, peer):
    name = 'a "quoted" id = \\ with ünïcode'
    db.add(name, peer(Identity, "x"))
    for how in ("text", "json"):
        proxy = start(EDGEPROXY_LOG_FORMAT=how)
        assert proxy.label(BR) == "x"
        assert proxy.wait_session()["backend"] == name
        proxy.stop()


def test_debug_explains_each_decision(world, start):
    proxy = start(DEBUG=1)
    assert proxy.label(BR) == "sa-1"
    assert proxy.label(UNKNOWN[0]) == "sa-1"
    proxy.wait_event("decision", count=2)
    first, second = proxy.log.find("decision")
    assert first["level"] == "debug"
    assert first["client"].startswith(BR) and second["client"].startswith(UNKNOWN[0])
    assert first["backend"] == second["backend"] == "sa-1"
    assert first["country"] == "BR" and "country" not in second
    assert first["network"].startswith("200.160.")
    assert "score" in first and "region_score" in first


@pytest.mark.parametrize("env", [dict(EDGEPROXY_LOG_LEVEL="debug"), dict(DEBUG="yes")])
def test_debug_has_two_names(world, start, env):
    proxy = start(**env)
    proxy.label(BR)
    proxy.wait_event("decision")


def test_levels(world, start):
    world.add("dead", ("127.0.0.1", 9), country="BR", healthy=0)
    proxy = start(EDGEPROXY_LOG_LEVEL="error", wait_ready=False)
    with contextlib.suppress(AssertionError):
        proxy.wait_event("ready", timeout=1)
    proxy.stop()
    assert all(e["level"] == "error" for e in proxy.log.events)


def test_no_decisions_unless_asked_for(world, start):
    proxy = start()
    proxy.label(BR)
    proxy.wait_session()
    assert not proxy.log.find("decision")


def test_ready_says_how_long_the_start_took(world, start):
    proxy = start()
    assert float(proxy.ready["startup_ms"]) > 0
    print(f"REPORT from start to ready: {proxy.ready['startup_ms']} ms")


@pytest.mark.concurrency
def test_one_line_for_each_accepted_client(db, start, peer, port, relay_mode):
    """A mixed storm: whatever becomes of a client, there is one line about it, and only one."""
    apps = {"good": (Identity, "good"), "refused": (Refusing,), "resets": (ResetOnAccept,),
            "half": (ResetAfterAnswer, b"half"), "hole": (Blackhole,), "silent": (Silent,)}
    for number, (app, script) in enumerate(apps.items()):
        db.add(app, peer(*script), app=app, hard_limit=20, soft_limit=20)
        db.service(port(f"127.0.0.{number + 2}"), app=app)
    db.service(port("127.0.0.9"), app="nobody")
    proxy = start(EDGEPROXY_RELAY_MODE=relay_mode, EDGEPROXY_WORKERS=4,
                  EDGEPROXY_CONNECT_TIMEOUT_MS=100, EDGEPROXY_SERVER_TIMEOUT_MS=200,
                  EDGEPROXY_PROXY_HEADER_TIMEOUT_MS=200)
    targets = [proxy.listen_addr(f"127.0.0.{n}") for n in (2, 3, 4, 5, 6, 7, 9)]
    endings, failures, came, count, threads = Counter(), [], [], 50, 6

    def behave(sock, how):
        if how == "reset":
            wire.reset(sock)
        elif how in ("polite", "half"):
            sock.sendall(b"hello")
            if how == "half":
                sock.shutdown(socket.SHUT_WR)
            sock.recv(100)
        elif how in ("bad", "mute"):
            if how == "bad":
                sock.sendall(b"not a header\r\n")
            sock.recv(1)

    def client(seed):
        dice = random.Random(seed)
        for _ in range(count):
            how = dice.choice(["polite", "polite", "reset", "leave", "bad", "mute", "half"])
            try:
                sock = proxy.connect(None if how in ("bad", "mute") else dice.choice([BR, US]),
                                     to=dice.choice(targets))
            except OSError as error:
                failures.append(error)
                return
            came.append(join_addr(sock.getsockname()[:2]))
            try:
                behave(sock, how)
            except TimeoutError as error:
                failures.append(error)
            except OSError:
                pass  # that the proxy ended it is for the log to say
            sock.close()

    clients = [threading.Thread(target=client, args=(seed,)) for seed in range(threads)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    assert not failures
    proxy.wait_session(count=count * threads)
    proxy.stop()
    sessions = proxy.sessions()
    assert len(sessions) == count * threads
    for session in sessions:
        assert set(ALWAYS) <= set(session), session
        if "backend" in session:
            assert {"backend_addr", "affinity"} <= set(session), session
        endings[session["reason"]] += 1
    assert {"done", "no-backend", "connect-failed", "proxy-header-bad"} <= set(endings), endings
    # Everybody who came is in there, as often as it came.
    assert Counter(e.get("peer", e["client"]) for e in sessions) == Counter(came)


class Unread:
    """A proxy whose standard error is a small pipe that nobody reads until told to."""

    def __init__(self, db, listen, blocking):
        self.addr = split_addr(listen)
        self.reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(writer, blocking)
        self.process = subprocess.Popen(
            [str(BINARY)], env=base_env(db, dict(EDGEPROXY_LISTEN_ADDR=listen)), stderr=writer,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        os.close(writer)
        until(self.connects, "a proxy that listens")

    def connects(self):
        with contextlib.suppress(ConnectionRefusedError):
            return self.sessions(1)

    def sessions(self, count):
        """Has so many clients served to their end."""
        for _ in range(count):
            with socket.create_connection(self.addr, timeout=STOP_SECS) as sock:
                sock.sendall(wire.header(2, (BR, 5555), self.addr))
                assert wire.read_line(sock) == "sa-1"
                sock.shutdown(socket.SHUT_WR)
                assert wire.is_over(sock)
        return count

    def events(self):
        """Reads to the end."""
        with open(self.reader, closefd=False) as stream:
            return [parse_line(line.rstrip("\n")) for line in stream]

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.reader)


@pytest.fixture
def unread(world, port):
    made = []

    def make(blocking):
        made.append(Unread(world, port(), blocking))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_log_that_nobody_reads_keeps_nobody_alive(unread):
    proxy = unread(blocking=True)
    proxy.sessions(60)  # more lines than the pipe has room for
    proxy.process.send_signal(signal.SIGTERM)
    assert proxy.process.wait(STOP_SECS) == 0


def test_a_log_that_does_not_block_loses_nothing(unread):
    proxy = unread(blocking=False)
    proxy.sessions(60)
    events = []
    reading = threading.Thread(target=lambda: events.extend(proxy.events()))
    reading.start()
    proxy.process.send_signal(signal.SIGTERM)
    assert proxy.process.wait(STOP_SECS) == 0
    reading.join()
    assert None not in events, "a torn line"
    assert [e["event"] for e in events].count("session") == 61
    assert events[-1]["event"] == "stopped"


def test_without_standard_descriptors(world, port):
    """Whatever is opened in their place must not be taken for the log."""
    listen = port()
    process = subprocess.Popen(["/bin/sh", "-c", 'exec "$0" <&- >&- 2>&-', str(BINARY)],
                               env=base_env(world, dict(EDGEPROXY_LISTEN_ADDR=listen)))
    try:
        until(lambda: listens(split_addr(listen)), "a proxy that listens")
        for fd in range(3):
            assert os.readlink(f"/proc/{process.pid}/fd/{fd}") == "/dev/null"
        with socket.create_connection(split_addr(listen), timeout=STOP_SECS) as sock:
            sock.sendall(wire.header(2, (BR, 5555), split_addr(listen)))
            assert wire.read_line(sock) == "sa-1"
            sock.shutdown(socket.SHUT_WR)
            assert wire.is_over(sock)
    finally:
        process.terminate()
        assert process.wait(STOP_SECS) == 0


def listens(addr):
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection(addr, timeout=STOP_SECS).close()
        return True
