"""What is measured: edgeProxy and its peers, each started with the configuration that the report
shows, on loopback, in front of the same backend ports.

Every peer logs one line a connection into a file on a memory file system.
"""

import dataclasses
import os
import pathlib
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import time

FILES = 20000  # file descriptors of each process: two a connection, for 9,400 of them
PROXY_PORT = 21000
SERVER_PORT = 20000
SERVER_PORTS = 4
# Addresses of clients: public ones (of the registry of Brazil), so that a geo lookup finds something,
# but routed to loopback in the bench's own network namespace.
CLIENT_NETWORK = "200.160.0.0/16"
CLIENTS = "200.160.0.1/200"
PATIENCE_S = 15
CPUS = frozenset(os.sched_getaffinity(0))

HAPROXY = """\
global
    log stdout format raw local0 info
    maxconn 9600
    nbthread {threads}
{tuned_global}
defaults
    log global
    mode tcp
    option tcplog
    option dontlognull
    timeout connect 5000
    timeout client 50000
    timeout server 50000
{tuned_defaults}
frontend bench
    bind 127.0.0.1:{port}
    default_backend bench

backend bench
{servers}
"""
HAPROXY_SERVER = "    server s{n} 127.0.0.1:{port}"
HAPROXY_TUNED_GLOBAL = """\
    tune.bufsize 65536
    tune.pipesize 1048576
    maxpipes 128
"""
HAPROXY_TUNED_DEFAULTS = """\
    option splice-auto
"""

NGINX = """\
load_module {module};
daemon off;
user root;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
worker_processes {threads};
worker_rlimit_nofile 20000;
events {{
    worker_connections 19900;
}}
stream {{
    log_format basic '$remote_addr [$time_local] $protocol $status $bytes_sent $bytes_received '
                     '$session_time $upstream_addr';
    access_log {folder}/nginx-access.log basic;
{tuned}    upstream bench {{
{servers}
    }}
    server {{
        listen 127.0.0.1:{port}{reuseport};
        proxy_pass bench;
    }}
}}
"""
NGINX_SERVER = "        server 127.0.0.1:{port};"
NGINX_TUNED = """\
    proxy_buffer_size 64k;
"""
NGINX_MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a scenario wants of every peer."""

    threads: int = 1
    pinned: bool = False  # the proxy on the last CPU, clients and backends on the others
    env: tuple = ()  # more variables for edgeProxy


def cpu_clock(pid):
    """The clock of all the CPU time of a process (clock_getcpuclockid)."""
    return (~pid << 3) | 2


def cpu_s(pids):
    total = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime(cpu_clock(pid))
        except OSError:
            pass
    return total


def limit_files():
    """20,000 descriptors for this process and all that it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES and os.geteuid() != 0:
        raise SystemExit(f"bench: {FILES} file descriptors are needed, {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))


def wait_for_port(port, child, what):
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if child.poll() is not None:
            break
        time.sleep(0.01)
    raise RuntimeError(f"{what} does not listen")


def end(child):
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(3)
        except subprocess.TimeoutExpired:
            child.kill()
    child.wait()


def children_of(pid):
    path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()]


def memory_kb(pids):
    """Private memory that was written to, in KB."""
    total = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_Dirty:"):
                total += int(line.split()[1])
    return total


def route_to(path, binary, rows=SERVER_PORTS):
    """A routing.db in which every row is one of the backend ports, with room for everything."""
    subprocess.run([binary, "db", "init", path], check=True, stdout=subprocess.DEVNULL)
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM backends")
        db.executemany(
            "INSERT INTO backends (id, app, region, wg_ip, port, healthy, weight, soft_limit,"
            " hard_limit, deleted) VALUES (?, 'bench', 'sa', '127.0.0.1', ?, 1, 1, 100000, 200000, 0)",
            ((f"bench-{n}", SERVER_PORT + n % SERVER_PORTS) for n in range(rows)))
    db.close()


class Peer:
    """One thing to measure. start() and stop() go in pairs."""

    key = title = ""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.child = None
        self.pids = []

    port = PROXY_PORT

    def available(self):
        return True

    def command(self, setting):
        """The command, its environment, and the file for its output."""
        raise NotImplementedError

    def start(self, setting):
        command, env, log = self.command(setting)
        self.log = self.folder / log

        def place():
            os.sched_setaffinity(0, {max(CPUS)} if setting.pinned else CPUS)

        with open(self.log, "wb") as out:
            self.child = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out,
                                          stderr=out, preexec_fn=place)
        wait_for_port(self.port, self.child, self.key)
        time.sleep(0.05)  # workers of nginx
        self.pids = [self.child.pid, *children_of(self.child.pid)]

    def cpus_left(self, setting):
        """Where clients and backends run."""
        return CPUS - {max(CPUS)} if setting.pinned else CPUS

    def stop(self):
        if self.child is not None:
            end(self.child)
        self.child = None
        for old in self.folder.glob("*.log"):
            old.unlink()


class Direct(Peer):
    key, title = "direct", "direct"
    port = SERVER_PORT

    def start(self, setting):
        pass

    def cpus_left(self, setting):
        return CPUS


class EdgeProxy(Peer):
    key, title = "edgeproxy", "edgeProxy"
    env = {}
    rows = SERVER_PORTS

    def __init__(self, folder, binary):
        super().__init__(folder)
        self.binary = binary

    def database(self):
        path = self.folder / f"routing-{self.rows}.db"
        if not path.exists():
            route_to(path, self.binary, self.rows)
        return path

    def command(self, setting):
        env = {k: v for k, v in os.environ.items() if not k.startswith("EDGEPROXY_")}
        env.update(self.settings(setting))
        return [self.binary], env, "edgeproxy.log"

    def settings(self, setting):
        return {
            "EDGEPROXY_LISTEN_ADDR": f"127.0.0.1:{self.port}",
            "EDGEPROXY_DB_PATH": str(self.database()),
            "EDGEPROXY_WORKERS": str(setting.threads),
            **self.env,
            **dict(setting.env),
        }


class HaProxy(Peer):
    key, title = "haproxy", "HAProxy"
    tuned = False

    def available(self):
        return shutil.which("haproxy") is not None

    def config(self, threads):
        servers = (HAPROXY_SERVER.format(n=n, port=SERVER_PORT + n) for n in range(SERVER_PORTS))
        return HAPROXY.format(
            threads=threads, port=self.port, servers="\n".join(servers),
            tuned_global=HAPROXY_TUNED_GLOBAL if self.tuned else "",
            tuned_defaults=HAPROXY_TUNED_DEFAULTS if self.tuned else "")

    def command(self, setting):
        path = self.folder / f"{self.key}.cfg"
        path.write_text(self.config(setting.threads))
        return ["haproxy", "-db", "-f", path], None, "haproxy.log"


class HaProxyTuned(HaProxy):
    key, title, tuned = "haproxy64", "HAProxy tuned", True


class Nginx(Peer):
    key, title = "nginx", "nginx"
    tuned = False

    def module(self):
        paths = (pathlib.Path(folder) / "ngx_stream_module.so" for folder in NGINX_MODULES)
        return next((path for path in paths if path.exists()), None)

    def available(self):
        return shutil.which("nginx") is not None and self.module() is not None

    def config(self, threads):
        servers = (NGINX_SERVER.format(port=SERVER_PORT + n) for n in range(SERVER_PORTS))
        return NGINX.format(
            threads=threads, port=self.port, servers="\n".join(servers), folder=self.folder,
            module=self.module(), tuned=NGINX_TUNED if self.tuned else "",
            reuseport=" reuseport" if self.tuned else "")

    def command(self, setting):
        path = self.folder / f"{self.key}.conf"
        path.write_text(self.config(setting.threads))
        return ["nginx", "-p", str(self.folder), "-c", path], None, "nginx.log"


class NginxTuned(Nginx):
    key, title, tuned = "nginx64", "nginx tuned", True


def all_peers(folder, binary):
    """In the order of every round and table."""
    peers = (Direct(folder), EdgeProxy(folder, binary), HaProxy(folder), HaProxyTuned(folder),
             Nginx(folder), NginxTuned(folder))
    return {peer.key: peer for peer in peers}
