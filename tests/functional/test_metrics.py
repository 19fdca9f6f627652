"""/metrics against the real binary: exactly what scripted clients did, and nothing of who they are."""

import contextlib
import ipaddress
import os
import re
import shutil
import sqlite3
import tempfile
import threading

import pytest

import wire
from harness import BR, DE, ROOT, UNKNOWN, US, until
from peers import Counting, Identity, Refusing, ResetAfterAnswer
from prometheus import PROMTOOL, Exposition, Scraper, promtool, rows
from test_api import Api

ENV = dict(EDGEPROXY_METRICS_ENABLED="true", EDGEPROXY_METRICS_LISTEN_ADDR="127.0.0.1:0")
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="not installed: promtool")


@pytest.fixture
def watched(start):
    """watched(...) is (a proxy, scrape())."""
    scrapers = []

    def make(**env):
        proxy = start(**{**ENV, **env})
        scrapers.append(Scraper(proxy))
        return proxy, scrapers[-1].scrape

    yield make
    for one in scrapers:
        one.close()


def until_metric(scrape, name, value, **labels):
    """The scrape behind the first that has it: a scrape's figures are not all of one moment."""
    until(lambda: scrape()(name, **labels) == value, f"{name}{labels} is {value}")
    return scrape()


def backend_series(found):
    return {name: [labels for labels, _ in found.all(name)] for name in rows()
            if name.startswith("edgeproxy_backend_") and "backend" in rows()[name][2]}


# ---- the text ----

def test_every_row_is_there_as_it_is_and_nothing_else(watched, db, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy, scrape = watched()
    assert proxy.label(BR) == "sa-1"
    found = until_metric(scrape, "edgeproxy_sessions_ended_total", 1, reason="done")
    expected = rows()
    assert list(found.types) == list(expected)
    for name, (kind, unit, labels, help) in expected.items():
        assert (found.types[name], found.helps[name]) == (kind, help)
        assert (kind == "counter") == name.endswith("_total")
        assert not unit or f"_{unit}" in name
        for ending in ("_bucket", "_sum", "_count") if kind == "histogram" else ("",):
            for has, _ in found.all(name + ending):
                assert set(has) - {"le"} == set(labels), name
    reasons = re.findall(r'CLOSE\(\w+, "([^"]+)"',
                         (ROOT / "src/proxy/close_reason.def").read_text())
    assert [has["reason"] for has, _ in found.all("edgeproxy_sessions_ended_total")] == reasons
    assert re.fullmatch(r"\d+\.\d+\.\d+", found.all("edgeproxy_build_info")[0][0]["version"])


@needs_promtool
def test_promtool_has_nothing_to_say(watched, db, peer):
    for label in ("sa-1", 'qu"ote\\n'):
        db.add(label, peer(Identity, "x"))
    proxy, scrape = watched()
    for src in (BR, US):
        assert proxy.label(src) == "x"
    done = promtool("check", "metrics", input=scrape().text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_promtool
def test_promtool_would_say_so():
    done = promtool("check", "metrics", input='a{b="\\x"} 1\n')
    assert done.returncode != 0


def test_http(watched, db):
    proxy, scrape = watched()
    scraper = Scraper(proxy)
    response, body = scraper.request()
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    sock = scraper.http.sock
    Exposition(body.decode())
    response, nothing = scraper.request("HEAD")
    assert (response.status, nothing) == (200, b"")
    assert int(response.headers["Content-Length"]) > 1000
    for _ in range(20):
        scraper.scrape()
    assert scraper.http.sock is sock, "the connection was kept alive"
    assert scraper.request("POST")[0].status == 405
    assert scraper.request(path="/api/v1/backends")[0].status == 404
    answer, text = scraper.request(path="/openapi.json")
    assert answer.status == 404
    assert b"/metrics" in text and b"openapi" not in text
    assert scraper.request(path="/healthz")[0].status == 200
    scraper.close()


def test_other_doors(start, tmp_path, db):
    """At the control socket, and at the API's door with a token for all apps."""
    (tmp_path / "tokens").write_text("admin s3cret-of-everything\nweb s3cret-of-web-only web\n")
    (tmp_path / "tokens").chmod(0o600)
    folder = tempfile.mkdtemp(dir="/tmp")
    try:
        proxy = start(EDGEPROXY_API_ENABLED="true", EDGEPROXY_API_LISTEN_ADDR="127.0.0.1:0",
                      EDGEPROXY_API_TOKEN_FILE=tmp_path / "tokens",
                      EDGEPROXY_CONTROL_SOCKET=f"{folder}/control")
        with contextlib.closing(Scraper(proxy, "control")) as scraper:
            assert scraper.scrape()("edgeproxy_connections_total") == 0
        for token, status in ((None, 401), ("s3cret-of-web-only", 403), ("s3cret-of-everything", 200)):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            with contextlib.closing(Scraper(proxy, "api", headers)) as scraper:
                assert scraper.request()[0].status == status
    finally:
        shutil.rmtree(folder)


# ---- what clients do ----

def test_connections_and_bytes(watched, db, peer):
    db.add("sa-1", peer(Identity, "sa-1"), region="sa")
    db.add("us-1", peer(Identity, "us-1"), region="us")
    proxy, scrape = watched(EDGEPROXY_MAX_CONN=77)
    assert scrape()("edgeproxy_connections_total") == 0
    with contextlib.ExitStack() as held:
        socks = [held.enter_context(proxy.connect(BR)) for _ in range(3)]
        socks.append(held.enter_context(proxy.connect(US)))
        for sock in socks:
            wire.read_line(sock)
        found = until_metric(scrape, "edgeproxy_bytes_sent_total", 4 * len("sa-1\n"))
        assert found("edgeproxy_connections_total") == 4
        assert found("edgeproxy_connections_active") == 4
        assert found("edgeproxy_connections_limit") == 77
        sa, us = (dict(backend=b, app="myapp", region=b[:2]) for b in ("sa-1", "us-1"))
        assert found("edgeproxy_backend_connections_active", **sa) == 3
        assert found("edgeproxy_backend_connections_active", **us) == 1
        assert found("edgeproxy_sessions_ended_total", reason="done") == 0
        for count, sock in enumerate(socks):
            sock.sendall(b"x" * 1000 * (count + 1))
            wire.read_exactly(sock, 1000 * (count + 1))
        found = until_metric(scrape, "edgeproxy_bytes_sent_total", 10000 + 20)
        assert found("edgeproxy_bytes_received_total") == 10000  # no PROXY headers in it
    found = until_metric(scrape, "edgeproxy_sessions_ended_total", 4, reason="done")
    assert found.sum("edgeproxy_sessions_ended_total") == 4
    found = until_metric(scrape, "edgeproxy_connections_active", 0)
    assert found.sum("edgeproxy_backend_connections_active") == 0
    assert found("edgeproxy_backend_connections_total", **sa) == 3
    assert found("edgeproxy_backend_connections_total", **us) == 1
    assert found("edgeproxy_decisions_total", region_score="0") == 4
    assert found("edgeproxy_backend_rtt_seconds_count", region="sa") == 3
    assert found("edgeproxy_backend_rtt_seconds_bucket", region="us", le="+Inf") == 1
    assert 0 < found("edgeproxy_backend_rtt_seconds_sum", region="sa")
    assert found("edgeproxy_worker_turn_seconds_count") > 0


def test_sessions_by_reason(watched, db, peer):
    db.add("sa-1", peer(ResetAfterAnswer, b"half", wait=True))
    db.access_rule("us", "deny", country="US")
    proxy, scrape = watched()
    for _ in range(2):
        with proxy.connect(BR) as sock:
            assert wire.read_exactly(sock, 4) == b"half"
            sock.sendall(b"?")
            wire.read_to_reset(sock)
    for _ in range(3):
        assert proxy.label(US) == ""
    found = until_metric(scrape, "edgeproxy_sessions_ended_total", 3, reason="denied")
    found = until_metric(scrape, "edgeproxy_sessions_ended_total", 2, reason="server-reset")
    assert found.sum("edgeproxy_sessions_ended_total") == 5


def test_scores_sources_and_bindings(watched, db, peer):
    db.add("us-1", peer(Identity, "us-1"), region="us")
    db.override("203.0.113.0/24", country="US")
    proxy, scrape = watched(EDGEPROXY_REGION="us", EDGEPROXY_BINDING_MAX=64)
    for src in (US, US, DE, "203.0.113.9", "10.1.2.3", "2606:4700:ffff:ffff::1"):
        assert proxy.label(src) == "us-1"
    found = until_metric(scrape, "edgeproxy_sessions_ended_total", 6, reason="done")
    assert found("edgeproxy_affinity_hits_total") == 1
    assert found("edgeproxy_affinity_misses_total") == 5
    assert found("edgeproxy_affinity_entries") == 5
    assert found("edgeproxy_affinity_evictions_total") == 0
    scores = [found("edgeproxy_decisions_total", region_score=str(i)) for i in range(3)]
    assert sum(scores) == 6 and scores[2] == 0 and scores[0] >= 3 and scores[1] >= 2
    assert found("edgeproxy_geo_lookups_total", source="override") == 1
    assert found("edgeproxy_geo_lookups_total", source="special") == 1
    assert found.sum("edgeproxy_geo_lookups_total") == 6
    build = proxy.wait_event("geo_loaded")["build"]
    assert found("edgeproxy_geo_database_build_timestamp_seconds") == int(build)
    assert found("edgeproxy_geo_reloads_total", result="loaded") == 1


def test_bindings_give_way_and_expire(watched, db, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy, scrape = watched(EDGEPROXY_BINDING_MAX=2, EDGEPROXY_BINDING_TTL_SECS=1,
                            EDGEPROXY_BINDING_GC_INTERVAL_SECS=1)
    for host in range(8):
        assert proxy.label(f"200.160.2.{host}") == "sa-1"
    until(lambda: scrape()("edgeproxy_affinity_entries") == 0, "all have expired")
    found = scrape()
    gone = (found("edgeproxy_affinity_evictions_total"),
            found("edgeproxy_affinity_expirations_total"))
    assert gone[0] >= 1 and gone[1] >= 1


def test_failures_retries_and_ejection(watched, db, peer):
    db.add("bad", peer(Refusing), weight=1000)
    db.add("good", peer(Identity, "good"))
    proxy, scrape = watched(EDGEPROXY_BINDING_TTL_SECS=0, EDGEPROXY_OUTLIER_CONSECUTIVE_FAILURES=3,
                            EDGEPROXY_OUTLIER_BASE_EJECTION_SECS=300)
    for _ in range(3):
        assert proxy.label(BR) == "good"
    bad = dict(backend="bad", app="myapp", region="sa")
    # The last of what follows from it.
    found = until_metric(scrape, "edgeproxy_backend_fault_transitions_total", 1, fault="ejected",
                         to="on")
    assert found("edgeproxy_backend_faults", **bad, fault="ejected") == 1
    assert found("edgeproxy_backend_errors_total", **bad) == 3
    assert found("edgeproxy_backend_errors_total", **{**bad, "backend": "good"}) == 0
    assert found("edgeproxy_connect_failures_total") == 3
    assert found("edgeproxy_retries_total") == 3
    assert found("edgeproxy_backend_usable", **bad) == 0
    assert found("edgeproxy_backend_usable", **{**bad, "backend": "good"}) == 1
    assert found("edgeproxy_ejections_total", cause="consecutive-failures") == 1
    assert found("edgeproxy_backend_fault_transitions_total", fault="ejected", to="off") == 0
    # Half of the backends are sound, so it is no panic.
    assert [(labels["app"], value) for labels, value in found.all("edgeproxy_panic")] == [("*", 0)]


def test_health_and_panic(watched, db, peer):
    backend = peer(Identity, "sa-1")
    db.add("sa-1", backend)
    db.check("app:myapp", "tcp", inter_ms=100, fall=1, rise=1)
    proxy, scrape = watched()
    fault = dict(backend="sa-1", app="myapp", region="sa", fault="check-down")
    assert scrape()("edgeproxy_backend_faults", **fault) is None
    backend.stop_listening()
    found = until_metric(scrape, "edgeproxy_panics_total", 1)
    assert found("edgeproxy_panic", app="*") == 1
    assert found("edgeproxy_backend_faults", **fault) == 1
    changes = "edgeproxy_backend_fault_transitions_total"
    assert found(changes, fault="check-down", to="on") == 1
    assert found(changes, fault="check-down", to="off") == 0


def test_the_queue(watched, db, peer):
    db.add("sa-1", peer(Counting, "sa-1"), soft_limit=1, hard_limit=1)
    proxy, scrape = watched()
    with proxy.connect(BR) as first, contextlib.ExitStack() as stack:
        assert wire.read_line(first) == "sa-1"
        second = stack.enter_context(proxy.connect(BR))  # or it may be served first
        found = until_metric(scrape, "edgeproxy_queue_waiting", 1)
        assert found("edgeproxy_queued_total") == 1
        assert found("edgeproxy_queue_seconds_count") == 0
        assert found("edgeproxy_reservations_refused_total") >= 1
        assert found("edgeproxy_backend_connections_limit",
                     backend="sa-1", app="myapp", region="sa") == 1
        first.close()
        assert wire.read_line(second) == "sa-1"
        found = until_metric(scrape, "edgeproxy_queue_seconds_count", 1)
        assert found("edgeproxy_queue_waiting") == 0
        assert found("edgeproxy_queue_seconds_sum") > 0


# ---- routes ----

def test_reloads_and_bad_rows(watched, db, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy, scrape = watched(EDGEPROXY_SHRINK_HOLD_SECS=3600)
    found = scrape()
    assert found("edgeproxy_reloads_total", result="published") == 1
    assert found("edgeproxy_table_version") == 1
    db.add("bad", ("127.0.0.1", 70000))
    found = until_metric(scrape, "edgeproxy_quarantined_rows", 1)
    assert found("edgeproxy_table_backends") == 1
    db.remove("bad")
    until_metric(scrape, "edgeproxy_quarantined_rows", 0)
    db.set("sa-1", healthy=0)
    found = until_metric(scrape, "edgeproxy_reload_held", 1)
    assert found("edgeproxy_reloads_total", result="held") == 1
    assert found("edgeproxy_table_usable_backends") == 1
    proxy.sighup()
    found = until_metric(scrape, "edgeproxy_reload_held", 0)
    found = until_metric(scrape, "edgeproxy_table_usable_backends", 0)
    assert found("edgeproxy_reloads_total", result="published") == 2
    os.rename(db.path, f"{db.path}.gone")
    found = until_metric(scrape, "edgeproxy_reload_failing", 1)
    assert found("edgeproxy_reloads_total", result="failed") == 1
    os.rename(f"{db.path}.gone", db.path)
    until_metric(scrape, "edgeproxy_reload_failing", 0)


def test_geo_reloads(watched, tmp_path):
    path = tmp_path / "geo.mmdb"
    shutil.copy(ROOT / "tests/data/maxmind-country.mmdb", path)
    proxy, scrape = watched(EDGEPROXY_GEOIP_PATH=path)
    path.with_name("other").write_bytes(b"no database")
    os.replace(path.with_name("other"), path)
    until_metric(scrape, "edgeproxy_geo_reloads_total", 1, result="failed")
    shutil.copy(ROOT / "tests/data/plain-country.mmdb", path.with_name("other"))
    os.replace(path.with_name("other"), path)
    until_metric(scrape, "edgeproxy_geo_reloads_total", 2, result="loaded")


def test_registrations(start, peer):
    proxy = start(**ENV, EDGEPROXY_API_ENABLED="true", EDGEPROXY_API_LISTEN_ADDR="127.0.0.1:0",
                  EDGEPROXY_API_ALLOW_ADDRS="127.0.0.0/8")
    api = Api(proxy, since=next(i for i, e in enumerate(proxy.log.events)
                                if e.get("door") == "api"))
    assert api.register("sa-1", peer(Identity, "sa-1"))[0] == 201
    with contextlib.closing(Scraper(proxy)) as scraper:
        assert scraper.scrape()("edgeproxy_api_registrations") == 1
        assert scraper.scrape()("edgeproxy_api_database_failing") == 0


# ---- labels ----

def test_weird_ids(watched, db, peer):
    """Whatever the database may hold: two ids never become one series."""
    ids = [b'qu"ote', b"back\\slash", b"back\\\\slash", b"\\n", "São 東 🌍".encode(), b"\xff", b"\xfe",
           "\ufffdff".encode(), b"cut\xc3", b"\xed\xa0\x80", b"a=b,c{d}", b"# HELP x", b" "]
    refused = [b"new\nline", b"tab\t"]  # control characters
    with contextlib.closing(sqlite3.connect(db.path)) as connection, connection:
        for id in ids + refused:
            connection.execute(
                "INSERT INTO backends (id, app, region, wg_ip, port, healthy, weight, soft_limit,"
                " hard_limit) VALUES (CAST(? AS TEXT), 'my\"app', 'sa', '127.0.0.1', 9, 1, 1, 1, 1)",
                (id,))
    proxy, scrape = watched()
    found = scrape()
    assert found("edgeproxy_quarantined_rows") == len(refused)
    seen = [labels for labels, _ in found.all("edgeproxy_backend_usable")]
    assert {labels["app"] for labels in seen} == {'my"app'}
    assert {labels["backend"] for labels in seen} == {
        'qu"ote', "back\\slash", "back\\\\slash", "\\n", "São 東 🌍", "\ufffdff", "\ufffdfe",
        "\ufffdef\ufffdbf\ufffdbdff", "cut\ufffdc3", "\ufffded\ufffda0\ufffd80", "a=b,c{d}",
        "# HELP x", " "}
    assert len(seen) == len(ids)
    if PROMTOOL:
        assert promtool("check", "metrics", input=found.text).returncode == 0


def test_no_address_of_a_client(watched, db, peer):
    sources = [BR, US, DE, *UNKNOWN]
    db.add("sa-1", peer(Identity, "sa-1"))
    db.add("bad", peer(Refusing), weight=100)
    proxy, scrape = watched()
    for src in sources:
        proxy.label(src)
    until(lambda: scrape().sum("edgeproxy_sessions_ended_total") == len(sources), "all ended")
    text = scrape().text
    for src in [*sources, "127.0.0.1"]:
        assert src not in text
    values = {value for _, labels in Exposition(text).values for _, value in labels}
    assert "database" in values
    for value in values:
        with pytest.raises(ValueError):
            ipaddress.ip_address(value)


# ---- many backends ----

def add_many(db, count, apps=2):
    with contextlib.closing(db.connect()) as connection, connection:
        connection.executemany(
            "INSERT INTO backends (id, app, region, wg_ip, port, healthy, weight, soft_limit,"
            " hard_limit) VALUES (?, ?, ?, '127.0.0.1', 9, 1, 1, 1, 10)",
            [(f"b-{i:05}", f"app-{i % apps}", ("sa", "us")[i // 2 % 2]) for i in range(count)])


def test_ten_thousand_backends_are_complete(watched, db):
    add_many(db, 10000)
    proxy, scrape = watched()
    found = scrape()
    expected = {f"b-{i:05}" for i in range(10000)}
    for name in ("edgeproxy_backend_connections_total", "edgeproxy_backend_connections_active",
                 "edgeproxy_backend_connections_limit", "edgeproxy_backend_errors_total",
                 "edgeproxy_backend_usable"):
        assert {labels["backend"] for labels, _ in found.all(name)} == expected, name
    assert found("edgeproxy_metrics_aggregated") == 0
    assert found.text.endswith("\n") and found("process_start_time_seconds") > 0


def test_too_many_backends_are_summed_up(watched, db, peer):
    add_many(db, 8)
    db.add("live", peer(Identity, "live"), app="mine")
    proxy, scrape = watched(EDGEPROXY_METRICS_BACKENDS_MAX=8, EDGEPROXY_BINDING_TTL_SECS=0)
    found = scrape()
    assert found("edgeproxy_metrics_aggregated") == 1
    for name, series in backend_series(found).items():
        assert all("backend" not in labels for labels in series), name
    for app in ("app-0", "app-1"):
        for region in ("sa", "us"):
            where = dict(app=app, region=region)
            assert found("edgeproxy_backend_usable", **where) == 2
            assert found("edgeproxy_backend_connections_limit", **where) == 20
    mine = dict(app="mine", region="sa")
    for i in range(8):
        db.set(f"b-{i:05}", weight=0)
    until_metric(scrape, "edgeproxy_backend_usable", 0, app="app-0", region="sa")
    for _ in range(5):
        assert proxy.label(BR) == "live"
    assert scrape()("edgeproxy_backend_connections_total", **mine) == 5
    # One that goes takes nothing with it, nor what it did since the last scrape.
    for _ in range(3):
        assert proxy.label(BR) == "live"
    db.add("more", peer(Identity, "more"), app="mine", weight=0)
    db.remove("live")
    proxy.sighup()
    found = until_metric(scrape, "edgeproxy_backend_usable", 0, **mine)
    assert found("edgeproxy_backend_connections_total", **mine) == 8
    for i in range(8):
        db.remove(f"b-{i:05}")
    proxy.sighup()
    found = until_metric(scrape, "edgeproxy_metrics_aggregated", 0)
    assert found("edgeproxy_backend_usable", backend="more", **mine) == 0


# ---- beside traffic ----

@pytest.mark.concurrency
def test_scrapes_under_load_lose_nothing(watched, db, peer):
    for i in range(3):
        db.add(f"sa-{i}", peer(Identity, f"sa-{i}"))
    proxy, scrape = watched()
    scrapers = [Scraper(proxy) for _ in range(3)]
    stop, problems, totals = threading.Event(), [], []

    def monitor(scraper):
        before = None
        try:
            while not stop.is_set():
                now = scraper.scrape()
                if before is not None:
                    for key, value in before.values.items():
                        if key[0].endswith(("_total", "_count", "_bucket")):
                            assert now.values[key] >= value, key
                before = now
        except Exception as error:  # noqa: BLE001
            problems.append(error)

    def client():
        for _ in range(50):
            with proxy.connect(BR) as sock:
                wire.read_line(sock)
                sock.sendall(b"y" * 100)
                wire.read_exactly(sock, 100)
                totals.append(1)

    monitors = [threading.Thread(target=monitor, args=(one,)) for one in scrapers]
    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in monitors + clients:
        thread.start()
    for thread in clients:
        thread.join()
    found = until_metric(scrape, "edgeproxy_sessions_ended_total", 200, reason="done")
    stop.set()
    for thread in monitors:
        thread.join()
    for one in scrapers:
        one.close()
    assert not problems and len(totals) == 200
    assert found("edgeproxy_bytes_received_total") == 200 * 100
    assert found("edgeproxy_bytes_sent_total") == 200 * (100 + 5)
    assert found.sum("edgeproxy_backend_connections_total") == 200
    until_metric(scrape, "edgeproxy_connections_active", 0)


def test_a_scrape_counts_nothing(watched, db, peer):
    db.add("sa-1", peer(Identity, "sa-1"))
    proxy, scrape = watched()
    before, after = scrape(), scrape()
    moving = {"process_cpu_seconds_total", "process_resident_memory_bytes",
              "edgeproxy_worker_turn_seconds_bucket", "edgeproxy_worker_turn_seconds_sum",
              "edgeproxy_worker_turn_seconds_count", "process_open_fds",
              "process_virtual_memory_bytes"}
    changed = {key[0] for key, value in before.values.items() if after.values[key] != value}
    assert changed <= moving
