#!/usr/bin/env python3
"""What active health checks cost: CPU time of the proxy while it checks many backends.

    tests/bench/health.py [--binary PATH] [--backends 10000] [--inter-ms 5000] [--secs 20]

Every backend is an address of 127.0.0.0/8, all answered by one server in another process, so the
figure holds both ends of the loopback's TCP handshake as far as the kernel bills them to the proxy:
a real network is cheaper for it. The time is that of the thread that checks (its name is "health"),
from the kernel's schedstat."""

import argparse
import os
import pathlib
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
KINDS = ("tcp", "http", "grpc")
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"

sys.path.insert(0, str(ROOT / "tests" / "functional"))
import h2  # noqa: E402


def serve(listener, kind):
    """Accepts for ever, and answers what the kind of check wants to hear."""
    answer = {"http": REPLY, "grpc": h2.answer()}.get(kind)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    socks = {}
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                for _ in range(256):
                    try:
                        sock, _ = listener.accept()
                    except BlockingIOError:
                        break
                    except OSError:
                        continue
                    sock.setblocking(False)
                    socks[sock.fileno()] = sock
                    poll.register(sock, select.EPOLLIN)
                continue
            sock = socks[fd]
            try:
                over = not sock.recv(4096)
                if not over and answer:
                    sock.send(answer)
                    over = kind == "http"
            except OSError:
                over = True
            if over:
                del socks[fd]
                sock.close()


def start_server(kind):
    listener = socket.create_server(("0.0.0.0", 0), backlog=4096)
    listener.setblocking(False)
    pid = os.fork()
    if pid == 0:
        serve(listener, kind)
    port = listener.getsockname()[1]
    listener.close()
    return pid, port


def make_database(path, count, port):
    subprocess.run([BINARY, "db", "init", path], check=True, stdout=subprocess.DEVNULL)
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM backends")
        db.executemany(
            "INSERT INTO backends VALUES (?, 'app', 'sa', ?, ?, 1, 1, 50, 100, 0)",
            [(f"n{n}", f"127.{1 + n // 60000}.{n // 250 % 240}.{1 + n % 250}", port)
             for n in range(count)])
    db.close()


def thread_ns(pid, name):
    """Run time of the threads of that name; None: of all."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if name in (None, (task / "comm").read_text().strip()):
            total += int((task / "schedstat").read_text().split()[0])
    return total


def measure(kind, options):
    with tempfile.TemporaryDirectory() as folder:
        server, port = start_server(kind)
        database = f"{folder}/routing.db"
        make_database(database, options.backends, port)
        env = {
            "EDGEPROXY_DB_PATH": database, "EDGEPROXY_LISTEN_ADDR": "127.0.0.1:0",
            "EDGEPROXY_HEALTH_CHECK": kind, "EDGEPROXY_HEALTH_INTER_MS": str(options.inter_ms),
        }
        proxy = subprocess.Popen([BINARY], env=env, stderr=subprocess.PIPE, text=True)
        try:
            for line in proxy.stderr:
                if "event=ready" in line:
                    break
            # Each has been checked once, and the backends without a faulty answer stay up.
            time.sleep(options.inter_ms / 1000 + 1)
            began, before = time.monotonic(), thread_ns(proxy.pid, "health")
            all_before = thread_ns(proxy.pid, None)
            time.sleep(options.secs)
            secs = time.monotonic() - began
            busy = (thread_ns(proxy.pid, "health") - before) / 1e9
            every = (thread_ns(proxy.pid, None) - all_before) / 1e9
        finally:
            os.kill(server, signal.SIGKILL)
            os.waitpid(server, 0)
            proxy.kill()
            rest = proxy.stderr.read()
            proxy.wait()
    checks = options.backends * secs / (options.inter_ms / 1000)
    print(f"{kind}: {busy / secs * 100:.1f} % of one core, {busy / checks * 1e6:.1f} us a check"
          f" ({options.backends} backends every {options.inter_ms} ms; whole process"
          f" {every / secs * 100:.1f} %)", flush=True)
    trouble = [line for line in rest.splitlines() if "event=health" in line
               and "connect refused" not in line and "connection reset" not in line]
    if trouble:
        print(f"  {len(trouble)} lines of trouble, such as: {trouble[0]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default=ROOT / "build" / "edgeproxy")
    parser.add_argument("--backends", type=int, default=10000)
    parser.add_argument("--inter-ms", type=int, default=5000)
    parser.add_argument("--secs", type=float, default=20)
    parser.add_argument("--kind", choices=KINDS, action="append")
    options = parser.parse_args()
    global BINARY
    BINARY = str(pathlib.Path(options.binary).resolve())
    for kind in options.kind or KINDS:
        measure(kind, options)


if __name__ == "__main__":
    main()
