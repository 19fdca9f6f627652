"""Congestion control and TCP Fast Open: what the kernel says of the proxy's own sockets."""

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import wire
from harness import PATIENCE_SECS, until
from peers import Echo, Peer, Silent

BR = "200.160.2.3"
AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()

needs_ss = pytest.mark.skipif(shutil.which("ss") is None, reason="needs ss (iproute2)")


def algorithms(filter):
    """The congestion control of each established TCP socket that ss finds."""
    said = subprocess.run(["ss", "-tinHO", "state", "established", filter], check=True,
                          capture_output=True, text=True).stdout
    return [re.search(r"\s(reno|cubic|bbr|\w+)\s+(?:wscale|rto|ts|sack|ecn|fastopen)", line)[1]
            for line in said.splitlines()]


def kernels_own():
    return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()


def other_than(name):
    others = [one for one in AVAILABLE if one != name]
    if not others:
        pytest.skip("this kernel has one congestion control")
    return others[0]


def algorithms_of(proxy, backend):
    """(towards the client, towards the backend) of the proxy's sockets, with one session open."""
    with proxy.connect(BR) as sock:
        sock.sendall(b"here")
        assert sock.recv(100) == b"here"
        # The listener's port is the source of the proxy's socket to the client.
        return (algorithms(f"( sport = :{proxy.addr[1]} )"),
                algorithms(f"( dport = :{backend.addr[1]} )"))


@needs_ss
def test_congestion_control_of_the_environment(db, start, peer):
    other = other_than(kernels_own())
    backend = peer(Echo)
    db.add("only", backend)
    proxy = start(EDGEPROXY_TCP_CONGESTION=other)
    assert algorithms_of(proxy, backend) == ([other], [kernels_own()])
    proxy = start(EDGEPROXY_BACKEND_TCP_CONGESTION=other)
    assert algorithms_of(proxy, backend) == ([kernels_own()], [other])


@needs_ss
def test_congestion_control_of_the_rows(db, start, peer):
    other = other_than(kernels_own())
    db.run("ALTER TABLE backends ADD COLUMN congestion TEXT")
    db.run("ALTER TABLE services ADD COLUMN congestion TEXT")
    backend = peer(Echo)
    db.add("only", backend, congestion=other)
    proxy = start()
    assert algorithms_of(proxy, backend) == ([kernels_own()], [other])

    listen = "{}:{}".format(*proxy.addr)
    db.run("INSERT INTO services (listen, congestion) VALUES (?, ?)", listen, other)
    until(lambda: algorithms_of(proxy, backend) == ([other], [other]), "both by their rows")
    db.run("UPDATE services SET congestion = NULL")
    db.set("only", congestion=None)
    until(lambda: algorithms_of(proxy, backend) == ([kernels_own()], [kernels_own()]),
          "the kernel's own again")


def test_a_congestion_control_that_is_not_there(db, start, peer):
    """In the environment it stops the start; in a row it is said, and the row routes."""
    proxy = start(wait_ready=False, EDGEPROXY_TCP_CONGESTION="nosuch")
    assert proxy.wait_exit() == 1
    assert "EDGEPROXY_TCP_CONGESTION=nosuch" in proxy.log.text()

    db.run("ALTER TABLE backends ADD COLUMN congestion TEXT")
    db.add("only", peer(Echo), congestion="nosuch")
    proxy = start()
    assert proxy.wait_event("congestion_unusable")["name"] == "nosuch"
    with proxy.connect(BR) as sock:
        sock.sendall(b"here")
        assert sock.recv(100) == b"here"


class ResetWhenTold(Peer):
    def __init__(self):
        self.told = threading.Event()
        super().__init__()

    def script(self, sock):
        self.told.wait(PATIENCE_SECS)
        wire.reset(sock)

    def close(self):
        self.told.set()
        super().close()


def has_keepalive(backend):
    said = subprocess.run(["ss", "-tnoHO", f"( dport = :{backend.addr[1]} )"], check=True,
                          capture_output=True, text=True).stdout
    return "timer:(keepalive," in said


@needs_ss
def test_keepalive_after_a_late_retry(db, start, peer):
    """What a long connection needs, the second backend's has too, when the first resets after the
    session has become a long one."""
    first, second = peer(ResetWhenTold), peer(Silent)
    db.add("first", first, region="sa")
    db.add("second", second, region="us")
    proxy = start()
    with proxy.connect(BR):
        until(lambda: has_keepalive(first), "keepalive towards the first backend")
        first.told.set()
        until(lambda: second.accepted == 1, "the second backend's connection")
        until(lambda: has_keepalive(second), "keepalive towards the second", timeout=20)


# TFO for clients and servers, for all listeners, without cookies (ip-sysctl, tcp_fastopen).
FAST_OPEN_FOR_ALL = 0x1 | 0x2 | 0x4 | 0x200 | 0x400

INSIDE = f"""
ip link set lo up &&
sysctl -qw net.ipv4.tcp_fastopen={FAST_OPEN_FOR_ALL} net.ipv4.tcp_fastopen_blackhole_timeout_sec=0 &&
"$@"; status=$?
grep ^TcpExt: /proc/net/netstat
exit $status
"""


def fast_opens(said):
    names, values = (line.split() for line in said.splitlines() if line.startswith("TcpExt:"))
    return int(dict(zip(names, values))["TCPFastOpenActive"])


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None,
                    reason="needs a network namespace of its own: root and iproute2")
def test_everything_holds_with_fast_open():
    """Failover, replay and PROXY headers, when the first bytes travel with the SYN."""
    here = Path(__file__).parent
    tests = [str(here / name) for name in
             ("test_failover.py", "test_proxy_out.py", "test_relay.py")]
    run = subprocess.run(
        ["unshare", "--net", "sh", "-c", INSIDE, "sh", sys.executable, "-m", "pytest", "-q",
         "-p", "no:cacheprovider", "-k", "copy or not splice and not auto", *tests],
        env=os.environ | {"EDGEPROXY_TEST_EVERYWHERE": "EDGEPROXY_BACKEND_FASTOPEN=1"},
        capture_output=True, text=True, timeout=600)
    if "unshare failed" in run.stderr or "Operation not permitted" in run.stderr:
        pytest.skip("no network namespace can be made here")
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert fast_opens(run.stdout) > 20
