"""EDGEPROXY_GEOIP_PATH: another country database, replaced while clients come."""

import os
import shutil
import threading

import pytest

from harness import DE, ROOT, until
from peers import Identity

DATA = ROOT / "tests" / "data"
# Of the files there: Brazil and the United States; `moved` says Japan and Germany of the same.
HERE, THERE = "200.147.3.157", "8.8.8.8"
FIRST = {HERE: "sa-1", THERE: "us-1"}
MOVED = {HERE: "ap-1", THERE: "eu-1"}


@pytest.fixture
def world(db, peer):
    for region in ("sa", "us", "eu", "ap"):
        db.add(f"{region}-1", peer(Identity, f"{region}-1"), region=region)
    return db


@pytest.fixture
def geo(tmp_path):
    """A database file that may be replaced."""
    path = tmp_path / "geo.mmdb"
    shutil.copy(DATA / "maxmind-country.mmdb", path)
    return path


def replace(path, name, temp="fresh.mmdb"):
    fresh = path.with_name(temp)
    shutil.copy(DATA / name, fresh)
    os.replace(fresh, path)


def where(proxy):
    return {src: proxy.label(src) for src in FIRST}


@pytest.mark.parametrize("name", ["maxmind-country.mmdb", "maxmind-city.mmdb", "plain-country.mmdb",
                                  "ipv4-only.mmdb"])
def test_every_layout_works(world, start, name):
    proxy = start(EDGEPROXY_GEOIP_PATH=DATA / name)
    assert where(proxy) == FIRST
    loaded = proxy.wait_event("geo_loaded")
    assert loaded["type"] and "build" in loaded


@pytest.mark.concurrency
def test_replaced_under_load(world, start, geo):
    proxy = start(EDGEPROXY_GEOIP_PATH=geo, EDGEPROXY_BINDING_TTL_SECS=0)
    stop, wrong, served = threading.Event(), [], []

    def clients():
        while not stop.is_set():
            label = proxy.label(HERE)
            served.append(label)
            if label not in (FIRST[HERE], MOVED[HERE]):
                wrong.append(label)

    threads = [threading.Thread(target=clients) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for name, expected in [("moved.mmdb", MOVED), ("maxmind-city.mmdb", FIRST)] * 2:
            replace(geo, name)
            until(lambda: where(proxy) == expected, f"the answers of {name}")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert served and not wrong
    proxy.wait_event("geo_loaded", count=5)


@pytest.mark.parametrize("name", ["broken-truncated.mmdb", "broken-marker.mmdb",
                                  "broken-no-country.mmdb", "broken-elsewhere.mmdb"])
def test_a_broken_file_keeps_the_old_one(world, start, geo, name):
    proxy = start(EDGEPROXY_GEOIP_PATH=geo, EDGEPROXY_BINDING_TTL_SECS=0)
    replace(geo, name)
    failed = proxy.wait_event("geo_failed")
    assert failed["level"] in ("error", "warn")
    assert where(proxy) == FIRST
    replace(geo, "moved.mmdb")
    until(lambda: where(proxy) == MOVED, "the next good file")


def test_written_in_place(world, start, geo):
    """Neither a truncation nor half a file can hurt a lookup."""
    proxy = start(EDGEPROXY_GEOIP_PATH=geo, EDGEPROXY_BINDING_TTL_SECS=0)
    os.truncate(geo, 100)
    proxy.wait_event("geo_failed")
    assert where(proxy) == FIRST
    geo.write_bytes((DATA / "moved.mmdb").read_bytes())
    until(lambda: where(proxy) == MOVED, "the whole file")


def test_removed_and_back(world, start, geo):
    proxy = start(EDGEPROXY_GEOIP_PATH=geo, EDGEPROXY_BINDING_TTL_SECS=0)
    geo.unlink()
    for _ in range(20):
        assert where(proxy) == FIRST
    replace(geo, "moved.mmdb")
    until(lambda: where(proxy) == MOVED, "the new file")


def test_the_embedded_one_is_the_default(world, start):
    proxy = start()
    assert proxy.label(DE) == "eu-1"
    assert proxy.wait_event("geo_loaded")
