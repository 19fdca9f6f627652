#!/usr/bin/env python3
"""How long a cold start takes, from the fork to a client that is served.

The binary starts many times, each time with the embedded geo database and a routing.db of one
backend; a client knocks from the first moment on. Two rows: until the kernel takes the client's
connection (the listener is up), and until the backend's first byte has come back through the proxy.
The time of the fork and of this script's polling is inside the figures.
"""

import argparse
import os
import pathlib
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GREETING = b"!"
GIVE_UP_S = 10


def greeter():
    """A backend that greets each client and hangs up; its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            client, _ = server.accept()
            client.sendall(GREETING)
            client.close()

    threading.Thread(target=serve, daemon=True).start()
    return server.getsockname()[1]


def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def routing_db(binary, path, port):
    subprocess.run([binary, "db", "init", path], check=True, stdout=subprocess.DEVNULL)
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM backends")
        db.execute(
            "INSERT INTO backends (id, app, region, wg_ip, port, healthy, weight, soft_limit,"
            " hard_limit, deleted) VALUES ('bench', 'bench', 'sa', '127.0.0.1', ?, 1, 1, 50, 100, 0)",
            (port,))
    db.close()


def knock(port, began, child):
    """Connects as soon as it can and reads the greeting: seconds to each."""
    while True:
        with socket.socket() as client:
            client.settimeout(GIVE_UP_S)
            if client.connect_ex(("127.0.0.1", port)) == 0:
                connected = time.monotonic() - began
                if client.recv(1) != GREETING:
                    raise RuntimeError("the client was accepted, but not served")
                return connected, time.monotonic() - began
        if child.poll() is not None:
            raise RuntimeError(f"the proxy ended with status {child.returncode}")
        if time.monotonic() - began > GIVE_UP_S:
            raise RuntimeError(f"no accept within {GIVE_UP_S} s")
        time.sleep(0.0002)


def start_once(binary, env):
    port = unused_port()
    began = time.monotonic()
    child = subprocess.Popen([binary], env={**env, "EDGEPROXY_LISTEN_ADDR": f"127.0.0.1:{port}"},
                             stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return knock(port, began, child)
    finally:
        child.terminate()
        child.wait(GIVE_UP_S)


def measure(binary, starts, progress=lambda n: None):
    """Seconds of each start: until a client is connected, and until it has the first byte."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        database = os.path.join(folder, "routing.db")
        routing_db(binary, database, greeter())
        env = {k: v for k, v in os.environ.items() if not k.startswith("EDGEPROXY_")}
        env["EDGEPROXY_DB_PATH"] = database
        for n in range(starts):
            times.append(start_once(binary, env))
            progress(n + 1)
    return times


def show(times, say=print):
    form = "{:<44}{:>9}{:>9}{:>9}"
    say(form.format(f"cold start, ms, {len(times)} starts", "min", "median", "max"))
    for row, values in zip(("until a client is connected", "until a client has the backend's first byte"),
                           zip(*times)):
        figures = (f"{1000 * f(values):.2f}" for f in (min, statistics.median, max))
        say(form.format(row, *figures))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--binary", default=ROOT / "build" / "edgeproxy", type=pathlib.Path)
    parser.add_argument("--starts", default=21, type=int)
    arguments = parser.parse_args()

    def progress(n):
        if sys.stdout.isatty():
            print(f"\r\033[Kstart {n} of {arguments.starts}", end="", flush=True)

    times = measure(arguments.binary.resolve(), arguments.starts, progress)
    if sys.stdout.isatty():
        print("\r\033[K", end="")
    show(times)


if __name__ == "__main__":
    main()
