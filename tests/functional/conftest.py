import os
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(__file__))

import harness  # noqa: E402
from peers import Identity  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "concurrency: many clients at one time")


def pytest_sessionstart(session):
    if not harness.BINARY.exists():
        pytest.exit(f"no binary {harness.BINARY}: build it, or set EDGEPROXY_BIN", 2)


@pytest.fixture
def db(tmp_path):
    """An empty routing database with every table."""
    return harness.RoutingDb(tmp_path / "routing.db")


@pytest.fixture
def peer():
    """peer(Kind, ...) makes a scripted backend and closes it after the test."""
    made = []

    def make(kind, *args, **how):
        made.append(kind(*args, **how))
        return made[-1]

    yield make
    for one in made:
        one.close()
        if one.errors:
            print(f"{type(one).__name__} {one.addr}: {one.errors[:5]}")


@pytest.fixture
def port():
    """port(host) is an address that only this test has, for where port 0 is not allowed."""
    holders = []

    def make(host="127.0.0.1"):
        holders.append(harness.PortHolder(host))
        return harness.join_addr(holders[-1].addr)

    yield make
    for one in holders:
        one.close()


@pytest.fixture
def start(db):
    """start(VARIABLE=value, ...) runs the proxy on db; its end is part of every test."""
    made = []

    def make(wait_ready=True, db=db, limit_fds=None, **env):
        made.append(harness.Proxy(db, env, limit_fds))
        if wait_ready:
            made[-1].ready = made[-1].wait_event("ready")
        return made[-1]

    yield make
    problems = []
    for one in made:
        try:
            one.stop()
        except AssertionError as error:
            problems.append(error)
        print(f"log of process {one.pid}:\n{one.log.tail()}")
    if problems:
        raise problems[0]


@pytest.fixture
def pair(db, peer):
    """Two backends that are equally good, by id."""
    backends = {id: peer(Identity, id) for id in ("sa-1", "sa-2")}
    for id, backend in backends.items():
        db.add(id, backend)
    return backends


@pytest.fixture
def serve(db, start):
    """serve(backend, mode) is a proxy in front of that one backend."""
    def make(backend, mode, **env):
        db.add("only", backend)
        return start(EDGEPROXY_RELAY_MODE=mode, **env)
    return make


@pytest.fixture
def state(tmp_path):
    """For EDGEPROXY_STATE_DIR."""
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture(params=["copy", "splice"])
def relay_mode(request):
    """Both ways to move bytes."""
    return request.param


@pytest.fixture(params=["copy", "splice", "auto"])
def any_relay_mode(request):
    """Both ways, and the change from one to the other."""
    return request.param


@pytest.fixture
def control_path():
    """Where a proxy may have its control socket: tmp_path can be too long for one."""
    folder = tempfile.mkdtemp(dir="/tmp")
    yield os.path.join(folder, "control.sock")
    shutil.rmtree(folder)
