#!/usr/bin/env python3
"""What a scrape of /metrics costs, and whether clients notice.

    tests/bench/scrape.py [--binary PATH] [--backends 10000] [--scrapes 50] [--secs 5]

Times a scrape as Prometheus sees it: from the request to the last byte, one connection, loopback.
Then one client sends a byte and waits for its echo, again and again (ping): for so many seconds
without a scrape, as long with ten scrapes a second, which is 150 times as often as Prometheus asks,
and as long with one scrape after the other. On a machine with few CPUs the scraper's own work is in
the pings too."""

import argparse
import http.client
import os
import pathlib
import re
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def echo_server():
    server = socket.create_server(("127.0.0.1", 0))
    pid = os.fork()
    if pid == 0:
        while True:
            sock, _ = server.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := sock.recv(4096):
                sock.sendall(data)
    return pid, server.getsockname()[1]


def make_database(binary, path, count, port):
    subprocess.run([binary, "db", "init", path], check=True, stdout=subprocess.DEVNULL)
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM backends")
        db.executemany(
            "INSERT INTO backends (id, app, region, wg_ip, port, healthy, weight, soft_limit,"
            " hard_limit) VALUES (?, ?, ?, '127.0.0.1', ?, 1, 1, 50, 100)",
            [(f"backend-{i:06}", f"app-{i % 20}", ("sa", "us", "eu", "ap")[i % 4], port)
             for i in range(count)])
    db.close()


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def ping(addr, secs):
    """Times of single echoes, in microseconds."""
    times = []
    with socket.create_connection(addr) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = time.monotonic() + secs
        while time.monotonic() < end:
            began = time.perf_counter_ns()
            sock.sendall(b"x")
            sock.recv(1)
            times.append((time.perf_counter_ns() - began) / 1000)
    return times[100:]


class Monitor:
    """Scrapes in another process, so that this one's interpreter has nothing to do with it."""

    def __init__(self, port, pause_secs):
        self.child = subprocess.Popen(
            [sys.executable, "-c",
             "import http.client, sys, time\n"
             "c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))\n"
             "while True:\n"
             "    c.request('GET', '/metrics'); c.getresponse().read()\n"
             "    time.sleep(float(sys.argv[2]))\n", str(port), str(pause_secs)])

    def stop(self):
        self.child.kill()
        self.child.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=ROOT / "build" / "edgeproxy")
    parser.add_argument("--backends", type=int, default=10000)
    parser.add_argument("--scrapes", type=int, default=50)
    parser.add_argument("--secs", type=float, default=5)
    options = parser.parse_args()
    echo_pid, echo_port = echo_server()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/routing.db"
        make_database(options.binary, path, options.backends, echo_port)
        front, metrics = free_port(), free_port()
        proxy = subprocess.Popen([options.binary], stderr=subprocess.PIPE, text=True, env=dict(
            EDGEPROXY_DB_PATH=path, EDGEPROXY_LISTEN_ADDR=f"127.0.0.1:{front}",
            EDGEPROXY_METRICS_ENABLED="true", EDGEPROXY_METRICS_LISTEN_ADDR=f"127.0.0.1:{metrics}",
            EDGEPROXY_REGION="sa", EDGEPROXY_CONTROL_SOCKET="off", EDGEPROXY_WORKERS="2"))
        try:
            for line in proxy.stderr:
                if "event=ready" in line:
                    break
            threading.Thread(target=lambda: [None for _ in proxy.stderr], daemon=True).start()
            measure(options, front, metrics)
        finally:
            proxy.send_signal(signal.SIGTERM)
            proxy.wait()
            os.kill(echo_pid, signal.SIGKILL)
            os.waitpid(echo_pid, 0)


def measure(options, front, metrics):
    connection = http.client.HTTPConnection("127.0.0.1", metrics)
    times = []
    for _ in range(options.scrapes):
        began = time.perf_counter()
        connection.request("GET", "/metrics")
        body = connection.getresponse().read()
        times.append((time.perf_counter() - began) * 1000)
    lines = len(re.findall(rb"^[^#]", body, re.M))
    print(f"{options.backends} backends: {lines} samples, {len(body) / 1e6:.1f} MB")
    print(f"scrape: median {statistics.median(times):.1f} ms, p99 {quantile(times, 0.99):.1f} ms,"
          f" worst {max(times):.1f} ms")
    for name, pause_secs in (("without a scrape", None), ("ten scrapes a second", 0.1),
                             ("one scrape after the other", 0)):
        monitor = Monitor(metrics, pause_secs) if pause_secs is not None else None
        pings = ping(("127.0.0.1", front), options.secs)
        if monitor:
            monitor.stop()
        print(f"ping, {name}: p50 {quantile(pings, 0.5):.0f} us, p99 {quantile(pings, 0.99):.0f} us,"
              f" p99.9 {quantile(pings, 0.999):.0f} us, {len(pings)} pings")


if __name__ == "__main__":
    main()
