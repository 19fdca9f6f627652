"""Programs that people use, through the proxy: what they get is what they would get without it.

Each server is private to its test: a folder of its own, a loopback port of its own."""

import contextlib
import functools
import glob
import hashlib
import http.server
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

import wire
from harness import PATIENCE_SECS, PortHolder, until
from peers import Peer

SBIN = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def needs(*programs):
    missing = [p for p in programs if not shutil.which(p, path=SBIN)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def run(*args, **how):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True,
                          timeout=5 * PATIENCE_SECS, stdin=subprocess.DEVNULL, **how)
    assert done.returncode == 0, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def running(*args, **how):
    """A server as a child process, ended in any case."""
    process = subprocess.Popen([str(a) for a in args], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **how)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_SECS)


def answers(addr):
    def connects():
        with socket.socket() as sock:
            return sock.connect_ex(addr) == 0
    until(connects, f"a server at {addr}", pause=0.05)


@pytest.fixture
def front(db, start, any_relay_mode):
    """front(addr) is the proxy's address in front of that server. Clients send no PROXY header."""
    def make(addr):
        db.add("only", addr)
        proxy = start(EDGEPROXY_RELAY_MODE=any_relay_mode, EDGEPROXY_TRUSTED_PROXIES="")
        return proxy, proxy.addr
    return make


# HTTP

class Site(http.server.SimpleHTTPRequestHandler):
    """Files, and for uploads the digest of what came."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_PUT(self):
        digest = hashlib.sha256()
        left = int(self.headers["Content-Length"])
        while left:
            data = self.rfile.read(min(left, 1 << 18))
            digest.update(data)
            left -= len(data)
        body = digest.hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # its own default refuses twenty clients at once


@pytest.fixture
def site(tmp_path):
    """(addr, folder, stream): large.bin in the folder is the stream."""
    folder = tmp_path / "site"
    folder.mkdir()
    stream = wire.Stream((48 << 20) + 17)
    with open(folder / "large.bin", "wb") as file:
        for block in stream.blocks():
            file.write(block)
    (folder / "small.txt").write_text("small\n")
    server = Server(("127.0.0.1", 0), functools.partial(Site, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server.server_address, folder, stream
    server.shutdown()
    thread.join()
    server.server_close()


@needs("curl")
def test_curl(front, site, tmp_path):
    addr, folder, stream = site
    proxy, (host, port) = front(addr)
    url = f"http://{host}:{port}"
    out = tmp_path / "out.bin"
    run("curl", "-sS", "--fail", "--noproxy", "*", "-o", out, f"{url}/large.bin")
    assert out.stat().st_size == stream.size
    assert hashlib.sha256(out.read_bytes()).hexdigest() == stream.digest()
    assert run("curl", "-sS", "--fail", "--noproxy", "*", "-T", folder / "large.bin",
               f"{url}/upload") == stream.digest()
    # Many requests in one connection, and several connections at one time.
    text = run("curl", "-sS", "--fail", "--noproxy", "*", f"{url}/small.txt?[1-100]")
    assert text == "small\n" * 100
    text = run("curl", "-sS", "--fail", "--noproxy", "*", "-Z", "--parallel-max", "20",
               f"{url}/small.txt?[1-100]")
    assert text == "small\n" * 100
    proxy.wait_session(count=4)


@needs("curl")
def test_curl_through_a_proxy_header(db, start, site):
    """curl can send one itself."""
    db.add("only", site[0])
    proxy = start()
    text = run("curl", "-sS", "--fail", "--noproxy", "*", "--haproxy-protocol",
               "http://%s:%d/small.txt" % proxy.addr)
    assert text == "small\n"
    assert proxy.wait_session()["client"].startswith("127.0.0.1:")


# SSH

class Sshd(Peer):
    """Each connection is a `sshd -i`, so that no port has to be chosen for it."""

    def __init__(self, config, **how):
        self.command = [shutil.which("sshd", path=SBIN), "-i", "-f", str(config)]
        super().__init__(**how)

    def script(self, sock):
        sock.setblocking(True)
        subprocess.run(self.command, stdin=sock, stdout=sock, stderr=subprocess.DEVNULL,
                       check=False)


@pytest.fixture
def sshd(tmp_path, peer):
    """(addr, options): throw-away keys for both sides."""
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    for name in ("host", "client"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name)
    (tmp_path / "authorized").write_text((tmp_path / "client.pub").read_text())
    config = tmp_path / "sshd_config"
    config.write_text(
        f"HostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/authorized\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        f"PidFile none\nSubsystem sftp internal-sftp\n")
    options = ["-F", "none", "-i", tmp_path / "client", "-o", "BatchMode=yes",
               "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
               "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"]
    return peer(Sshd, config).addr, options


@needs("ssh", "scp", "sshd", "ssh-keygen")
def test_ssh_and_scp(front, sshd, tmp_path):
    addr, options = sshd
    proxy, (host, port) = front(addr)
    user = pwd.getpwuid(os.geteuid()).pw_name
    assert run("ssh", *options, "-p", port, f"{user}@{host}", "echo hello; exit 0") == "hello\n"
    stream = wire.Stream((24 << 20) + 5)
    source, copy, back = (tmp_path / name for name in ("source", "copy", "back"))
    with open(source, "wb") as file:
        for block in stream.blocks():
            file.write(block)
    run("scp", "-q", *options, "-P", port, source, f"{user}@{host}:{copy}")
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == stream.digest()
    run("scp", "-q", *options, "-P", port, f"{user}@{host}:{copy}", back)
    assert hashlib.sha256(back.read_bytes()).hexdigest() == stream.digest()
    # Half-close: what is piped in comes back, and the end with it.
    with open(source, "rb") as file:
        done = subprocess.run(
            ["ssh", *map(str, options), "-p", str(port), f"{user}@{host}", "sha256sum"],
            stdin=file, capture_output=True, text=True, timeout=PATIENCE_SECS)
    assert done.stdout.split()[:1] == [stream.digest()], done.stderr
    proxy.wait_session(lambda e: e["reason"] == "done", count=4)


# PostgreSQL

def postgres_bin():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    return Path(found[-1]) if found else None


@pytest.fixture(scope="module")
def postgres():
    """(addr, run): a cluster of its own; run(program, ...) is a client program of it."""
    bin = postgres_bin()
    if not bin or not shutil.which("psql") or not shutil.which("pgbench"):
        pytest.skip("not installed: postgresql")
    # initdb refuses to run as root, and its user must be able to reach the folder.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="edgeproxy-postgres-"))
    if user:
        shutil.chown(folder, user)
    holder = PortHolder()
    how = dict(user=user, group=user, extra_groups=[], cwd=folder) if user else dict(cwd=folder)
    env = {"PATH": os.environ["PATH"], "PGUSER": "tester", "PGDATABASE": "postgres",
           "PGCONNECT_TIMEOUT": "60", "PGSSLMODE": "disable", "HOME": str(folder), "LC_ALL": "C"}
    try:
        run(bin / "initdb", "-D", folder / "data", "-U", "tester", "-A", "trust", "-N",
            "-E", "UTF8", "--locale", "C", env=env, **how)
        with running(bin / "postgres", "-D", folder / "data", "-p", holder.port, "-h", "127.0.0.1",
                     "-k", folder, "-F", "-c", "max_connections=60", env=env, **how):
            answers(holder.addr)
            until(lambda: subprocess.run(
                ["psql", "-h", "127.0.0.1", "-p", str(holder.port), "-c", "SELECT 1"], env=env,
                capture_output=True).returncode == 0, "a database that is up", pause=0.1)

            def client(program, addr, *args):
                return run(program, "-h", addr[0], "-p", addr[1], *args, env=env)
            client("pgbench", holder.addr, "-i", "-s", "1", "-q")
            yield holder.addr, client
    finally:
        holder.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_postgres(front, postgres):
    addr, client = postgres
    proxy, here = front(addr)
    assert client("psql", here, "-Atc", "SELECT count(*) FROM pgbench_accounts") == "100000\n"
    # A large answer, compared with that of a direct connection.
    query = ("COPY (SELECT aid, md5(aid::text), repeat('x', aid % 90) FROM pgbench_accounts)"
             " TO STDOUT")
    assert client("psql", here, "-c", query) == client("psql", addr, "-c", query)
    out = client("pgbench", here, "-n", "-c", "8", "-j", "2", "-t", "50")
    assert "number of transactions actually processed: 400/400" in out
    out = client("pgbench", here, "-n", "-S", "-C", "-c", "4", "-t", "20")
    assert "number of transactions actually processed: 80/80" in out
    proxy.wait_session(lambda e: e["reason"] in ("done", "client-reset"), count=2 + 9 + 80)


# Redis

@pytest.fixture
def redis(tmp_path):
    holder = PortHolder()
    with running("redis-server", "--port", holder.port, "--bind", "127.0.0.1", "--save", "",
                 "--appendonly", "no", "--dir", tmp_path):
        answers(holder.addr)
        yield holder.addr
    holder.close()


@needs("redis-server", "redis-cli", "redis-benchmark")
def test_redis(front, redis, tmp_path):
    proxy, (host, port) = front(redis)
    cli = ["redis-cli", "-h", host, "-p", port]
    until(lambda: run(*cli, "PING") == "PONG\n", "a server that is up")
    value = tmp_path / "value"
    value.write_bytes(b"v" * (8 << 20))
    with open(value, "rb") as file:
        done = subprocess.run([*map(str, cli), "-x", "SET", "key"], stdin=file, capture_output=True,
                              text=True, timeout=PATIENCE_SECS)
    assert done.stdout == "OK\n"
    assert run(*cli, "STRLEN", "key") == f"{8 << 20}\n"
    assert run(*cli, "GET", "key") == "v" * (8 << 20) + "\n"
    out = run("redis-benchmark", "-h", host, "-p", port, "-q", "-n", "3000", "-c", "30",
              "-t", "set,get,lrange_300", "-P", "4", "-d", "500")
    assert out.count("requests per second") >= 3 and "rror" not in out
    proxy.wait_session(lambda e: e["reason"] in ("done", "client-reset"), count=30)
