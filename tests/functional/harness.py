"""Runs the real binary and watches it from outside.

What a test may know of the proxy is what an operator may know: its environment, its routing
database, its log, its exit status, and what /proc says of it. Nothing here waits for a time: it
waits for a condition, with a bound that is only there so that a failure ends."""

import contextlib
import http.client
import json
import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import pytest

import wire

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("EDGEPROXY_BIN", ROOT / "build" / "edgeproxy")).resolve()

# How long a condition may take before the test gives up. Sanitized builds on a busy machine are
# slow, and a test that passes never waits so long.
PATIENCE_SECS = 60
FDS_MAX = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
# No test may leave the proxy with more than this to do when it is told to stop.
STOP_SECS = 60

# Addresses of which the embedded database knows the country, and some that have none.
BR, US, DE, JP = "200.160.2.3", "12.0.0.1", "84.128.0.1", "126.0.0.1"
BR6, US6, DE6, JP6 = "2804:14c::1", "2001:4860::1", "2a01:4f8::1", "2400:8500::1"
UNKNOWN = ["203.0.113.9", "10.1.2.3", "5000::1"]

TROUBLE = re.compile(
    r"AddressSanitizer|ThreadSanitizer|LeakSanitizer|UndefinedBehaviorSanitizer"
    r"|runtime error:|CHECK failed|Assertion .* failed|stack smashing|double free"
)

SCHEMA = """
CREATE TABLE backends (
    id TEXT PRIMARY KEY, app TEXT, region TEXT, wg_ip TEXT, port INTEGER, healthy INTEGER,
    weight INTEGER, soft_limit INTEGER, hard_limit INTEGER, deleted INTEGER DEFAULT 0,
    country TEXT, state TEXT);
CREATE TABLE services (listen TEXT PRIMARY KEY, app TEXT, accept_proxy INTEGER, send_proxy INTEGER);
CREATE TABLE geo_overrides (cidr TEXT, country TEXT, region TEXT);
CREATE TABLE country_regions (country TEXT, region TEXT);
CREATE TABLE health_checks (
    target TEXT PRIMARY KEY, type TEXT, port INTEGER, send_proxy INTEGER, inter_ms INTEGER,
    fastinter_ms INTEGER, downinter_ms INTEGER, timeout_ms INTEGER, rise INTEGER, fall INTEGER,
    grace_ms INTEGER, method TEXT, path TEXT, host TEXT, expect_status TEXT, expect_body TEXT,
    grpc_service TEXT, script TEXT, agent_port INTEGER, agent_inter_ms INTEGER);
CREATE TABLE access_rules (id TEXT PRIMARY KEY, app TEXT, cidr TEXT, country TEXT, action TEXT);
"""
SEED_SCHEMA = """
CREATE TABLE backends (
    id TEXT PRIMARY KEY, app TEXT, region TEXT, wg_ip TEXT, port INTEGER, healthy INTEGER,
    weight INTEGER, soft_limit INTEGER, hard_limit INTEGER, deleted INTEGER DEFAULT 0);
"""


def has_ipv6():
    """Containers often have no ::1."""
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no ::1 on this machine")


def until(condition, what, timeout=PATIENCE_SECS, pause=0.01):
    """Polls until condition() is true and returns its value."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"never happened: {what}")
        time.sleep(pause)


def recorded(things, count=1):
    """The first count things that a peer has recorded, once it has."""
    until(lambda: len(things) >= count, f"{count} things recorded")
    return things[:count]


class RoutingDb:
    """A routing database, written as an operator would, one transaction a change."""

    def __init__(self, path, schema=SCHEMA):
        self.path = Path(path)
        self.schema = schema
        self.create()

    def create(self):
        self.run_script(self.schema)

    def connect(self):
        return sqlite3.connect(self.path, timeout=30)

    def run(self, sql, *values):
        with contextlib.closing(self.connect()) as db, db:
            db.execute(sql, values)

    def run_script(self, sql):
        with contextlib.closing(self.connect()) as db:
            db.executescript(sql)

    def add(self, id, addr, *, app="myapp", region="sa", healthy=1, weight=1, soft_limit=1000,
            hard_limit=2000, deleted=0, **more):
        """addr is (host, port) or a peer."""
        host, port = getattr(addr, "addr", addr)[:2]
        row = dict(id=id, app=app, region=region, wg_ip=host, port=port, healthy=healthy,
                   weight=weight, soft_limit=soft_limit, hard_limit=hard_limit, deleted=deleted,
                   **more)
        self.run(f"INSERT INTO backends ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
                 *row.values())

    def set(self, id, **columns):
        self.run(f"UPDATE backends SET {', '.join(c + ' = ?' for c in columns)} WHERE id = ?",
                 *columns.values(), id)

    def remove(self, id):
        self.run("DELETE FROM backends WHERE id = ?", id)

    def service(self, listen, app=None, accept_proxy=None, send_proxy=None):
        self.run("INSERT INTO services VALUES (?, ?, ?, ?)", listen, app, accept_proxy, send_proxy)

    def check(self, target, type, **columns):
        """A row of health_checks, in place of the one that there was."""
        row = dict(target=target, type=type, **columns)
        self.run(f"INSERT OR REPLACE INTO health_checks ({', '.join(row)})"
                 f" VALUES ({', '.join('?' * len(row))})", *row.values())

    def override(self, cidr, country=None, region=None):
        self.run("INSERT INTO geo_overrides VALUES (?, ?, ?)", cidr, country, region)

    def access_rule(self, id, action, cidr=None, country=None, app="*"):
        self.run("INSERT INTO access_rules VALUES (?, ?, ?, ?, ?)", id, app, cidr, country, action)

    def country_region(self, country, region):
        self.run("INSERT INTO country_regions VALUES (?, ?)", country, region)


FIELD = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)=("(?:[^"\\]|\\.)*"|[^\s"]*)(?= |$)')


def parse_line(line):
    """An event as a dict, or None for what is not a line of the log."""
    if line.startswith("{"):
        return json.loads(line)
    fields, end = {}, 0
    while end < len(line):
        field = FIELD.match(line, end)
        if not field or field[1] in fields:
            return None
        value = field[2]
        if value.startswith('"'):
            value = json.loads(value)
        fields[field[1]] = value
        end = field.end() + 1
    return fields if "event" in fields else None


class Log:
    """The proxy's standard error, parsed while it is written."""

    def __init__(self, stream):
        self.lines = []
        self.events = []
        self.strangers = []  # lines that are no events
        self.ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream):
        for raw in stream:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            try:
                event = parse_line(line)
            except ValueError:
                event = None
            with self._news:
                self.lines.append(line)
                (self.strangers if event is None else self.events).append(event or line)
                self._news.notify_all()
        with self._news:
            self.ended = True
            self._news.notify_all()

    def join(self):
        self._thread.join(STOP_SECS)

    def tail(self):
        """What an error message shows: the end, and what happened before beside sessions."""
        rest = [line for line in self.lines[:-10] if "event=session" not in line]
        return "\n".join([*rest[-25:], *self.lines[-10:]])

    def text(self):
        return "\n".join(self.lines)

    def find(self, event, match=None, since=0):
        return [e for e in self.events[since:]
                if e.get("event") == event and (match is None or match(e))]

    def wait(self, event, match=None, count=1, since=0, timeout=PATIENCE_SECS):
        """Waits until there are count such events; returns the last of them."""
        with self._news:
            self._news.wait_for(
                lambda: len(self.find(event, match, since)) >= count or self.ended, timeout)
            found = self.find(event, match, since)
        if len(found) < count:
            raise AssertionError(f"{len(found)} of {count} events {event!r} in the log, "
                                 f"whose end is:\n{self.tail()}")
        return found[count - 1]


class Proxy:
    """One process of edgeproxy. Made by the `start` fixture, which also stops it."""

    def __init__(self, db, env, limit_fds=None, prefix=()):
        """prefix is a command that runs the program in its place, such as ("unshare", "--mount")."""
        self.db = db
        self.env = base_env(db, env)
        self.stopped = False
        limit = ["prlimit", f"--nofile={limit_fds}:{limit_fds}"] if limit_fds else []
        self.process = subprocess.Popen(
            [*limit, *prefix, str(BINARY)], env=self.env, cwd=str(Path(db.path).parent),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            process_group=0)  # its own and its successors'
        self.log = Log(self.process.stderr)

    @property
    def pid(self):
        return self.process.pid

    # Where it listens

    def listen_addr(self, host=None, since=0):
        """Address of the (first) listener on host, or of the first of all."""
        def wanted(event):
            return host is None or split_addr(event["addr"])[0] == host
        return split_addr(self.log.wait("listening", wanted, since=since)["addr"])

    @property
    def addr(self):
        return self.listen_addr(split_addr(self.env["EDGEPROXY_LISTEN_ADDR"])[0])

    # As a client

    def connect(self, src=None, *, to=None, bind=None, version=2, timeout=PATIENCE_SECS):
        """A connection through the proxy; with src, a PROXY header names that as the client."""
        to = to or self.addr
        sock = socket.create_connection(to, timeout=timeout, source_address=bind and (bind, 0))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if src is not None:
            src = src if isinstance(src, tuple) else (src, 5555)
            sock.sendall(wire.header(version, src, wire.same_family(src, to)))
        return sock

    def label(self, src=None, **how):
        """The label of the identity backend that serves this client; "" when it is turned away."""
        with contextlib.suppress(ConnectionResetError):  # as early as that
            with self.connect(src, **how) as sock:
                return wire.read_line(sock)
        return ""

    # Its log

    def wait_event(self, event, match=None, **how):
        return self.log.wait(event, match, **how)

    def sessions(self, match=None):
        return self.log.find("session", match)

    def wait_session(self, match=None, count=1):
        return self.log.wait("session", match, count=count)

    def mark(self):
        """A place in the log, for wait_event(..., since=mark)."""
        return len(self.log.events)

    # Its process

    def fd_count(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def fd_numbers(self):
        return sorted(int(fd) for fd in os.listdir(f"/proc/{self.pid}/fd"))

    def thread_count(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def rss_bytes(self):
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def sanitized(self):
        """Sanitizers make memory figures meaningless."""
        binary = Path(f"/proc/{self.pid}/exe").read_bytes()
        return b"__asan_init" in binary or b"__tsan_init" in binary

    def cpu_secs(self):
        stat = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def leave_fds(self, free):
        """Sets its limit so that it can open exactly so many more descriptors."""
        taken = set(self.fd_numbers())
        limit = 0
        while free or limit in taken:
            free -= limit not in taken
            limit += 1
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (limit, FDS_MAX))

    def unlimit_fds(self):
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (FDS_MAX, FDS_MAX))

    def kill(self, number):
        self.process.send_signal(number)

    def sighup(self):
        self.kill(signal.SIGHUP)

    def wait_exit(self, timeout=STOP_SECS):
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError("did not stop; its log ends:\n" + self.log.tail()) from None
        self.log.join()
        self.stopped = True
        if not self.log.ended:  # closing it now would wait for its reader for ever
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            raise AssertionError("a successor outlived the test; the log ends:\n" + self.log.tail())
        self.process.stderr.close()
        return status

    def stop(self, number=signal.SIGTERM):
        """Stops it, and holds it to what is true of every run."""
        if self.stopped:
            return
        if self.process.poll() is None:
            self.kill(number)
        status = self.wait_exit()
        trouble = [line for line in self.log.lines if TROUBLE.search(line)]
        assert not trouble, "trouble on standard error:\n" + self.log.text()[-20000:]
        assert status == 0, f"exit status {status}; its log ends:\n{self.log.tail()}"
        assert not self.log.strangers, f"lines that are no events: {self.log.strangers[:5]}"


def base_env(db, env):
    """The environment of a run: nothing of the caller's but what a program needs to start."""
    kept = ("PATH", "HOME", "TMPDIR", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS",
            "LSAN_OPTIONS", "LD_LIBRARY_PATH")
    full = {name: os.environ[name] for name in kept if name in os.environ}
    full.update(
        EDGEPROXY_LISTEN_ADDR="127.0.0.1:0",
        EDGEPROXY_DB_PATH=str(db.path),
        EDGEPROXY_REGION="sa",
        EDGEPROXY_WORKERS="2",
        EDGEPROXY_RANDOM_SEED="1",
        EDGEPROXY_TRUSTED_PROXIES="127.0.0.1",
        EDGEPROXY_SHUTDOWN_TIMEOUT_SECS="1",
        EDGEPROXY_CONTROL_SOCKET="off",
    )
    # "NAME=value ...": for every run of a whole session of tests.
    full.update(word.split("=", 1) for word in
                os.environ.get("EDGEPROXY_TEST_EVERYWHERE", "").split())
    full.update({name: str(value) for name, value in env.items()})
    return {name: value for name, value in full.items() if value != "unset"}


def split_addr(text):
    """"host:port" or "[host]:port" as (host, port)."""
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE_SECS)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def http_connection(where):
    """To a door of the API, as the log names it: "host:port" or "unix:path"."""
    if where.startswith("unix:"):
        return UnixConnection(where.removeprefix("unix:"))
    return http.client.HTTPConnection(*split_addr(where), timeout=PATIENCE_SECS)


def join_addr(addr):
    return f"[{addr[0]}]:{addr[1]}" if ":" in addr[0] else f"{addr[0]}:{addr[1]}"


def run_cli(*args, env=None, db=None, timeout=PATIENCE_SECS):
    """Runs a subcommand to its end."""
    class Nowhere:
        path = "/nonexistent/routing.db"
    full = base_env(db or Nowhere, env or {})
    done = subprocess.run([str(BINARY), *map(str, args)], env=full, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=timeout)
    assert not TROUBLE.search(done.stderr), done.stderr
    return done


class PortHolder:
    """Keeps a kernel-assigned port from being given to anybody else, for programs that cannot be
    told to listen on port 0. They set SO_REUSEADDR, so they can listen there all the same."""

    def __init__(self, host="127.0.0.1"):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((host, 0))
        self.addr = self.socket.getsockname()[:2]
        self.port = self.addr[1]

    def close(self):
        self.socket.close()
