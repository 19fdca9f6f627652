"""`edgeproxy top` on a terminal (a pty), and without one."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading

import pytest

from harness import BINARY, BR, US, base_env, run_cli, until
from peers import Identity
from test_events import ask

ENTER, LEAVE = "\033[?1049h", "\033[?1049l"
COLOUR = re.compile(r"\033\[[0-9;]*m")


@pytest.fixture
def proxy(start, db, peer, control_path):
    db.add("one", peer(Identity, "one"), region="sa", country="BR")
    db.add("two", peer(Identity, "two"), region="us", country="US", soft_limit=1)
    proxy = start(EDGEPROXY_CONTROL_SOCKET=control_path)
    proxy.control = {"EDGEPROXY_CONTROL_SOCKET": control_path}
    return proxy


class Screen:
    """The program on a pty, and what its latest frame shows."""

    def __init__(self, proxy, *args, size=(24, 80), **env):
        self.master, slave = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        full = {**base_env(proxy.db, {}), **proxy.control, "TERM": "xterm", **env}
        self.process = subprocess.Popen(
            [str(BINARY), "top", "--interval", "0.1", *args], env=full, stdin=slave, stdout=slave,
            stderr=subprocess.PIPE, start_new_session=True, text=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.output = ""
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        with contextlib.suppress(OSError):
            while data := os.read(self.master, 65536):
                self.output += data.decode("utf-8", "replace")

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def frames(self):
        """Whole ones only."""
        parts = self.output.split("\033[H")[1:]
        return [COLOUR.sub("", p[:p.index("\033[K\033[J")]).replace("\033[K", "").replace("\r", "").split("\n")
                for p in parts if "\033[K\033[J" in p]

    def frame(self):
        frames = self.frames()
        return frames[-1] if frames else []

    def wait(self, condition, what):
        return until(lambda: (f := self.frame()) and condition(f) and f,
                     f"{what}; the screen: {self.frame()}")

    def shows(self, text):
        return self.wait(lambda f: any(text in line for line in f), text)

    def press(self, keys):
        os.write(self.master, keys.encode())

    def end(self):
        _, err = self.process.communicate(timeout=60)
        until(lambda: LEAVE in self.output, "the terminal is given back")
        assert termios.tcgetattr(self.slave) == self.before
        assert self.output.index(ENTER) < self.output.rindex(LEAVE)
        assert self.output.count("\033[?25h") == self.output.count("\033[?25l")
        return self.process.returncode, err

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        os.close(self.slave)
        os.close(self.master)


@pytest.fixture
def screen(proxy):
    made = []

    def make(*args, **how):
        made.append(Screen(proxy, *args, **how))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_the_screen_has_all_and_fits(proxy, screen):
    with proxy.connect(BR) as held:
        held.recv(64)
        s = screen()
        frame = s.wait(lambda f: any(line.startswith("one") and " 1 " in line for line in f),
                       "the backend with its connection")
        s.wait(lambda f: any(line.startswith("BR") and "100.0%" in line for line in f),
               "the place of the client")
        text = "\n".join(frame)
        for part in ("edgeproxy ", "POP sa", "sessions 1 ", "conn/s", "connect p50", "chosen",
                     "ends ", "BACKEND", "two", "q quit"):
            assert part in text, text
        assert len(frame) == 24 and max(map(len, frame)) <= 80
        s.press("q")
        assert s.end() == (0, "")
    # One write a frame, nothing is wiped between two of them.
    assert s.output.count("\033[2J") == 1


def test_keys_sort_and_filter(proxy, screen):
    with proxy.connect(US) as held:
        held.recv(64)
        s = screen()

        def order(first):
            names = ("one", "two")
            return lambda f: [line.split()[0] for line in f
                              if line.split()[:1] and line.split()[0] in names][:1] == [first]
        s.wait(order("two"), "most connections first")
        s.press("i")
        s.wait(order("one"), "by id")
        s.shows("by id")
        s.press("/tw")
        s.shows("filter: tw_")
        s.wait(lambda f: not any(line.startswith("one") for line in f), "one is out")
        s.press("\n")
        s.shows("/ filter: tw")
        s.press("\033")
        s.wait(order("one"), "the filter is gone")
        s.press("q")
        assert s.end() == (0, "")


def test_a_new_size_is_used(screen):
    s = screen()
    s.wait(lambda f: len(f) == 24, "24 rows")
    s.resize(10, 40)
    frame = s.wait(lambda f: len(f) == 10 and max(map(len, f)) <= 40, "10 rows")
    assert any("one" in line for line in frame)
    s.press("q")
    assert s.end()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_given_back_on_signals(screen, number):
    s = screen()
    s.shows("BACKEND")
    s.process.send_signal(number)
    assert s.end()[0] == -number


def test_ctrl_c_is_a_signal(screen):
    s = screen()
    s.shows("BACKEND")
    s.press("\x03")
    assert s.end()[0] == -signal.SIGINT


def test_a_lost_proxy_is_said_and_the_terminal_given_back(proxy, screen):
    s = screen()
    s.shows("BACKEND")
    proxy.stop()
    s.shows("the proxy does not answer")
    code, err = s.end()
    assert code == 1 and "control socket" in err or "nobody listens" in err


def test_colours_only_where_they_are_wanted(proxy, screen, db):
    db.set("two", state="maint")
    proxy.wait_event("table_loaded", count=2)
    s = screen()
    s.shows("maint")
    assert "\033[31m" in s.output and "\033[7m" in s.output
    s.press("q")
    s.end()
    plain = screen(NO_COLOR="1")
    plain.shows("maint")
    plain.press("q")
    plain.end()
    assert not COLOUR.search(plain.output)


def test_without_a_terminal_one_plain_frame(proxy, screen):
    for args in ([], ["--once"]):
        done = run_cli("top", "--interval", "0.1", *args, env=proxy.control)
        assert done.returncode == 0 and "\033" not in done.stdout
        assert "BACKEND" in done.stdout and "q quit" not in done.stdout
        assert len(done.stdout.splitlines()) <= 24
        assert max(map(len, done.stdout.splitlines())) <= 80
    dumb = screen(TERM="dumb")
    dumb.process.communicate(timeout=60)
    until(lambda: "BACKEND" in dumb.output, "the frame")
    assert "\033" not in dumb.output


def test_wrong_arguments_are_named(proxy, control_path):
    for args in (["--interval", "0"], ["--interval", "x"], ["--sort", "size"], ["--what"]):
        assert run_cli("top", *args, env=proxy.control).returncode == 2, args
    done = run_cli("top", env={"EDGEPROXY_CONTROL_SOCKET": control_path + "x"})
    assert done.returncode == 1 and "control socket" in done.stderr


def test_stats_are_bounded_and_sorted(proxy, control_path):
    with proxy.connect(US) as held:
        held.recv(64)
        status, all_of_it = ask(control_path, "/api/v1/stats")
        assert status == 200
        assert [b["id"] for b in all_of_it["backends"]] == ["two", "one"]
        assert all_of_it["connections"]["active"] == 1
        assert all_of_it["counters"]["accepted"] == 1
        assert all_of_it["decisions"] == [1, 0, 0]
        assert sum(all_of_it["histograms"]["connect"]["buckets"]) == 1
        assert len(all_of_it["histograms"]["connect"]["buckets"]) == 1 + len(
            all_of_it["histograms"]["bounds_us"])
        status, few = ask(control_path, "/api/v1/stats?limit=1&sort=id")
        assert [b["id"] for b in few["backends"]] == ["one"] and few["backends_total"] == 2
    for query in ("sort=size", "limit=1001", "limit=x", "more=1"):
        assert ask(control_path, f"/api/v1/stats?{query}")[0] == 400
    json.dumps(all_of_it)
