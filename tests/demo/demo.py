#!/usr/bin/env python3
"""A tour of edgeProxy on one machine: `./dev demo`.

Three POPs (edgeproxy processes) share one routing database and nine labelled backends, all on
loopback with ports that the kernel picks. Clients say where they are from in a PROXY v2 header, as
behind a load balancer. Each step prints a table and checks its own claim, from the label that the
backend answered with and from the POP's log line of that session: a wrong route ends the demo with
exit status 1. Nothing is left running and no file stays, however it ends.

Needs python3 (standard library only) and, for one step, the sqlite3 command.
"""
import argparse
import contextlib
import ctypes
import ipaddress
import itertools
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

WAIT_SECS = 10  # for anything that should take milliseconds
ALARM_SECS = 60  # for everything together
WIDTH = 79
HARD_LIMIT = 4

POPS = ("sa", "us", "eu")
BACKENDS = (  # id, region, country
    ("sa-1", "sa", "BR"), ("sa-2", "sa", "BR"),
    ("us-1", "us", "US"), ("us-2", "us", "US"),
    ("eu-1", "eu", "DE"), ("eu-2", "eu", "FR"), ("eu-3", "eu", "NL"),
    ("ap-1", "ap", "JP"), ("ap-2", "ap", "SG"),
)
CLIENTS = (  # address, country, region, the only backends that are right (None: the POP's own)
    ("200.160.2.3", "BR", "sa", {"sa-1", "sa-2"}),
    ("128.101.101.101", "US", "us", {"us-1", "us-2"}),
    ("194.25.2.129", "DE", "eu", {"eu-1"}),
    ("133.11.0.1", "JP", "ap", {"ap-1"}),
    ("100.64.0.9", None, None, None),  # shared address space (RFC 6598): a special-purpose range
    ("2d00::7", None, None, None),  # IPv6 that nobody has been given: in no database
)
BR, US, DE, JP = (c[0] for c in CLIENTS[:4])
OTHER_US = ("17.253.144.10", "18.0.0.1")

SCHEMA = """CREATE TABLE backends (
    id TEXT PRIMARY KEY, app TEXT, region TEXT, wg_ip TEXT, port INTEGER, healthy INTEGER,
    weight INTEGER, soft_limit INTEGER, hard_limit INTEGER, deleted INTEGER DEFAULT 0,
    country TEXT)"""

DRAWING = """
  clients       BR       US       DE       JP       unknown
                |        |        |        |        |
                '--------+----+---+--------+--------'   each says its address
                              |                         in a PROXY v2 header
                .-------------+-------------.
                |             |             |
            +--------+    +--------+    +--------+
  edgeproxy | POP sa |    | POP us |    | POP eu |   all read one routing.db
            +--------+    +--------+    +--------+
                |             |             |
                '-------------+-------------'        each reaches every backend
                              |
        .--------------.------+------.--------------.
     region sa      region us     region eu      region ap
     sa-1  BR       us-1  US      eu-1  DE       ap-1  JP
     sa-2  BR       us-2  US      eu-2  FR       ap-2  SG
                                  eu-3  NL
"""


class Wrong(Exception):
    """A claim of the demo does not hold."""


def expect(condition, text):
    if not condition:
        raise Wrong(text)


def some(labels):
    return " or ".join(sorted(labels))


# ------------------------------------------------------------------------------ what is printed

class Screen:
    """Plain ASCII, 79 columns; colour only on a terminal that did not say NO_COLOR."""

    def __init__(self):
        self.colour = (sys.stdout.isatty() and not os.environ.get("NO_COLOR")
                       and os.environ.get("TERM", "dumb") != "dumb")
        self.step = 0

    def paint(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    def say(self, text=""):
        print("\n".join(textwrap.wrap(text, WIDTH - 2, initial_indent="  ",
                                      subsequent_indent="  ")), flush=True)

    def heading(self, text):
        self.step += 1
        print("\n" + self.paint("1;36", f"{self.step}. {text}"), flush=True)

    def command(self, text):
        print("  " + self.paint("1", f"$ {text}"), flush=True)

    def good(self, text):
        for i, line in enumerate(textwrap.wrap(text, WIDTH - 6)):
            print(("  " + self.paint("32", "ok") + "  " if i == 0 else "      ") + line, flush=True)

    def log_line(self, text):
        text = re.sub(r"^time=\S+ ", "", text)
        print("\n".join(textwrap.wrap(text, WIDTH - 2, initial_indent="  | ",
                                      subsequent_indent="  |   ", break_long_words=False,
                                      break_on_hyphens=False)), flush=True)

    def table(self, head, rows):
        """A cell is a text, or a (text,) tuple: changed, so it stands out."""
        def text(cell):
            return f"{cell[0]} *" if isinstance(cell, tuple) else str(cell)
        widths = [max(len(text(row[i])) for row in [head, *rows]) for i in range(len(head))]
        print("  " + self.paint("4", "  ".join(h.ljust(w) for h, w in zip(head, widths)).rstrip()))
        for row in rows:
            cells = (self.paint("1;33", text(c)) + " " * (w - len(text(c)))
                     if isinstance(c, tuple) else text(c).ljust(w) for c, w in zip(row, widths))
            print(("  " + "  ".join(cells)).rstrip())
        if any(isinstance(c, tuple) for row in rows for c in row):
            print("  " + self.paint("33", "* changed"))
        sys.stdout.flush()


# ------------------------------------------------------------------------ processes of the stage

def die_with_parent():
    """In the child: even a demo that is killed leaves nothing running (PR_SET_PDEATHSIG)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def backend_main(label):
    """A backend answers every line with its label, until the client is done."""
    def serve(conn):
        with contextlib.suppress(OSError), conn:
            while conn.recv(1024):
                conn.sendall(label.encode() + b"\n")

    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(listener.getsockname()[1], flush=True)
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=serve, args=(conn,), daemon=True).start()


class Child:
    def __init__(self, argv, **options):
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True,
                                        preexec_fn=die_with_parent, **options)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


class Backend(Child):
    def __init__(self, label):
        super().__init__([sys.executable, "-I", "-S", os.path.abspath(__file__),
                          "--backend", label], stdout=subprocess.PIPE)

    def read_port(self):
        line = self.process.stdout.readline()
        expect(line, "a backend did not start")
        return int(line)


class Pop(Child):
    """An edgeproxy process. It is configured as in production: by its environment."""

    def __init__(self, binary, region, folder):
        self.region = region
        self.log_path = os.path.join(folder, f"pop-{region}.log")
        self.events, self.read_to = [], 0
        env = {k: v for k, v in os.environ.items()
               if not k.startswith("EDGEPROXY_") and k != "DEBUG"}
        env.update(EDGEPROXY_LISTEN_ADDR="127.0.0.1:0", EDGEPROXY_REGION=region,
                   EDGEPROXY_DB_PATH=os.path.join(folder, "routing.db"),
                   EDGEPROXY_CONTROL_SOCKET=os.path.join(folder, f"{region}.sock"),
                   EDGEPROXY_TRUSTED_PROXIES="127.0.0.1")
        with open(self.log_path, "wb") as log:
            super().__init__([binary], stdout=log, stderr=log, env=env)

    def read_log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            log.seek(self.read_to)
            for line in iter(log.readline, ""):
                if not line.endswith("\n"):
                    break
                self.read_to += len(line.encode())
                pairs = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', line)
                self.events.append({"line": line.rstrip(), **{k: v.strip('"') for k, v in pairs}})

    def wait_for(self, what, since=0, **wanted):
        """The first event from number since on whose keys have these values."""
        deadline = time.monotonic() + WAIT_SECS
        while True:
            ended = self.process.poll() is not None
            self.read_log()
            for event in self.events[since:]:
                if all(event.get(k) == v for k, v in wanted.items()):
                    return event
            if ended or time.monotonic() > deadline:
                tail = "\n".join(e["line"] for e in self.events[-5:]) or "(it logged nothing)"
                why = "has ended" if ended else f"did not log it within {WAIT_SECS} s"
                raise Wrong(f"{what}: POP {self.region} {why}. Its last lines:\n{tail}")
            time.sleep(0.005)

    def ready(self):
        self.wait_for("starting", event="ready")
        address = self.wait_for("starting", event="listening")["addr"]
        self.port = int(address.rsplit(":", 1)[1])


# --------------------------------------------------------------------------------------- clients

source_ports = itertools.count(20000)  # a port is used once, so it names one session in the log


def proxy_v2_header(client, port, to_port):
    ip = ipaddress.ip_address(client)
    to = ipaddress.ip_address("127.0.0.1" if ip.version == 4 else "::1")
    body = ip.packed + to.packed + struct.pack("!HH", port, to_port)
    family = 0x11 if ip.version == 4 else 0x21
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x21, family, len(body)) + body


class Visit:
    """One connection of a client through a POP; .label is what the backend called itself."""

    def __init__(self, pop, client):
        self.pop, port = pop, next(source_ports)
        self.name = f"[{client}]:{port}" if ":" in client else f"{client}:{port}"
        self.socket = socket.create_connection(("127.0.0.1", pop.port), timeout=WAIT_SECS)
        try:
            self.socket.sendall(proxy_v2_header(client, port, pop.port) + b"who are you?\n")
            self.label = self.socket.recv(64).decode().strip()
        except OSError as error:
            self.label = f"({error})"
        if not self.label or self.label.startswith("("):
            self.end()
            raise Wrong(f"{client} through POP {pop.region} got no answer {self.label}: "
                        f"reason={self.log.get('reason')}")

    def end(self):
        self.socket.close()
        self.log = self.pop.wait_for(f"the end of session {self.name}", event="session",
                                     client=self.name)
        return self


def visit(pop, client):
    v = Visit(pop, client).end()
    expect(v.log.get("backend") == v.label,
           f"the log names backend {v.log.get('backend')}, the client talked to {v.label}")
    return v


# ----------------------------------------------------------------------------------------- steps

class Demo:
    def __init__(self, screen, binary, folder, pops, backends):
        self.screen, self.binary, self.folder = screen, binary, folder
        self.pops, self.backends = pops, backends
        self.route = {}  # (client, POP) -> label, as last seen

    def visit(self, pop, client):
        v = visit(self.pops[pop], client)
        self.route[client, pop] = v.label
        return v

    def who_gets_where(self):
        self.screen.heading("Who gets where, and why")
        rows = []
        for client, country, region, right in CLIENTS:
            visits = [self.visit(pop, client) for pop in POPS]
            for pop, v in zip(POPS, visits):
                expect(v.log.get("country") == country and v.log.get("region") == region,
                       f"{client} was placed in country {v.log.get('country')}, "
                       f"region {v.log.get('region')}, not {country}, {region}")
                allowed = right or {b[0] for b in BACKENDS if b[1] == pop}
                score = "0" if country else "1"
                expect(v.label in allowed, f"{client} ({country}) through POP {pop} reached "
                       f"{v.label}, not {some(allowed)}")
                expect(v.log.get("region_score") == score,
                       f"region_score={v.log.get('region_score')} for {client}, not {score}")
            home = {b[2] for b in BACKENDS if b[1] == region}
            why = ("none: POP's own" if not country else
                   f"region {region}" if len(home) == 1 else f"in {country}, region {region}")
            rows.append((client, country or "-", visits[0].log.get("place", "-"),
                         *(v.label for v in visits), why))
        self.screen.table(("client", "country", "found in", "POP sa", "POP us", "POP eu", "why"),
                          rows)
        self.screen.good("Every client reached its own region through every POP; one that is in "
                         "no country stays with the POP it came to.")

    def affinity(self):
        self.screen.heading("The same clients again: each keeps its backend")
        rows = []
        for (client, _, _, _), pop in zip(CLIENTS, ("sa", "us", "eu", "us", "sa", "eu")):
            first = self.route[client, pop]
            again = [self.visit(pop, client) for _ in range(3)]
            expect(all(v.label == first for v in again),
                   f"{client} had {first}, then {', '.join(v.label for v in again)}")
            expect(all(v.log.get("affinity") == "hit" for v in again),
                   f"{client} came again without an affinity hit")
            rows.append((client, pop, first, *(v.label for v in again), "hit hit hit"))
        self.screen.table(("client", "POP", "before", "2nd", "3rd", "4th", "affinity"), rows)
        self.screen.good("Affinity holds. The log line of such a session:")
        self.screen.log_line(again[-1].log["line"])

    def backend_dies(self):
        self.screen.heading("Backend eu-1 dies (kill -9): its client moves, nobody is dropped")
        self.backends["eu-1"].kill()
        rows = []
        for pop in POPS:
            before, since = self.route[DE, pop], len(self.pops[pop].events)
            v = self.visit(pop, DE)
            expect(v.label in ("eu-2", "eu-3"), f"{DE} (DE) reached {v.label} after eu-1 died")
            expect(v.log.get("retries") == "1",
                   f"{DE} moved to {v.label} with retries={v.log.get('retries')}, not 1")
            failed = self.pops[pop].wait_for("the failed try", since, event="connect_failed",
                                             backend="eu-1")
            later = self.visit(pop, DE)
            expect(later.label == v.label and later.log.get("retries") == "0",
                   f"{DE} did not keep {v.label}: then {later.label}, "
                   f"retries={later.log.get('retries')}")
            rows.append((DE, pop, before, "eu-1", (v.label,), f"{v.log.get('connect_ms')} ms",
                         later.label))
        self.screen.table(("client (DE)", "POP", "before", "1st try", "2nd try", "connected in",
                           "next visit"), rows)
        self.screen.log_line(failed["line"])
        self.screen.good("One failed try, then the next best backend of the region, which the "
                         "client then keeps.")

    def marked_unhealthy(self):
        self.screen.heading("An operator marks ap-1 unhealthy: one row, all POPs follow")
        seen = {name: len(pop.events) for name, pop in self.pops.items()}
        statement = "UPDATE backends SET healthy = 0 WHERE id = 'ap-1'"
        self.screen.command(f'sqlite3 routing.db "{statement}"')
        subprocess.run(["sqlite3", os.path.join(self.folder, "routing.db"), statement], check=True,
                       stdin=subprocess.DEVNULL)
        start = time.monotonic()
        for name, pop in self.pops.items():
            pop.wait_for("the changed database", seen[name], event="table_loaded")
        took_ms = (time.monotonic() - start) * 1000
        rows = []
        for pop in POPS:
            before = self.route[JP, pop]
            v = self.visit(pop, JP)
            expect(v.label == "ap-2", f"{JP} (JP) reached {v.label} after ap-1 became unhealthy")
            expect(v.log.get("retries") == "0", f"{JP} needed retries={v.log.get('retries')}")
            rows.append((JP, pop, before, (v.label,), v.log["retries"]))
        self.screen.table(("client (JP)", "POP", "before", "now", "failed tries"), rows)
        self.screen.good(f"All three POPs had the new table {took_ms:.0f} ms after the command; "
                         "ap-1 was not even tried.")

    def filled(self):
        self.screen.heading(f"US clients fill POP us (hard limit: {HARD_LIMIT} a backend)")
        pop, held, rows = self.pops["us"], [], []

        def count():
            labels = [v.label for v in held]
            elsewhere = [x for x in labels if not x.startswith("us-")]
            return [f"{labels.count(b)}/{HARD_LIMIT}" for b in ("us-1", "us-2")] + [
                elsewhere[0] if elsewhere else "-"]

        def fill(what, client, number):
            before = count()
            held.extend(Visit(pop, client) for _ in range(number))
            rows.append((what, client, *((new,) if new != old else new
                                         for new, old in zip(count(), before))))
            return {v.label for v in held[-number:]}

        try:
            first = self.route[US, "us"]
            second = "us-2" if first == "us-1" else "us-1"
            got = fill("1 to 4 open", US, HARD_LIMIT)
            expect(got == {first}, f"{US} had {first}; its 4 connections went to {some(got)}")
            got = fill("5 to 8 open", US, HARD_LIMIT)
            expect(got == {second}, f"{first} was full, yet connections 5 to 8 went to {some(got)}")
            got = fill("9 open", OTHER_US[0], 1)
            expect(not got & {"us-1", "us-2"}, f"all of us was full, yet {OTHER_US[0]} got {some(got)}")
        finally:
            for v in held:
                v.socket.close()
        for v in held:
            v.end()
        after = visit(pop, OTHER_US[1])
        expect(after.label in ("us-1", "us-2"), f"us has room again, {OTHER_US[1]} got {after.label}")
        rows.append(("all closed, next", OTHER_US[1],
                     *((f"1/{HARD_LIMIT}",) if b == after.label else f"0/{HARD_LIMIT}"
                       for b in ("us-1", "us-2")), "-"))
        self.screen.table(("connections", "client (US)", "us-1", "us-2", "elsewhere"), rows)
        self.screen.good("No limit was passed, not even by affinity; with the region full the "
                         "client is served further away rather than dropped.")

    def ask_why(self):
        self.screen.heading("Ask why, without a client: edgeproxy explain")
        argv = ["explain", JP, "--db", "routing.db", "--region", "eu"]
        self.screen.command("edgeproxy " + " ".join(argv))

        def run(*more):
            return subprocess.run([self.binary, *argv, *more], cwd=self.folder, text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=WAIT_SECS,
                                  env={"PATH": os.environ.get("PATH", "")}, check=True).stdout
        for line in run().splitlines():
            print(f"  | {line}".rstrip())
        said, real = json.loads(run("--json")).get("winner"), visit(self.pops["eu"], JP).label
        expect(said == real, f"explain says {said} for {JP}, the POP chose {real}")
        self.screen.good(f"The same code as the POP's, and the same answer: {real}.")

    def stop(self):
        for pop in self.pops.values():
            pop.process.send_signal(signal.SIGTERM)
        for pop in self.pops.values():
            status = pop.process.wait(WAIT_SECS)
            expect(status == 0, f"POP {pop.region} ended with status {status} on SIGTERM")

    def whats_next(self):
        self.screen.heading("What to try next")
        b = os.path.relpath(self.binary)
        b = b if not b.startswith("../..") else "edgeproxy"
        for command, what in (
                (f"{b} db init routing.db", "a database with three example rows"),
                (f"{b} check", "is everything in order?"),
                (f"{b} explain {BR}", "who would get what, and why"),
                (f"EDGEPROXY_REGION=us {b}", "run a POP, on port 8080"),
                (f"DEBUG=1 {b}", "and explain each decision"),
                (f"{b} --help", "every environment variable")):
            print(f"  {command:<38}  {what}")
        print("\n  docs/configuration.md   docs/routing.md   docs/logs.md\n")


# -------------------------------------------------------------------------------------- the stage

@contextlib.contextmanager
def stage(screen, binary):
    """Sets up the POPs and backends; takes everything down again, whatever happened."""
    children, folder = [], tempfile.mkdtemp(prefix="edgeproxy-demo-")
    try:
        backends = {}
        for label, _, _ in BACKENDS:
            backends[label] = Backend(label)
            children.append(backends[label])
        with contextlib.closing(sqlite3.connect(os.path.join(folder, "routing.db"))) as db, db:
            db.execute(SCHEMA)
            db.executemany(
                "INSERT INTO backends VALUES (?, 'myapp', ?, '127.0.0.1', ?, 1, 2, 2, ?, 0, ?)",
                [(label, region, backends[label].read_port(), HARD_LIMIT, country)
                 for label, region, country in BACKENDS])
        pops = {}
        for region in POPS:
            pops[region] = Pop(binary, region, folder)
            children.append(pops[region])
        for pop in pops.values():
            pop.ready()
        yield Demo(screen, binary, folder, pops, backends)
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        for child in children:
            child.kill()
        shutil.rmtree(folder, ignore_errors=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


def tour(binary):
    screen, start = Screen(), time.monotonic()
    print(screen.paint("1", "edgeProxy demo") + ": clients of the world, on one machine")
    print(DRAWING)
    with stage(screen, binary) as demo:
        screen.say("Nine backends and three POPs are up, on loopback. Every POP reads the same "
                   "routing.db.")
        demo.who_gets_where()
        demo.affinity()
        demo.backend_dies()
        demo.marked_unhealthy()
        demo.filled()
        demo.ask_why()
        demo.stop()
    demo.whats_next()
    screen.good(f"All claims held. {time.monotonic() - start:.1f} s; nothing is left running.")


def end_by_signal(number, _):
    if number == signal.SIGALRM:
        raise Wrong(f"the demo was not done after {ALARM_SECS} s")
    raise SystemExit(128 + number)


def main():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    parser = argparse.ArgumentParser(description="A tour of edgeProxy on loopback.")
    parser.add_argument("--bin", default=os.path.join(root, "build", "edgeproxy"), metavar="PATH",
                        help="the edgeproxy binary (default: build/edgeproxy)")
    parser.add_argument("--backend", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.backend:
        backend_main(arguments.backend)
    binary = os.path.abspath(arguments.bin)
    if not os.access(binary, os.X_OK):
        print(f"demo: there is no program {arguments.bin}; run ./dev build first", file=sys.stderr)
        return 1
    if not shutil.which("sqlite3"):
        print("demo: the sqlite3 command is missing; apt-get install sqlite3", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, end_by_signal)
    signal.alarm(ALARM_SECS)
    try:
        tour(binary)
    except (Wrong, OSError, subprocess.SubprocessError) as error:
        if isinstance(error, BrokenPipeError):  # the reader of our output has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 1
        print(f"\nFAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
