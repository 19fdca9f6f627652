"""The last good routing table outlives the process, for a start without a database."""

import pytest

from harness import BR, until
from peers import Identity


@pytest.fixture
def one(db, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    return db


def first_run(start, state):
    """Loads the database once and ends."""
    proxy = start(EDGEPROXY_STATE_DIR=state, EDGEPROXY_BINDING_TTL_SECS=0)
    assert proxy.wait_event("table_loaded")["source"] == "database"
    assert proxy.label(BR) == "sa-1"
    proxy.stop()
    assert list(state.iterdir())


@pytest.mark.parametrize("garbage", [None, b"", b"not a database" * 100])
def test_it_serves_while_the_database_is_missing(one, start, state, garbage, peer):
    first_run(start, state)
    kept = one.path.read_bytes()
    one.path.unlink()
    if garbage is not None:
        one.path.write_bytes(garbage)

    proxy = start(EDGEPROXY_STATE_DIR=state, EDGEPROXY_BINDING_TTL_SECS=0)
    assert proxy.wait_event("table_loaded")["source"] == "last-good"
    assert proxy.log.find("reload_failed")
    assert proxy.label(BR) == "sa-1"

    # The database comes back, and counts again.
    fresh = peer(Identity, "fresh")
    one.path.unlink(missing_ok=True)
    one.path.write_bytes(kept)
    one.add("sa-2", fresh, country="BR")
    until(lambda: proxy.label("200.160.2.77") == "fresh", "the database again")


def test_what_was_learnt_at_run_time_is_kept(one, start, state, peer):
    proxy = start(EDGEPROXY_STATE_DIR=state, EDGEPROXY_BINDING_TTL_SECS=0)
    one.add("sa-2", peer(Identity, "sa-2"), country="BR")
    until(lambda: proxy.label("200.160.2.77") == "sa-2", "the new backend")
    one.path.unlink()
    proxy.wait_event("reload_failed")
    proxy.stop()
    again = start(EDGEPROXY_STATE_DIR=state, EDGEPROXY_BINDING_TTL_SECS=0)
    assert again.label(BR) == "sa-2"


def test_a_damaged_one_is_not_used(one, start, state):
    first_run(start, state)
    for file in state.iterdir():
        if file.is_file():
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 0xFF
            file.write_bytes(data)
    one.path.unlink()
    proxy = start(EDGEPROXY_STATE_DIR=state, EDGEPROXY_BINDING_TTL_SECS=0, wait_ready=False)
    until(lambda: proxy.log.find("reload_failed") or proxy.log.ended, "news of a missing database")
    assert not proxy.log.find("table_loaded", lambda e: e.get("source") == "last-good")


def test_the_database_goes_first(one, start, state, peer):
    first_run(start, state)
    one.set("sa-1", port=peer(Identity, "moved").addr[1])
    proxy = start(EDGEPROXY_STATE_DIR=state, EDGEPROXY_BINDING_TTL_SECS=0)
    assert proxy.wait_event("table_loaded")["source"] == "database"
    assert proxy.label(BR) == "moved"


def test_a_state_folder_that_cannot_be_written_is_no_reason_to_stop(one, start, tmp_path):
    proxy = start(EDGEPROXY_STATE_DIR=tmp_path / "missing")
    assert proxy.label(BR) == "sa-1"
