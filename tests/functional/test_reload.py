"""The routing database changes under a running proxy: new connections follow, nobody is hurt.

Every test here sets EDGEPROXY_DB_RELOAD_SECS to a day, so only the quick way can see a change."""

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import threading
import time

import pytest

import wire
from harness import BR, RoutingDb, join_addr, until
from peers import Identity

DAY = 86400


@pytest.fixture
def pair(db, peer):
    """sa-1 and sa-2, of which clients get sa-1 while it is alone in their country."""
    backends = {id: peer(Identity, id) for id in ("sa-1", "sa-2")}
    db.add("sa-1", backends["sa-1"], country="BR")
    db.add("sa-2", backends["sa-2"], country="AR")
    return backends


@pytest.fixture
def begin(start):
    def make(**env):
        return start(**{"EDGEPROXY_DB_RELOAD_SECS": DAY, "EDGEPROXY_BINDING_TTL_SECS": 0, **env})
    return make


def goes_to(proxy, label):
    until(lambda: proxy.label(BR) == label, f"a client at {label}", pause=0.001)


class Traffic:
    """Clients that come all the time while something happens; none may fail."""

    def __init__(self, proxy, clients=2):
        self.labels = []
        self.errors = []
        self._proxy = proxy
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def _run(self):
        while not self._stop.is_set():
            try:
                self.labels.append(self._proxy.label(BR))
            except OSError as error:
                self.errors.append(error)
                return

    def wait_more(self, count=20):
        have = len(self.labels)
        until(lambda: self.errors or len(self.labels) >= have + count, "more clients")

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.wait_more()
        return self

    def __exit__(self, kind, *rest):
        if kind is None:
            self.wait_more()
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if kind is None:
            assert not self.errors
            assert "" not in self.labels, "a client was turned away"


def write_by_python(db, sql):
    db.run(sql)


def write_by_cli(db, sql):
    subprocess.run(["sqlite3", "-cmd", ".timeout 30000", db.path, sql], check=True)


@pytest.mark.parametrize("journal", ["delete", "truncate", "persist", "wal"])
@pytest.mark.parametrize("write", [write_by_python, write_by_cli], ids=["python", "cli"])
def test_a_write_is_seen(db, begin, pair, journal, write):
    if write is write_by_cli and not shutil.which("sqlite3"):
        pytest.skip("no sqlite3")
    db.run_script(f"PRAGMA journal_mode = {journal}")
    proxy = begin()
    goes_to(proxy, "sa-1")
    took = []
    for healthy, label in [(0, "sa-2"), (1, "sa-1")] * 3:
        write(db, f"UPDATE backends SET healthy = {healthy} WHERE id = 'sa-1'")
        written = time.monotonic()
        goes_to(proxy, label)
        took.append((time.monotonic() - written) * 1000)
    print(f"REPORT a write ({journal}) is visible to new connections after",
          " ".join(f"{ms:.0f}" for ms in took), "ms")


def test_a_writer_that_stays_connected(db, begin, pair):
    """Its WAL is not checkpointed, and its uncommitted rows are not seen."""
    db.run_script("PRAGMA journal_mode = wal")
    proxy = begin()
    with contextlib.closing(sqlite3.connect(db.path, isolation_level=None)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        for healthy, before, after in [(0, "sa-1", "sa-2"), (1, "sa-2", "sa-1")]:
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("UPDATE backends SET healthy = ? WHERE id = 'sa-1'", (healthy,))
            for _ in range(20):
                assert proxy.label(BR) == before
            writer.execute("COMMIT")
            goes_to(proxy, after)


def test_a_writer_that_holds_its_lock(db, begin, pair):
    """The old table serves meanwhile, and that is no error."""
    proxy = begin()
    with contextlib.closing(sqlite3.connect(db.path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        writer.execute("UPDATE backends SET healthy = 0 WHERE id = 'sa-1'")
        for _ in range(100):
            assert proxy.label(BR) == "sa-1"
        writer.execute("COMMIT")
    goes_to(proxy, "sa-2")


def test_no_difference_no_new_table(db, begin, pair):
    proxy = begin()
    before = int(proxy.wait_event("table_loaded")["version"])
    db.run("UPDATE backends SET weight = weight")
    db.run("CREATE TABLE others (a)")
    db.run("INSERT INTO others VALUES (1)")
    for _ in range(50):
        assert proxy.label(BR) == "sa-1"
    mark = proxy.mark()
    db.set("sa-1", healthy=0)
    loaded = proxy.wait_event("table_loaded", since=mark)
    assert int(loaded["version"]) == before + 1
    assert (loaded["backends"], loaded["usable"], loaded["quarantined"]) == ("2", "1", "0")


def test_what_appears_and_disappears(db, begin, pair, peer):
    proxy = begin()
    db.set("sa-1", country="AR")
    db.add("sa-0", peer(Identity, "sa-0"), country="BR")
    goes_to(proxy, "sa-0")
    db.remove("sa-0")
    until(lambda: proxy.label(BR) in ("sa-1", "sa-2"), "the others")


def test_a_removed_backend_keeps_its_clients(db, begin, pair):
    proxy = begin()
    with proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        db.remove("sa-1")
        goes_to(proxy, "sa-2")
        sock.sendall(b"still here")
        assert sock.recv(100) == b"still here"
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(100) == b""
    session = proxy.wait_session(lambda e: e["backend"] == "sa-1")
    assert session["reason"] == "done"


def test_optional_tables_change_too(db, begin, peer):
    db.add("sa-1", peer(Identity, "sa-1"), region="sa")
    db.add("eu-1", peer(Identity, "eu-1"), region="eu")
    proxy = begin()
    goes_to(proxy, "sa-1")
    db.override("200.160.0.0/16", region="eu")
    goes_to(proxy, "eu-1")
    db.run("DELETE FROM geo_overrides")
    goes_to(proxy, "sa-1")
    db.country_region("BR", "eu")
    goes_to(proxy, "eu-1")
    db.run("DROP TABLE country_regions")
    goes_to(proxy, "sa-1")


@pytest.mark.concurrency
def test_replaced_by_rename_under_load(db, begin, pair, tmp_path):
    proxy = begin()
    with Traffic(proxy) as traffic:
        for healthy, label in [(0, "sa-2"), (1, "sa-1"), (0, "sa-2")]:
            fresh = RoutingDb(tmp_path / "fresh.db")
            fresh.add("sa-1", pair["sa-1"], country="BR", healthy=healthy)
            fresh.add("sa-2", pair["sa-2"], country="AR")
            os.replace(fresh.path, db.path)
            goes_to(proxy, label)
            traffic.wait_more()
    assert not proxy.log.find("reload_failed")


@pytest.mark.concurrency
def test_removed_and_made_again_under_load(db, begin, pair):
    proxy = begin()
    with Traffic(proxy) as traffic:
        mark = proxy.mark()
        db.path.unlink()
        failed = proxy.wait_event("reload_failed", since=mark)
        assert failed["level"] == "error"
        traffic.wait_more()
        db.create()
        db.add("sa-1", pair["sa-1"], country="BR", healthy=0)
        db.add("sa-2", pair["sa-2"], country="AR")
        goes_to(proxy, "sa-2")


@pytest.mark.concurrency
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_truncated_in_place_under_load(db, begin, pair, journal):
    db.run_script(f"PRAGMA journal_mode = {journal}")
    images = []
    for healthy, label in [(0, "sa-2"), (1, "sa-1")]:
        db.set("sa-1", healthy=healthy)
        images.append((db.path.read_bytes(), label))
    proxy = begin(EDGEPROXY_WORKERS=4)
    with Traffic(proxy, clients=4) as traffic:
        for image, label in images * 2:
            mark = proxy.mark()
            os.truncate(db.path, 0)
            proxy.wait_event("reload_failed", since=mark)
            traffic.wait_more()
            with open(db.path, "r+b") as file:
                file.write(image)
            goes_to(proxy, label)
        # In the end it is a database like any other, and its writers are heard.
        db.set("sa-1", healthy=0)
        goes_to(proxy, "sa-2")


@pytest.mark.parametrize("garbage", [b"", b"this is not a database " * 1000, b"SQLite format 3\0",
                                     b"SQLite format 3\0" + bytes(range(256)) * 64])
def test_overwritten_by_garbage_under_load(db, begin, pair, garbage, tmp_path):
    good = db.path.read_bytes()
    proxy = begin()
    with Traffic(proxy) as traffic:
        mark = proxy.mark()
        replacement = tmp_path / "garbage"
        replacement.write_bytes(garbage)
        os.replace(replacement, db.path)
        assert proxy.wait_event("reload_failed", since=mark)["level"] == "error"
        traffic.wait_more()
        replacement.write_bytes(good)
        os.replace(replacement, db.path)
        traffic.wait_more()
        db.set("sa-1", healthy=0)
        goes_to(proxy, "sa-2")


def test_a_missing_table_keeps_the_old_one(db, begin, pair):
    proxy = begin()
    mark = proxy.mark()
    db.run("ALTER TABLE backends RENAME TO elsewhere")
    proxy.wait_event("reload_failed", since=mark)
    assert proxy.label(BR) == "sa-1"
    db.run("ALTER TABLE elsewhere RENAME TO backends")
    db.set("sa-1", healthy=0)
    goes_to(proxy, "sa-2")


@pytest.mark.concurrency
def test_a_writer_in_a_hurry(db, begin, pair):
    """A thousand commits in a row are a few reloads, and the last one counts."""
    proxy = begin()
    with Traffic(proxy), contextlib.closing(db.connect()) as writer:
        writer.execute("PRAGMA synchronous = off")
        for number in range(500):
            with writer:
                writer.execute("UPDATE backends SET healthy = ? WHERE id = 'sa-1'", (number % 2,))
        with writer:
            writer.execute("UPDATE backends SET healthy = 0 WHERE id = 'sa-1'")
        until(lambda: {proxy.label(BR) for _ in range(10)} == {"sa-2"}, "the last commit")


BAD_BACKENDS = [
    ("port", 0), ("port", 70000), ("port", -1), ("port", "http"), ("port", 80.5), ("port", None),
    ("wg_ip", "10.0.0.256"), ("wg_ip", "not-an-ip"), ("wg_ip", ""), ("wg_ip", None),
    ("wg_ip", "10.0.0.1:80"), ("wg_ip", "0.0.0.0"),
    ("weight", -1), ("weight", 65536), ("weight", "heavy"), ("weight", None),
    ("soft_limit", 0), ("soft_limit", -5), ("soft_limit", None),
    ("hard_limit", 0), ("hard_limit", 1 << 40), ("hard_limit", "none"), ("hard_limit", None),
    ("healthy", 7), ("healthy", None), ("deleted", 2),
    ("region", ""), ("region", "no spaces"), ("region", "r" * 33), ("region", None),
    ("app", ""), ("app", "a" * 65), ("id", "i" * 129), ("id", ""), ("id", "a\nb"),
    ("country", "BRA"), ("country", "X1"), ("country", "QQ"), ("state", "sleepy"),
]


def test_bad_rows_are_quarantined_and_the_others_route(db, begin, pair):
    proxy = begin()
    good = dict(app="myapp", region="sa", wg_ip="127.0.0.1", port=1, healthy=1, weight=1,
                soft_limit=1, hard_limit=1, deleted=0)
    with contextlib.closing(db.connect()) as writer, writer:
        for number, (column, value) in enumerate(BAD_BACKENDS):
            row = {**good, "id": f"bad-{number}", column: value}
            writer.execute(f"INSERT INTO backends ({', '.join(row)}) VALUES "
                           f"({', '.join('?' * len(row))})", list(row.values()))
        writer.execute("INSERT INTO backends SELECT NULL, app, region, wg_ip, port, healthy,"
                       " weight, soft_limit, hard_limit, deleted, country, state FROM backends"
                       " WHERE id = 'sa-1'")
    loaded = proxy.wait_event("table_loaded", count=2)
    assert loaded["quarantined"] == str(len(BAD_BACKENDS) + 1)
    assert (loaded["backends"], loaded["usable"]) == ("2", "2")

    lines = proxy.log.find("row_quarantined")
    for number, (column, value) in enumerate(BAD_BACKENDS):
        shown = "NULL" if value is None else str(value)
        found = [e for e in lines if e["table"] == "backends" and e["column"] == column
                 and e["value"].startswith(shown[:70])]
        assert found, (column, value)
        if column != "id":
            assert [e for e in found if e["row"] == f"bad-{number}"], (column, value)
        assert all(e["level"] == "warn" and e["why"] for e in found)
    assert [e for e in lines if e["column"] == "id" and e["value"] == "NULL"]
    assert proxy.label(BR) == "sa-1"


def test_bad_rows_of_the_optional_tables(db, begin, pair, port):
    db.service("nowhere", app="myapp")
    db.service(port("127.0.0.2"), accept_proxy=5)
    db.service(port("127.0.0.3"), send_proxy=3)
    db.service(port("127.0.0.4"), app="myapp")
    db.override("10.0.0.0/33", country="BR")
    db.override("200.160.0.0/16", country="BRA")
    db.override("200.160.2.0/24", region="no spaces")
    db.country_region("B", "eu")
    db.country_region("BR", "")
    proxy = begin()
    assert proxy.wait_event("table_loaded")["quarantined"] == "8"
    tables = [e["table"] for e in proxy.log.find("row_quarantined")]
    assert sorted(tables) == ["country_regions"] * 2 + ["geo_overrides"] * 3 + ["services"] * 3
    assert proxy.label(BR) == "sa-1"
    assert proxy.label(BR, to=proxy.listen_addr("127.0.0.4")) == "sa-1"
    assert len(proxy.log.find("listening")) == 2


@pytest.fixture
def four(db, peer):
    """Four backends; the loss of three is more than half."""
    for number in range(4):
        db.add(f"sa-{number}", peer(Identity, f"sa-{number}"))
    return db


def lose_three(db):
    db.run("UPDATE backends SET healthy = 0 WHERE id <> 'sa-0'")


def test_a_great_loss_is_held(four, begin):
    proxy = begin(EDGEPROXY_SHRINK_HOLD_SECS=DAY)
    lose_three(four)
    held = proxy.wait_event("reload_held")
    assert (held["level"], held["usable_now"], held["usable_new"]) == ("error", "4", "1")
    until(lambda: proxy.label(BR) == "sa-3", "the old table still serves")
    assert not proxy.log.find("reload_accepted")

    proxy.sighup()
    assert proxy.wait_event("reload_accepted")["by"] == "sighup"
    until(lambda: {proxy.label(BR) for _ in range(10)} == {"sa-0"}, "the one that is left")


def test_a_great_loss_is_accepted_after_a_while(four, begin):
    proxy = begin(EDGEPROXY_SHRINK_HOLD_SECS=1)
    lose_three(four)
    proxy.wait_event("reload_held")
    assert proxy.wait_event("reload_accepted")["by"] == "hold"
    until(lambda: {proxy.label(BR) for _ in range(10)} == {"sa-0"}, "the one that is left")


def test_a_great_loss_that_is_taken_back(four, begin):
    proxy = begin(EDGEPROXY_SHRINK_HOLD_SECS=DAY)
    lose_three(four)
    proxy.wait_event("reload_held")
    four.run("UPDATE backends SET healthy = 1, weight = 2")
    proxy.wait_event("table_loaded", count=2)
    until(lambda: {proxy.label(BR) for _ in range(40)} == {f"sa-{n}" for n in range(4)}, "all four")
    assert not proxy.log.find("reload_accepted")


def test_the_loss_of_all_is_held(four, begin):
    proxy = begin(EDGEPROXY_SHRINK_HOLD_SECS=DAY)
    four.run("DELETE FROM backends")
    assert proxy.wait_event("reload_held")["usable_new"] == "0"
    assert proxy.label(BR) != ""


def test_the_loss_of_half_is_not_held(four, begin):
    proxy = begin(EDGEPROXY_SHRINK_HOLD_SECS=DAY)
    four.run("UPDATE backends SET healthy = 0 WHERE id IN ('sa-0', 'sa-1')")
    proxy.wait_event("table_loaded", count=2)
    assert not proxy.log.find("reload_held")


@pytest.mark.concurrency
def test_listeners_come_and_go(db, begin, pair, port):
    proxy = begin()
    listen = port("127.0.0.2")
    db.service(listen, app="myapp")
    added = proxy.wait_event("listening", lambda e: e["addr"] == listen)
    addr = proxy.listen_addr("127.0.0.2")
    assert join_addr(addr) == added["addr"]
    with proxy.connect(BR, to=addr) as sock:
        assert sock.recv(100) == b"sa-1\n"
        db.run("DELETE FROM services")

        def refused():
            try:
                proxy.connect(to=addr).close()
            except ConnectionRefusedError:
                return True
            return False

        until(refused, "an address where nobody listens")
        sock.sendall(b"still here")
        assert sock.recv(100) == b"still here"
    assert proxy.label(BR) == "sa-1"  # the other listener never noticed
    db.service(listen, app="myapp")
    until(lambda: len(proxy.log.find("listening", lambda e: e["addr"] == listen)) == 2, "it again")
    assert proxy.label(BR, to=addr) == "sa-1"


@pytest.mark.concurrency
def test_a_listeners_options_change_in_place(db, begin, pair, port, peer):
    """Not one client is refused while they do."""
    db.add("red-1", peer(Identity, "red-1"), app="red")
    listen = port("127.0.0.2")
    db.service(listen, app="myapp")
    proxy = begin()
    addr = proxy.listen_addr("127.0.0.2")
    assert proxy.label(BR, to=addr) == "sa-1"
    db.run("UPDATE services SET app = 'red'")
    until(lambda: proxy.label(BR, to=addr) == "red-1", "the other app")
    db.run("UPDATE services SET accept_proxy = 0")

    def no_header_needed():
        with proxy.connect(to=addr) as sock:
            sock.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                return wire.read_line(sock) == "red-1"

    until(no_header_needed, "a listener that reads no header")
    assert len(proxy.log.find("listening", lambda e: e["addr"] == listen)) == 1


def test_an_address_that_is_taken_hurts_only_itself(db, begin, pair, peer):
    proxy = begin()
    taken = peer(Identity, "somebody else", host="127.0.0.2")
    db.service(join_addr(taken.addr))
    db.set("sa-1", healthy=0)
    goes_to(proxy, "sa-2")


def test_sighup_without_a_change(db, begin, pair):
    proxy = begin()
    version = proxy.wait_event("table_loaded")["version"]
    for _ in range(5):
        proxy.sighup()
        assert proxy.label(BR) == "sa-1"
    db.set("sa-1", healthy=0)
    goes_to(proxy, "sa-2")
    assert int(proxy.log.find("table_loaded")[-1]["version"]) <= int(version) + 6
