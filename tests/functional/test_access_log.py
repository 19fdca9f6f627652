"""Where the lines about sessions can go, and what may go wrong there: nothing that a client notices,
and nothing that is not said."""

import contextlib
import fcntl
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import stat
import subprocess
import threading
from collections import Counter
from pathlib import Path

import pytest

import wire
from harness import BINARY, BR, ROOT, STOP_SECS, US, Proxy, base_env, parse_line, until
from peers import Identity, Refusing
from test_upgrade import Generations


@pytest.fixture
def world(db, peer):
    db.add("sa-1", peer(Identity, "sa-1"), region="sa")
    db.add("us-1", peer(Identity, "us-1"), region="us")
    return db


def lines_of(path):
    with contextlib.suppress(FileNotFoundError):
        return Path(path).read_text().splitlines()
    return []


def events_of(*paths):
    events = [parse_line(line) for path in paths for line in lines_of(path)]
    assert None not in events, "a torn line"
    return events


def wait_lines(path, count):
    until(lambda: len(lines_of(path)) >= count, f"{count} lines in {path}")
    assert len(lines_of(path)) == count
    return events_of(path)


def serve(proxy, count, src=BR, **how):
    """Has so many clients served to their end."""
    for _ in range(count):
        assert proxy.label(src, **how) == "sa-1"


class Load:
    """Clients from several threads, until it is told to end; count says how many were served."""

    def __init__(self, proxy, addr=None, threads=3):
        self.proxy, self.addr = proxy, addr or proxy.addr
        self.counts, self.failures, self.over = [0] * threads, [], threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(threads)]

    def run(self, number):
        while not self.over.is_set():
            label = self.proxy.label(BR, to=self.addr)
            self.counts[number] += 1
            if label != "sa-1":
                self.failures.append(label)

    @property
    def count(self):
        return sum(self.counts)

    def more(self, count):
        """Waits until so many more were served."""
        wanted = self.count + count
        until(lambda: self.count >= wanted, "more clients served")

    def __enter__(self):
        for one in self.threads:
            one.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for one in self.threads:
            one.join()
        assert not self.failures


class Collector:
    """A datagram socket that takes what a log sends."""

    def __init__(self, path=None):
        self.path = path
        if path:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.socket.bind(str(path))
        else:
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.bind(("127.0.0.1", 0))
            self.addr = "%s:%d" % self.socket.getsockname()
        self.socket.settimeout(STOP_SECS)

    def take(self):
        return self.socket.recv(65536)

    def pending(self):
        return bool(select.select([self.socket], [], [], 0)[0])

    def close(self):
        self.socket.close()
        if self.path:
            os.unlink(self.path)


@pytest.fixture
def collector():
    made = []

    def make(path=None):
        made.append(Collector(path))
        return made[-1]

    yield make
    for one in made:
        with contextlib.suppress(OSError):
            one.close()


# ---- where it goes ----


@pytest.mark.parametrize("how", ["text", "json"])
def test_a_file_has_the_sessions_and_the_main_log_has_the_rest(world, start, tmp_path, how):
    path = tmp_path / "access.log"
    proxy = start(EDGEPROXY_ACCESS_LOG=f"file:{path}", EDGEPROXY_LOG_FORMAT=how,
                  EDGEPROXY_LOG_LEVEL="info")
    with proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
    session, = wait_lines(path, 1)
    assert (session["event"], session["level"]) == ("session", "info")
    assert (session["client"], session["backend"]) == (f"{BR}:5555", "sa-1")
    assert session["reason"] == "done" and "sample" not in session
    assert path.read_text().startswith("{" if how == "json" else "time=")
    if how == "json":
        assert json.loads(path.read_text()) == session and session["retries"] == 0
    proxy.stop()
    assert not proxy.sessions()
    assert proxy.log.find("stopped") == proxy.log.events[-1:]


def test_the_level_is_that_of_the_main_log(world, start, tmp_path):
    path = tmp_path / "access.log"
    proxy = start(EDGEPROXY_ACCESS_LOG=f"file:{path}", EDGEPROXY_LOG_LEVEL="warn",
                  EDGEPROXY_LISTEN_ADDR=f"127.0.0.1:{free_port()}", wait_ready=False)
    addr = ("127.0.0.1", int(proxy.env["EDGEPROXY_LISTEN_ADDR"].split(":")[1]))
    until(lambda: listens(addr), "a listener")
    assert proxy.label(BR, to=addr) == "sa-1"
    until(lambda: any(e["client"] == f"{BR}:5555" for e in events_of(path)), "its line")
    assert not proxy.sessions()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def listens(addr):
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection(addr, timeout=STOP_SECS).close()
        return True


def test_the_file_is_appended_to_and_private(world, start, tmp_path):
    path = tmp_path / "access.log"
    path.write_text("event=older\n")
    proxy = start(EDGEPROXY_ACCESS_LOG=f"file:{path}")
    serve(proxy, 1)
    assert [e["event"] for e in wait_lines(path, 2)] == ["older", "session"]
    fresh = tmp_path / "fresh.log"
    before = os.umask(0o022)
    try:
        start(EDGEPROXY_ACCESS_LOG=f"file:{fresh}")
    finally:
        os.umask(before)
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o640
    flags, = {int(line.split()[1], 8) for line in
              Path(f"/proc/{proxy.pid}/fdinfo/{fd_of(proxy.pid, path)}").read_text().splitlines()
              if line.startswith("flags")}
    assert flags & os.O_APPEND and flags & os.O_CLOEXEC


def fd_of(pid, path):
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(f"/proc/{pid}/fd/{fd}") == str(path):
                return fd
    return None


def test_off(world, start):
    proxy = start(EDGEPROXY_ACCESS_LOG="off", EDGEPROXY_ACCESS_LOG_AT_CONNECT=1, DEBUG=1)
    serve(proxy, 1)
    proxy.wait_event("decision")
    proxy.stop()
    assert not proxy.sessions() and not proxy.log.find("connected")


def test_standard_output(world, port):
    addr = port()
    process = subprocess.Popen(
        [str(BINARY)], env=base_env(world, dict(EDGEPROXY_ACCESS_LOG="stdout",
                                                EDGEPROXY_LISTEN_ADDR=addr)),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        to = (addr.split(":")[0], int(addr.split(":")[1]))
        until(lambda: listens(to), "a listener")
        for _ in range(20):
            with socket.create_connection(to, timeout=STOP_SECS) as sock:
                sock.sendall(wire.header(2, (BR, 5555), to))
                assert wire.read_line(sock) == "sa-1"
    finally:
        process.terminate()
        out, err = process.communicate(timeout=STOP_SECS)
    assert process.returncode == 0
    events = [parse_line(line) for line in out.splitlines()]
    assert {e["event"] for e in events} == {"session"}
    assert sum(e["client"] == f"{BR}:5555" for e in events) == 20
    assert "event=ready" in err and "event=session" not in err


def flooded_pipe(world, addr, clients, **how):
    """A proxy whose standard output is a pipe of one page that nobody reads, after so many clients."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    both = how.pop("both", False)
    process = subprocess.Popen(
        [str(BINARY)], env=base_env(world, dict(EDGEPROXY_ACCESS_LOG="stdout",
                                                EDGEPROXY_LISTEN_ADDR=addr, **how)),
        stdin=subprocess.DEVNULL, stdout=writer, stderr=writer if both else subprocess.PIPE)
    os.close(writer)
    to = (addr.split(":")[0], int(addr.split(":")[1]))
    until(lambda: listens(to), "a listener")
    for _ in range(clients):
        with socket.create_connection(to, timeout=STOP_SECS) as sock:
            sock.sendall(wire.header(2, (BR, 5555), to))
            assert wire.read_line(sock) == "sa-1"
    return process, reader


def test_standard_output_that_nobody_reads(world, port):
    """It is a blocking pipe, and still what is lost is said."""
    process, reader = flooded_pipe(world, port(), 40)
    try:
        process.terminate()
        err = process.communicate(timeout=STOP_SECS)[1].decode()
    finally:
        process.kill()
    with open(reader) as file:
        out = file.read().splitlines()
    lost = [parse_line(line) for line in err.splitlines() if "event=access_log_dropped" in line]
    events = [parse_line(line) for line in out]
    assert None not in events
    lost = sum(int(e["lines"]) for e in lost)
    assert lost > 0 and len(events) + lost >= 40  # and whoever asked whether it listens


def test_standard_output_and_error_in_one_pipe(world, port):
    """Both logs write as the reader makes room, and no line is within another."""
    process, reader = flooded_pipe(world, port(), 300, both=True, DEBUG=1)
    text = b""
    try:
        process.terminate()
        while chunk := os.read(reader, 1000):
            text += chunk
        assert process.wait(STOP_SECS) == 0
    finally:
        process.kill()
        os.close(reader)
    lines = text.decode().splitlines()
    assert [line for line in lines if line.count("time=") != 1 or parse_line(line) is None] == []
    assert sum("event=session" in line for line in lines) >= 60


LOCAL = re.compile(r"<134>[A-Z][a-z]{2} [ 1-3]\d \d\d:\d\d:\d\d edgeproxy\[(\d+)\]: (.*)")
RFC5424 = re.compile(r"<134>1 (\S+) (\S+) edgeproxy (\d+) (\S+) - (.*)")


def test_syslog_of_this_machine(world, start, tmp_path, collector):
    daemon = collector(tmp_path / "log")
    proxy = start(EDGEPROXY_ACCESS_LOG=f"syslog:{daemon.path}")
    serve(proxy, 1)
    found = LOCAL.fullmatch(daemon.take().decode())
    assert int(found[1]) == proxy.pid
    session = parse_line(found[2])
    assert (session["event"], session["backend"]) == ("session", "sa-1")


@pytest.mark.parametrize("how", ["text", "json"])
def test_syslog_over_udp(world, start, collector, how):
    daemon = collector()
    proxy = start(EDGEPROXY_ACCESS_LOG=f"syslog:{daemon.addr}", EDGEPROXY_LOG_FORMAT=how,
                  EDGEPROXY_ACCESS_LOG_AT_CONNECT=1)
    serve(proxy, 1)
    connected, session = (RFC5424.fullmatch(daemon.take().decode()) for _ in range(2))
    line = parse_line(session[5])
    assert (connected[4], session[4]) == ("connected", "session")
    assert session[1] == line["time"]
    assert session[2] == socket.gethostname()
    assert int(session[3]) == proxy.pid
    assert line["backend"] == "sa-1"


@pytest.mark.skipif(subprocess.run(["unshare", "--uts", "true"], capture_output=True).returncode,
                    reason="no host names of one's own here")
def test_syslog_with_a_host_name_that_is_none(world, collector):
    """The fields of the header are told apart by spaces."""
    daemon = collector()
    proxy = Proxy(world, dict(EDGEPROXY_ACCESS_LOG=f"syslog:{daemon.addr}"),
                  prefix=("unshare", "--uts", "sh", "-c",
                          'printf "a b" >/proc/sys/kernel/hostname && exec "$0"'))
    try:
        serve(proxy, 1)
        assert RFC5424.fullmatch(daemon.take().decode())[2] == "-"
    finally:
        proxy.stop()


def journal_fields(entry):
    """The reading side of the journal's native protocol."""
    fields = {}
    while entry:
        line, entry = entry.split(b"\n", 1)
        if b"=" in line:
            key, value = line.split(b"=", 1)
        else:
            key, size = line, int.from_bytes(entry[:8], "little")
            value, entry = entry[8:8 + size], entry[8 + size + 1:]
        fields[key.decode()] = value.decode()
    return fields


@pytest.mark.parametrize("how", ["text", "json"])
def test_the_journal(db, start, peer, tmp_path, collector, how):
    name = 'an "id" = \\ ünïcode'
    db.add(name, peer(Identity, "sa-1"))
    daemon = collector(tmp_path / "journal")
    proxy = start(EDGEPROXY_ACCESS_LOG=f"journald:{daemon.path}", EDGEPROXY_LOG_FORMAT=how)
    serve(proxy, 1)
    fields = journal_fields(daemon.take())
    assert fields["PRIORITY"] == "6"
    assert fields["SYSLOG_IDENTIFIER"] == "edgeproxy"
    assert fields["EDGEPROXY_EVENT"] == "session"
    assert fields["EDGEPROXY_CLIENT"] == f"{BR}:5555"
    assert fields["EDGEPROXY_BYTES_OUT"] == "5"
    assert fields["EDGEPROXY_REASON"] == "done"
    assert fields["EDGEPROXY_BACKEND"] == name
    line = parse_line(fields["MESSAGE"])
    assert {f"EDGEPROXY_{key.upper()}" for key in line if key != "level"} == \
        {key for key in fields if key.startswith("EDGEPROXY_")}


@pytest.mark.parametrize("value, why", [
    ("", "empty"), ("nowhere", "no such target"), ("file", "the path does not begin with /"),
    ("file:relative", "the path does not begin with /"), ("stdout:x", "there is nothing"),
    ("syslog:localhost:514", "neither a path nor"), ("syslog:127.0.0.1", "neither a path nor"),
    ("syslog:127.0.0.1:0", "neither a path nor"), ("syslog::514", "no address to send to"),
    ("syslog:0.0.0.0:514", "no address to send to"), ("journald:/" + "x" * 120, "too long")])
def test_wrong_values(db, start, value, why):
    proxy = start(EDGEPROXY_ACCESS_LOG=value, wait_ready=False)
    assert proxy.wait_exit() == 1
    problem, = proxy.log.find("config_invalid")
    assert problem["problem"].startswith("EDGEPROXY_ACCESS_LOG=") and why in problem["problem"]
    assert "file:/PATH" in problem["problem"]


@pytest.mark.parametrize("what", ["no folder", "folder", "socket"])
def test_a_file_that_cannot_be_opened_stops_the_start(db, start, tmp_path, collector, what):
    path = tmp_path / "here"
    if what == "folder":
        path.mkdir()
    elif what == "socket":
        collector(path)
    else:
        path = path / "access.log"
    proxy = start(EDGEPROXY_ACCESS_LOG=f"file:{path}", wait_ready=False)
    assert proxy.wait_exit() == 1
    failed = proxy.wait_event("start_failed")
    assert failed["problem"] == f"EDGEPROXY_ACCESS_LOG=file:{path}" and failed["error"]


# ---- which lines ----


def test_a_line_at_connect(world, start):
    proxy = start(EDGEPROXY_ACCESS_LOG_AT_CONNECT=1)
    with proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        connected = proxy.wait_event("connected")
        assert not proxy.sessions()
    session = proxy.wait_session()
    assert connected["level"] == "info"
    same = ["client", "peer", "service", "country", "region", "place", "backend", "backend_addr",
            "affinity", "region_score", "connect_ms", "retries"]
    assert [connected[key] for key in same] == [session[key] for key in same]
    assert not {"bytes_in", "total_ms", "reason", "sample"} & set(connected)


def test_a_sample_of_those_that_are_done_and_all_others(db, start, peer, port):
    """Exactly one of each N of a worker; together with the failures, all is accounted for."""
    db.add("sa-1", peer(Identity, "sa-1"))
    db.add("dead", peer(Refusing), app="dead")
    db.service(port("127.0.0.2"), app="dead")
    proxy = start(EDGEPROXY_ACCESS_LOG_SAMPLE=10, EDGEPROXY_ACCESS_LOG_AT_CONNECT=1,
                  EDGEPROXY_WORKERS=1)
    serve(proxy, 100)
    for _ in range(7):
        assert proxy.label(BR, to=proxy.listen_addr("127.0.0.2")) == ""
    proxy.wait_session(lambda e: e["reason"] == "connect-failed", count=7)
    proxy.stop()
    endings = Counter((e["reason"], e.get("sample")) for e in proxy.sessions())
    assert endings == {("done", "10"): 10, ("connect-failed", None): 7}
    assert sum(int(e.get("sample", 1)) for e in proxy.sessions()) == 107
    # The same ones at both ends, though they need not end in the order in which they came.
    peers = {e["peer"] for e in proxy.sessions() if e["reason"] == "done"}
    assert {e["peer"] for e in proxy.log.find("connected")} == peers
    assert {e["sample"] for e in proxy.log.find("connected")} == {"10"}


# ---- rotation ----


@pytest.mark.concurrency
@pytest.mark.parametrize("maker", ["signal", "nobody", "create"])
def test_rotation_loses_no_line(world, start, tmp_path, maker):
    """The file is renamed under load, again and again. A new one comes by SIGUSR1, by itself, or
    from whoever renamed it."""
    path = tmp_path / "access.log"
    proxy = start(EDGEPROXY_ACCESS_LOG=f"file:{path}")
    rounds = 5 if maker != "nobody" else 2
    with Load(proxy) as load:
        for number in range(rounds):
            load.more(20)
            path.rename(tmp_path / f"access.log.{number}")
            load.more(3)
            if maker == "create":
                path.touch(0o640)
            elif maker == "signal":
                proxy.kill(signal.SIGUSR1)
            proxy.wait_event("access_log_reopened", count=number + 1)
            until(lambda: lines_of(path), "lines in the new file")
    proxy.stop()
    by = {e["by"] for e in proxy.log.find("access_log_reopened")}
    assert "signal" in by if maker == "signal" else by == {"rotated"}
    events = events_of(path, *tmp_path.glob("access.log.*"))
    assert len(events) == load.count
    assert len({e["peer"] for e in events}) > 1
    assert not proxy.log.find("access_log_dropped")


def test_a_signal_makes_the_file_without_any_line(world, start, tmp_path):
    path = tmp_path / "access.log"
    proxy = start(EDGEPROXY_ACCESS_LOG=f"file:{path}")
    path.unlink()
    proxy.kill(signal.SIGUSR1)
    until(path.exists, "a new file")


@pytest.mark.parametrize("target", ["stderr", "off", "stdout"])
def test_the_signal_without_a_file(world, start, target):
    proxy = start(EDGEPROXY_ACCESS_LOG=target)
    proxy.kill(signal.SIGUSR1)
    serve(proxy, 3)
    proxy.stop()
    assert not proxy.log.find("access_log_failed")


def test_the_signal_while_stopping(world, start, tmp_path):
    """It is no second request to end."""
    path = tmp_path / "access.log"
    proxy = start(EDGEPROXY_ACCESS_LOG=f"file:{path}", EDGEPROXY_SHUTDOWN_TIMEOUT_SECS=3600)
    with proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        proxy.kill(signal.SIGTERM)
        proxy.wait_event("stopping")
        path.rename(tmp_path / "old")
        proxy.kill(signal.SIGUSR1)
        proxy.wait_event("access_log_reopened")
        sock.sendall(b"still here")
        assert wire.read_exactly(sock, 10) == b"still here"
    assert proxy.wait_exit() == 0
    assert proxy.log.find("stopped")[0]["sessions_closed"] == "0"
    assert len(events_of(path)) == 1


def test_a_new_file_that_cannot_be_opened(world, start, tmp_path):
    """A folder in its place: the old file is written on, and it is said, until that is mended."""
    path, old = tmp_path / "access.log", tmp_path / "old"
    proxy = start(EDGEPROXY_ACCESS_LOG=f"file:{path}")
    path.rename(old)
    path.mkdir()
    proxy.kill(signal.SIGUSR1)
    failed = proxy.wait_event("access_log_failed")
    assert failed["target"] == f"file:{path}" and failed["error"] == "Is a directory"
    serve(proxy, 5)
    wait_lines(old, 5)
    path.rmdir()
    proxy.kill(signal.SIGUSR1)
    proxy.wait_event("access_log_recovered")
    serve(proxy, 2)
    wait_lines(path, 2)
    assert len(lines_of(old)) == 5
    assert len(proxy.log.find("access_log_failed")) == 1


@pytest.mark.concurrency
def test_a_retired_process_follows_too(world, start, tmp_path):
    """Both processes of an upgrade write to the file, and both to the one that comes after it."""
    path = tmp_path / "access.log"
    proxy = start(EDGEPROXY_ACCESS_LOG=f"file:{path}", EDGEPROXY_HARD_STOP_AFTER_SECS=3600)
    g = Generations(proxy)
    try:
        first, second, third = (proxy.connect((BR, number)) for number in (1, 2, 3))
        for sock in (first, second, third):
            assert sock.recv(100) == b"sa-1\n"
        g.upgrade()
        with Load(proxy, g.addr) as load:
            load.more(10)
            first.close()
            until(lambda: any(e["client"] == f"{BR}:1" for e in events_of(path)), "its line")
            path.rename(tmp_path / "old")
            # To the newest alone: the old one finds the new file by itself.
            os.kill(g.newest, signal.SIGUSR1)
            proxy.wait_event("access_log_reopened")
            load.more(10)
            second.close()
            until(lambda: any(e["client"] == f"{BR}:2" for e in events_of(path)), "its line")
            # And when it is told, it obeys.
            path.rename(tmp_path / "older")
            os.kill(proxy.pid, signal.SIGUSR1)
            proxy.wait_event("access_log_reopened", lambda e: e["by"] == "signal", count=2)
            load.more(10)
        third.close()
        # The last session ends the old process.
        assert proxy.process.wait(STOP_SECS) == 0
        assert {e["client"] for e in events_of(path, tmp_path / "old", tmp_path / "older")} >= \
            {f"{BR}:{number}" for number in (1, 2, 3, 5555)}
    finally:
        os.kill(g.newest, signal.SIGTERM)
        until(lambda: proxy.log.ended, "the end of all processes")
    events = events_of(path, tmp_path / "old", tmp_path / "older")
    assert len(events) == load.count + 3


@pytest.mark.skipif(not shutil.which("logrotate", path="/usr/sbin:/usr/bin"),
                    reason="logrotate is not installed")
@pytest.mark.concurrency
def test_with_logrotate(world, start, tmp_path):
    """The example in deploy/, with this test's path and process in place of the packaged ones."""
    folder = tmp_path / "logs"
    folder.mkdir(0o750)
    path = folder / "access.log"
    proxy = start(EDGEPROXY_ACCESS_LOG=f"file:{path}")
    config = (ROOT / "deploy/logrotate/edgeproxy").read_text()
    config, places = re.subn(r"/var/log/edgeproxy/\*\.log \{", f"{folder}/*.log {{", config)
    config, kills = re.subn(r"systemctl kill .*", f"kill -USR1 {proxy.pid}", config)
    config, makes = re.subn(r"create 0640 edgeproxy edgeproxy", "create 0640", config)
    config, users = re.subn(r"\tsu edgeproxy edgeproxy\n", "", config)
    assert (places, kills, makes, users) == (1, 1, 1, 1)
    (tmp_path / "logrotate.conf").write_text(config)
    os.chmod(tmp_path / "logrotate.conf", 0o644)
    with Load(proxy) as load:
        for number in range(3):
            load.more(20)
            subprocess.run([shutil.which("logrotate", path="/usr/sbin:/usr/bin"), "--force",
                            "--state", str(tmp_path / "state"), str(tmp_path / "logrotate.conf")],
                           check=True, capture_output=True, timeout=STOP_SECS)
            proxy.wait_event("access_log_reopened", count=number + 1)
    proxy.stop()
    rotated = sorted(folder.glob("access.log.*"))
    assert [file.name for file in rotated] == ["access.log.1", "access.log.2.gz", "access.log.3.gz"]
    texts = subprocess.run(["zcat", "-f", *map(str, rotated), str(path)], check=True,
                           capture_output=True, text=True).stdout
    assert len([parse_line(line) for line in texts.splitlines()]) == load.count


# ---- what goes wrong ----


def test_a_limit_of_file_size(world, start, tmp_path):
    """As for a full disk: a line that was cut short is finished when there is room, and nothing is
    lost or torn."""
    path = tmp_path / "access.log"
    proxy = start(EDGEPROXY_ACCESS_LOG=f"file:{path}")
    serve(proxy, 2)
    wait_lines(path, 2)
    size = path.stat().st_size
    resource.prlimit(proxy.pid, resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
    serve(proxy, 20)
    failed = proxy.wait_event("access_log_failed")
    assert failed["error"] == "File too large" and "ulimit -f" in failed["advice"]
    assert path.stat().st_size == size + 100
    resource.prlimit(proxy.pid, resource.RLIMIT_FSIZE,
                     (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    proxy.wait_event("access_log_recovered")
    wait_lines(path, 22)
    assert len(proxy.log.find("access_log_failed")) == 1
    assert not proxy.log.find("access_log_dropped")


def test_a_line_that_was_cut_short_is_whole_in_the_next_file(world, start, tmp_path):
    path = tmp_path / "access.log"
    proxy = start(EDGEPROXY_ACCESS_LOG=f"file:{path}")
    serve(proxy, 2)
    wait_lines(path, 2)
    size = path.stat().st_size
    resource.prlimit(proxy.pid, resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
    serve(proxy, 1)
    proxy.wait_event("access_log_failed")
    path.rename(tmp_path / "full")
    proxy.kill(signal.SIGUSR1)
    assert wait_lines(path, 1)[0]["client"] == f"{BR}:5555"


def may_unshare():
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not may_unshare(), reason="no mount namespaces here")
def test_a_full_disk(world, start, tmp_path, peer):
    """A disk of 64 KiB: what does not fit waits, the rest is dropped and counted, no client notices,
    and with room again the lines come."""
    disk = tmp_path / "disk"
    disk.mkdir()
    proxy = Proxy(world, dict(EDGEPROXY_ACCESS_LOG=f"file:{disk}/access.log"),
                  prefix=("unshare", "--mount", "--propagation", "private", "sh", "-c",
                          f'mount -t tmpfs -o size=64k none {disk} && exec "$0"'))
    try:
        proxy.wait_event("ready")
        inside = Path(f"/proc/{proxy.pid}/root{disk}")
        serve(proxy, 1)
        until(lambda: len(lines_of(inside / "access.log")) == 1, "the first line")
        room = os.statvfs(inside).f_bavail * os.statvfs(inside).f_frsize
        (inside / "ballast").write_bytes(b"x" * room)
        serve(proxy, 30)
        failed = proxy.wait_event("access_log_failed")
        assert failed["error"] == "No space left on device" and "disk" in failed["advice"]
        (inside / "ballast").unlink()
        proxy.wait_event("access_log_recovered")
        until(lambda: len(lines_of(inside / "access.log")) == 31, "all lines")
        assert None not in [parse_line(line) for line in lines_of(inside / "access.log")]
    finally:
        proxy.stop()
    assert not proxy.log.find("access_log_dropped")


@pytest.mark.parametrize("reader", ["none", "asleep"])
def test_a_fifo_that_nobody_reads(world, start, tmp_path, reader):
    """Whether it is open or not: clients are served, and the end comes in time."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    held = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if reader == "asleep" else -1
    proxy = start(EDGEPROXY_ACCESS_LOG=f"file:{path}")
    if reader == "none":
        failed = proxy.wait_event("access_log_failed")
        assert "reader" in failed["advice"]
    serve(proxy, 400)
    proxy.stop()
    lost = sum(int(e["lines"]) for e in proxy.log.find("access_log_dropped"))
    read = b""
    if reader == "asleep":
        with open(held, "rb") as file:
            read = file.read()
        assert read.endswith(b"\n") and lost > 0
    assert read.count(b"\n") + lost == 400


def test_a_fifo_whose_reader_comes_and_goes(world, start, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    proxy = start(EDGEPROXY_ACCESS_LOG=f"file:{path}")
    proxy.wait_event("access_log_failed")
    serve(proxy, 5)
    with open(path) as reader:
        assert [parse_line(reader.readline())["event"] for _ in range(5)] == ["session"] * 5
    proxy.wait_event("access_log_recovered")
    serve(proxy, 5)
    with open(path) as reader:
        assert [parse_line(reader.readline())["event"] for _ in range(5)] == ["session"] * 5


@pytest.mark.parametrize("kind", ["syslog", "journald"])
def test_a_daemon_that_comes_and_goes(world, start, tmp_path, collector, kind):
    """It may start after the proxy, and restart: what it could not take meanwhile it gets then."""
    path = tmp_path / "socket"
    proxy = start(EDGEPROXY_ACCESS_LOG=f"{kind}:{path}")
    failed = proxy.wait_event("access_log_failed")
    assert failed["target"] == f"{kind}:{path}"
    assert failed["error"] == "No such file or directory"
    serve(proxy, 3)
    daemon = collector(path)
    for _ in range(3):
        assert b"sa-1" in daemon.take()
    proxy.wait_event("access_log_recovered")
    daemon.close()
    serve(proxy, 3)
    daemon = collector(path)
    for _ in range(3):
        assert b"sa-1" in daemon.take()
    serve(proxy, 1)
    assert b"sa-1" in daemon.take()
    assert not daemon.pending()
    assert len(proxy.log.find("access_log_failed")) == 1  # the second within a minute is not said
    proxy.stop()
    assert not proxy.log.find("access_log_dropped")


def test_a_daemon_that_does_not_read(world, start, tmp_path, collector):
    """Its queue is full: lines wait for it, clients do not."""
    daemon = collector(tmp_path / "socket")
    proxy = start(EDGEPROXY_ACCESS_LOG=f"syslog:{daemon.path}")
    queue = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
    serve(proxy, queue + 50)
    for _ in range(queue + 50):
        assert b"sa-1" in daemon.take()
    assert not daemon.pending()
    proxy.stop()
    assert not proxy.log.find("access_log_dropped")


def test_nobody_at_a_udp_port(world, start, collector):
    daemon = collector()
    addr = daemon.socket.getsockname()
    daemon.close()
    proxy = start(EDGEPROXY_ACCESS_LOG="syslog:%s:%d" % addr)

    def failed():
        serve(proxy, 1)
        return proxy.log.find("access_log_failed")

    assert until(failed, "a refusal")[0]["error"] == "Connection refused"


def test_drops_are_counted_and_leave_the_main_log_alone(db, start, peer, tmp_path):
    """More lines than the buffers hold, and a reader that sleeps: the lines that are missing are those
    that were counted. The main log has lost none."""
    db.add("dead", peer(Refusing))
    path = tmp_path / "fifo"
    os.mkfifo(path)
    held = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    proxy = start(EDGEPROXY_ACCESS_LOG=f"file:{path}", EDGEPROXY_LOG_LEVEL="info")
    threads, count = 4, 1500

    def flood():
        for _ in range(count):
            assert proxy.label(BR) == ""

    clients = [threading.Thread(target=flood) for _ in range(threads)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    proxy.wait_event("access_log_dropped")
    assert proxy.wait_event("connect_failed", count=threads * count)
    lines = []

    def read():
        with open(held) as file:
            os.set_blocking(held, True)
            lines.extend(file.read().splitlines())

    reader = threading.Thread(target=read)
    reader.start()
    proxy.stop()
    reader.join()
    lost = sum(int(e["lines"]) for e in proxy.log.find("access_log_dropped"))
    assert None not in [parse_line(line) for line in lines]
    assert len(lines) + lost == threads * count
    assert not proxy.log.find("log_dropped")


# ---- a real daemon ----


@pytest.mark.skipif(not shutil.which("rsyslogd", path="/usr/sbin:/usr/bin"),
                    reason="rsyslogd is not installed")
@pytest.mark.parametrize("how", ["local", "udp"])
def test_rsyslogd_takes_it_apart(world, start, tmp_path, how):
    port = free_port()
    udp = 'module(load="imudp") input(type="imudp" address="127.0.0.1" port="%d")' % port
    local = 'module(load="imuxsock" SysSock.Use="off") input(type="imuxsock" Socket="%s")' \
        % (tmp_path / "devlog")
    out = tmp_path / "messages"
    (tmp_path / "rsyslog.conf").write_text(f"""
global(workDirectory="{tmp_path}")
{local if how == "local" else udp}
template(name="t" type="string"
  string="%syslogfacility-text%.%syslogseverity-text% %programname% %procid% %msgid%|%msg%\\n")
action(type="omfile" file="{out}" template="t")
""")
    daemon = subprocess.Popen(
        [shutil.which("rsyslogd", path="/usr/sbin:/usr/bin"), "-n", "-f",
         str(tmp_path / "rsyslog.conf"), "-i", str(tmp_path / "pid")],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: (tmp_path / "pid").exists() and (how == "udp" or
                                                       (tmp_path / "devlog").exists()), "rsyslogd")
        proxy = start(EDGEPROXY_ACCESS_LOG=f"syslog:{tmp_path / 'devlog'}" if how == "local"
                      else f"syslog:127.0.0.1:{port}")

        def served():
            serve(proxy, 1)
            return lines_of(out)

        head, line = until(served, "a line in its file")[0].split("|", 1)
        assert head.split()[:3] == ["local0.info", "edgeproxy", str(proxy.pid)]
        if how == "udp":
            assert head.split()[3] == "session"
        assert parse_line(line.strip())["backend"] == "sa-1"
    finally:
        daemon.terminate()
        daemon.wait(STOP_SECS)
