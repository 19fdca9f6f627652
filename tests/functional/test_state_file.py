"""A restart keeps who had which backend; a state file that cannot be used costs only that."""

import os
import resource
import shutil
import struct

import pytest

from harness import until
from peers import Identity

CLIENTS = [f"200.160.1.{n}" for n in range(1, 101)]


@pytest.fixture
def start(start, port):
    """Bindings are of an address, so a restart listens on the same one."""
    listen = port()
    return lambda **env: start(EDGEPROXY_LISTEN_ADDR=listen, **env)


@pytest.fixture
def eight(db, peer):
    for number in range(8):
        db.add(f"sa-{number}", peer(Identity, f"sa-{number}"))
    return db


def labels(proxy):
    return {client: proxy.label(client) for client in CLIENTS}


def first_life(start, state, **env):
    proxy = start(EDGEPROXY_STATE_DIR=state, **env)
    had = labels(proxy)
    assert len(set(had.values())) == 8
    proxy.stop()
    return had


def test_restart(eight, start, state):
    had = first_life(start, state)
    proxy = start(EDGEPROXY_STATE_DIR=state, EDGEPROXY_RANDOM_SEED=2)
    loaded = proxy.wait_event("state_loaded")
    assert (loaded["bindings"], loaded["expired"], loaded["unknown"]) == ("100", "0", "0")
    assert labels(proxy) == had
    assert {e["affinity"] for e in proxy.wait_session(count=100) and proxy.sessions()} == {"hit"}


def test_after_a_kill_there_is_what_was_saved_on_the_way(eight, start, state):
    proxy = start(EDGEPROXY_STATE_DIR=state, EDGEPROXY_STATE_SAVE_SECS=1, EDGEPROXY_LOG_LEVEL="debug")
    had = labels(proxy)
    proxy.wait_event("state_saved", lambda e: e["bindings"] == "100")
    proxy.process.kill()
    proxy.wait_exit()
    again = start(EDGEPROXY_STATE_DIR=state, EDGEPROXY_RANDOM_SEED=2)
    assert labels(again) == had
    assert [f.name for f in state.iterdir() if f.name.startswith("state.bin.")] == []


def test_a_backend_that_is_gone(eight, start, state):
    had = first_life(start, state)
    eight.remove("sa-3")
    proxy = start(EDGEPROXY_STATE_DIR=state, EDGEPROXY_RANDOM_SEED=2)
    assert int(proxy.wait_event("state_loaded")["unknown"]) == list(had.values()).count("sa-3")
    now = labels(proxy)
    assert {c: l for c, l in now.items() if had[c] != "sa-3"} == {
        c: l for c, l in had.items() if l != "sa-3"}


def test_what_has_expired_is_not_taken(eight, start, state):
    first_life(start, state, EDGEPROXY_BINDING_TTL_SECS=1)
    path = state / "state.bin"

    def expired():
        """The time to live goes on while nobody runs."""
        kept = path.read_bytes()
        proxy = start(EDGEPROXY_STATE_DIR=state, EDGEPROXY_BINDING_TTL_SECS=1)
        loaded = proxy.wait_event("state_loaded")
        proxy.stop()
        path.write_bytes(kept)
        return loaded["bindings"] == "0" and loaded["expired"] != "0"
    until(expired, "an end of the time to live")


DAMAGE = {
    "empty": lambda data: b"",
    "cut in the header": lambda data: data[:40],
    "cut in a record": lambda data: data[:-50],
    "cut before the end": lambda data: data[:-24],
    "one bit": lambda data: data[:len(data) // 2] + bytes([data[len(data) // 2] ^ 1])
    + data[len(data) // 2 + 1:],
    "older version": lambda data: data[:8] + struct.pack("=I", 0) + data[12:],
    "newer version": lambda data: data[:8] + struct.pack("=I", 99) + data[12:],
    "foreign": lambda data: b"SQLite format 3\0" * 100,
    "zeroes": lambda data: bytes(len(data)),
    "more behind it": lambda data: data + b"x" * 16,
    "twice": lambda data: data + data,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_one_is_ignored(eight, start, state, kind):
    first_life(start, state)
    path = state / "state.bin"
    path.write_bytes(DAMAGE[kind](path.read_bytes()))
    proxy = start(EDGEPROXY_STATE_DIR=state)
    ignored, = proxy.log.find("state_ignored")
    assert ignored["error"] and ignored["level"] == "warn"
    if "version" in kind:
        assert "version" in ignored["error"]
    had = labels(proxy)
    proxy.stop()
    again = start(EDGEPROXY_STATE_DIR=state, EDGEPROXY_RANDOM_SEED=2)
    assert labels(again) == had


@pytest.mark.parametrize("kind", ["directory", "unreadable", "fifo", "dangling link"])
def test_something_else_in_its_place(eight, start, state, kind):
    path = state / "state.bin"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "dangling link":
        path.symlink_to(state / "nowhere")
    else:
        path.write_bytes(b"x")
        path.chmod(0)
    proxy = start(EDGEPROXY_STATE_DIR=state)
    assert len(set(labels(proxy).values())) == 8
    proxy.stop()


def test_a_folder_that_is_gone(eight, start, state):
    proxy = start(EDGEPROXY_STATE_DIR=state, EDGEPROXY_STATE_SAVE_SECS=1)
    shutil.rmtree(state)
    labels(proxy)
    assert "effect" in proxy.wait_event("state_not_saved")
    labels(proxy)


def test_a_limit_of_file_size_is_no_reason_to_end(eight, start, state):
    """The kernel's signal for it (SIGXFSZ) would end the process."""
    proxy = start(EDGEPROXY_STATE_DIR=state, EDGEPROXY_STATE_SAVE_SECS=1)
    resource.prlimit(proxy.pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    had = labels(proxy)
    failed = proxy.wait_event("state_not_saved")
    assert "too large" in failed["error"].lower()
    assert labels(proxy) == had
