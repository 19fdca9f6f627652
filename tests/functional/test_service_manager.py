"""What systemd does and hears, without systemd: passed sockets, and messages to a socket."""

import contextlib
import os
import signal
import socket
import sys
import time

import pytest

import harness
import wire
from harness import BR, join_addr, until
from peers import Identity
from test_upgrade import LONG, alive

# Puts the descriptors at 3, 4 … and says so to whom it becomes.
SHIM = """
import os, sys
fds = [int(fd) for fd in os.environ.pop("SHIM_FDS").split(",") if fd]
high = [os.dup2(fd, 100 + n) for n, fd in enumerate(fds)]
for number, fd in enumerate(high):
    os.dup2(fd, 3 + number, inheritable=True)
    os.close(fd)
os.environ["LISTEN_FDS"] = str(len(fds))
os.environ["LISTEN_FDNAMES"] = ":".join("name" for fd in fds)
os.environ["LISTEN_PID"] = str(os.getpid() + int(os.environ.pop("SHIM_PID_OFFSET", "0")))
os.execv(sys.argv[1], [sys.argv[1]])
"""


@pytest.fixture
def activated(db, start, monkeypatch):
    """activated(sockets, ...) starts the proxy with these sockets as a service manager does."""
    def make(sockets, **env):
        real = harness.subprocess.Popen

        def popen(command, **how):
            fds = [sock.fileno() for sock in sockets]
            how["env"]["SHIM_FDS"] = ",".join(map(str, fds))
            return real([sys.executable, "-c", SHIM, command[-1]], pass_fds=fds, **how)
        with monkeypatch.context() as patch:
            patch.setattr(harness.subprocess, "Popen", popen)
            return start(**env)
    return make


@pytest.fixture
def manager(tmp_path):
    """A service manager's ear."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "notify"))
    sock.settimeout(harness.PATIENCE_SECS)
    yield sock
    sock.close()


def hear(sock, wanted):
    """Messages up to the first that has this line."""
    heard = []
    end = time.monotonic() + harness.PATIENCE_SECS
    while not any(wanted in message for message in heard):
        assert time.monotonic() < end, f"never heard: {wanted}; only {heard[-5:]}"
        heard.append(sock.recv(1000).decode().splitlines())
    return heard


def test_passed_sockets(db, activated, peer, port):
    db.add("sa-1", peer(Identity, "sa-1"))
    with socket.create_server(("127.0.0.1", 0)) as own, \
            socket.create_server(("127.0.0.1", 0)) as service, \
            socket.create_server(("127.0.0.1", 0)) as stranger, socket.socket() as no_listener:
        db.service(join_addr(service.getsockname()))
        with contextlib.closing(socket.create_connection(own.getsockname())) as early:
            # It connected before there was a proxy.
            early.sendall(wire.header(2, (BR, 5555), ("127.0.0.1", 1)))
            proxy = activated([own, service, stranger, no_listener],
                              EDGEPROXY_LISTEN_ADDR=join_addr(own.getsockname()))
            assert early.recv(100) == b"sa-1\n"
        assert proxy.label(BR, to=service.getsockname()) == "sa-1"
        assert proxy.wait_event("socket_unmatched")["addr"] == join_addr(stranger.getsockname())
        assert proxy.wait_event("socket_unusable")["fd"] == "6"
        assert not proxy.log.find("config_warning")
        # The manager listens on: who comes when the proxy has gone waits for the next one.
        proxy.stop()
        with socket.create_connection(own.getsockname()) as waiting:
            waiting.sendall(wire.header(2, (BR, 5555), ("127.0.0.1", 1)))
            proxy = activated([own], EDGEPROXY_LISTEN_ADDR=join_addr(own.getsockname()))
            assert waiting.recv(100) == b"sa-1\n"


def test_sockets_for_somebody_else(db, activated, peer):
    """LISTEN_PID is that of another process: they are not for this one."""
    db.add("sa-1", peer(Identity, "sa-1"))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        proxy = activated([sock], SHIM_PID_OFFSET=1)
        assert proxy.addr != sock.getsockname()
        assert proxy.label(BR) == "sa-1"


@pytest.mark.parametrize("abstract", [False, True])
def test_notify(db, start, peer, tmp_path, abstract):
    db.add("sa-1", peer(Identity, "sa-1"))
    name = f"\0edgeproxy-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name)
        sock.settimeout(harness.PATIENCE_SECS)
        proxy = start(NOTIFY_SOCKET=name.replace("\0", "@"), WATCHDOG_USEC=200000)
        first, = hear(sock, "READY=1")
        assert "STATUS=serving" in first
        for _ in range(3):
            hear(sock, "WATCHDOG=1")
        assert proxy.label(BR) == "sa-1"
        proxy.kill(signal.SIGTERM)
        hear(sock, "STOPPING=1")


def test_notify_of_an_upgrade(db, start, peer, manager):
    """The service is the new process from then on, and the old one says no more."""
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy = start(NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC=100000,
                  WATCHDOG_PID="unset", **LONG)
    hear(manager, "READY=1")
    with proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        proxy.kill(signal.SIGUSR2)
        new = int(proxy.wait_event("took_over")["pid"])
        hear(manager, f"MAINPID={new}")
    assert proxy.process.wait(60) == 0
    for _ in range(3):
        hear(manager, "WATCHDOG=1")
    os.kill(new, signal.SIGTERM)
    heard = hear(manager, "STOPPING=1")
    assert all("STOPPING=1" in m or "WATCHDOG=1" in m or "READY=1" in m for m in heard)
    until(lambda: not alive(new), "the end of the new process")


def test_another_processs_watchdog(db, start, peer, manager):
    proxy = start(NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC=1000, WATCHDOG_PID=1)
    hear(manager, "READY=1")
    proxy.stop()
    assert not any("WATCHDOG=1" in message for message in hear(manager, "STOPPING=1"))


def fill(manager):
    """Until the kernel holds no more for it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.sendto(b"X=1", manager.getsockname())


def refused(addr):
    with socket.socket() as sock:
        return sock.connect_ex(addr) != 0


def test_a_stop_does_not_wait_for_a_manager_that_does_not_read(db, start, peer, port, manager):
    """The control thread goes on meanwhile, and tells it when it reads again."""
    db.add("sa-1", peer(Identity, "sa-1"))
    listen = dict(EDGEPROXY_LISTEN_ADDR=port())
    proxy = start(NOTIFY_SOCKET=manager.getsockname(), EDGEPROXY_SHUTDOWN_TIMEOUT_SECS=3600,
                  **listen)
    hear(manager, "READY=1")
    with proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        fill(manager)
        proxy.kill(signal.SIGTERM)
        until(lambda: refused(proxy.addr), "the end of the listener")
        until(lambda: "stopping" in harness.run_cli("healthcheck", env=listen).stderr,
              "an answer of the control thread")
        hear(manager, "STOPPING=1")
    assert proxy.wait_exit() == 0


def test_activated_and_upgraded(db, activated, peer):
    """Passed sockets are passed on, and still not this program's to end."""
    db.add("sa-1", peer(Identity, "sa-1"))
    with socket.create_server(("127.0.0.1", 0)) as own:
        addr = own.getsockname()
        proxy = activated([own], EDGEPROXY_LISTEN_ADDR=join_addr(addr), **LONG)
        proxy.kill(signal.SIGUSR2)
        new = int(proxy.wait_event("took_over")["pid"])
        assert proxy.process.wait(60) == 0
        assert proxy.label(BR, to=addr) == "sa-1"
        os.kill(new, signal.SIGTERM)
        until(lambda: not alive(new), "the end of the new process")
        with socket.socket() as sock:
            assert sock.connect_ex(addr) == 0
