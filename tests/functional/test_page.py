"""The live page and its stream: over HTTP as a program sees them, and in a browser that has nothing
but this proxy to talk to."""

import base64
import contextlib
import ctypes
import hashlib
import http.client
import json
import os
import re
import socket
import subprocess

import pytest

import chromium
from harness import BR, DE, JP, ROOT, US, split_addr, until
from peers import Echo, Identity
from test_api import LOOPBACK, PROMISED, SECRET, Api, tokens  # noqa: F401

VIEWERS_MAX = 32  # api/viewers.h
CLONE_NEWNET = 0x40000000


class Viewer:
    """A client of the stream."""

    def __init__(self, api):
        self.connection = http.client.HTTPConnection(*api.addr, timeout=60)
        self.connection.request("GET", "/api/v1/live")
        self.answer = self.connection.getresponse()
        self.status = self.answer.status

    def event(self):
        """The next one: its fields, and the text of its data."""
        fields = {}
        while line := self.answer.readline().decode().rstrip("\n"):
            name, value = line.split(": ", 1)
            fields[name] = value
        assert set(fields) == {"retry", "id", "data"}, "the stream ended"
        return int(fields["id"]), fields["data"]

    def snapshot(self, condition=lambda s: True):
        """The first that condition holds for."""
        for _ in range(60):
            _, text = self.event()
            snapshot = json.loads(text)
            assert PROMISED.why_not({"$ref": "#/components/schemas/LiveSnapshot"}, snapshot) is None
            if condition(snapshot):
                return snapshot
        raise AssertionError("no snapshot was as it should be")

    def close(self):
        self.answer.close()
        self.connection.close()


@pytest.fixture
def watch():
    """watch(api) makes a viewer that leaves after the test."""
    made = []

    def make(api):
        made.append(Viewer(api))
        return made[-1]

    yield make
    for one in made:
        one.close()


def clients(proxy, *addresses):
    """One after the other, each until it is over."""
    for address in addresses:
        assert proxy.label(address)


def add_world(db, peer, **more):
    for id, region, country in (("sa-1", "sa", "BR"), ("us-1", "us", None), ("eu-1", "eu", "DE")):
        db.add(id, peer(Identity, id), region=region, country=country, **more)


# ---- the document ----

def test_page_is_one_document_with_a_strict_policy(start):
    api = Api(start(**LOOPBACK))
    r, body = api.raw("GET", "/")
    text = body.decode()
    assert r.status == 200 and r.headers["Content-Type"] == "text/html; charset=utf-8"
    assert r.headers["Cache-Control"] == "no-store"
    assert r.headers["X-Content-Type-Options"] == "nosniff"
    assert r.headers["Referrer-Policy"] == "no-referrer"
    policy = dict(part.split(" ", 1) for part in r.headers["Content-Security-Policy"].split("; "))
    parts = {tag: re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", text, re.S) for tag in ("script", "style")}
    for tag, found in parts.items():
        digest = base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
        assert len(found) == 1 and policy.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert policy == {"default-src": "'none'", "connect-src": "'self'", "img-src": "data:",
                      "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'"}
    # Nothing is loaded from anywhere, and the policy would not let it.
    assert set(re.findall(r"\bhttps?://[^\"' >]+", text)) == {"http://www.w3.org/2000/svg"}
    assert all(target.startswith(("data:", "#")) for target in
               re.findall(r"(?:src|href)=\"([^\"]*)\"", text))
    assert not re.search(r"\son\w+=|\sstyle=|url\(|@import", text)
    assert text.count('<path data-country="') > 150
    assert len(body) < 200_000
    r, body = api.raw("HEAD", "/")
    assert r.status == 200 and body == b""


def test_it_can_be_turned_off(start):
    api = Api(start(EDGEPROXY_API_LIVE_PAGE="false", **LOOPBACK))
    for path in ("/", "/api/v1/live"):
        status, answer = api.call("GET", path)
        assert status == 404 and "EDGEPROXY_API_LIVE_PAGE" in answer["detail"]


def test_no_token_is_needed_and_no_address_is_told(start, db, peer, tokens, watch):  # noqa: F811
    add_world(db, peer)
    proxy = start(EDGEPROXY_API_TOKEN_FILE=tokens, **LOOPBACK)
    api = Api(proxy)
    assert api.raw("GET", "/")[0].status == 200
    assert api.call("GET", "/api/v1/backends")[0] == 401
    clients(proxy, BR)
    viewer = watch(api)
    assert viewer.status == 200
    assert viewer.answer.headers["Content-Type"] == "text/event-stream"
    assert viewer.answer.headers["Cache-Control"] == "no-store"
    text = json.dumps(viewer.snapshot(lambda s: s["tokens"] and s["countries"]))
    assert BR not in text and "127.0.0.1" not in text


def test_the_map_has_every_country():
    known = set(re.findall(r"^COUNTRY\((\w\w),", (ROOT / "src/geo/country_region.def").read_text(), re.M))
    rows = [line.split("\t") for line in (ROOT / "data/map/countries.tsv").read_text().splitlines()
            if not line.startswith("#")]
    assert sorted(row[0] for row in rows) == sorted(known)
    assert all(-180 <= float(row[2]) <= 180 and -90 <= float(row[3]) <= 90 for row in rows)


# ---- the stream ----

def test_stream_agrees_with_what_clients_did(start, db, peer, watch):
    add_world(db, peer)
    proxy = start(EDGEPROXY_BINDING_TTL_SECS=0, **{k: v for k, v in LOOPBACK.items()
                                                   if k != "EDGEPROXY_BINDING_TTL_SECS"})
    viewer = watch(Api(proxy))
    first = viewer.snapshot()
    assert first["rates"] is None and first["countries"] == [] and first["arcs"] == []
    assert first["region"] == "sa" and not first["tokens"] and first["backends_total"] == 3
    assert [(b["id"], b["status"], b["rtt_us"]) for b in first["backends"]] == [
        ("eu-1", "up", None), ("sa-1", "up", None), ("us-1", "up", None)]
    clients(proxy, *[BR] * 4, *[US] * 3, *[DE] * 2, JP, "10.1.2.3")
    s = viewer.snapshot(lambda s: s["totals"]["clients"] == 11 and
                        sum(c["clients"] for c in s["countries"]) == 11)
    assert {c["country"]: c["clients"] for c in s["countries"]} == {
        "BR": 4, "US": 3, "DE": 2, "JP": 1, None: 1}
    arcs = {(a["from"], a["backend"], a["region_score"]): a["clients"] for a in s["arcs"]}
    assert arcs == {("BR", "sa-1", 0): 4, ("US", "us-1", 0): 3, ("DE", "eu-1", 0): 2,
                    ("JP", "sa-1", 1): 1, (None, "sa-1", 1): 1}
    assert s["totals"]["region_scores"] == [9, 2, 0]
    assert s["arcs_rest"] == s["countries_rest"] == s["unseen"] == 0
    assert all(b["rtt_us"] > 0 for b in s["backends"])


def test_rates_and_sessions(start, db, peer, watch):
    db.add("sa-1", peer(Echo))
    proxy = start(**LOOPBACK)
    viewer = watch(Api(proxy))
    with proxy.connect(BR) as client, proxy.connect(US):
        s = viewer.snapshot(lambda s: s["sessions"] == 2)
        assert s["backends"][0]["connections"] == 2

        def flows(s):
            client.sendall(b"x" * 50_000)
            assert len(client.recv(50_000, socket.MSG_WAITALL)) == 50_000
            return s["rates"] and s["rates"]["bytes_sent"] > 0 and s["rates"]["bytes_received"] > 0
        viewer.snapshot(flows)
    viewer.snapshot(lambda s: s["sessions"] == 0 and s["backends"][0]["connections"] == 0)


def test_changes_of_backends(start, db, peer, watch):
    add_world(db, peer)
    viewer = watch(Api(start(**LOOPBACK)))
    assert viewer.snapshot()["transitions"] == []
    db.set("us-1", state="drain")
    s = viewer.snapshot(lambda s: s["transitions"])
    assert [(t["backend"], t["from"], t["to"]) for t in s["transitions"]] == [("us-1", "up", "drain")]
    assert s["statuses"] == {"up": 2, "drain": 1}
    db.remove("us-1")
    s = viewer.snapshot(lambda s: len(s["transitions"]) == 2)
    assert [(t["backend"], t["from"], t["to"]) for t in s["transitions"]][0] == ("us-1", "drain", "gone")
    assert s["backends_total"] == 2


def many_backends(db, count):
    with contextlib.closing(db.connect()) as connection, connection:
        connection.executemany(
            "INSERT INTO backends (id, app, region, wg_ip, port, healthy, weight, soft_limit,"
            " hard_limit, deleted) VALUES (?, 'myapp', 'sa', '127.0.0.1', 9, 1, 1, 10, 20, 0)",
            [(f"{i:05}-" + "x" * 100,) for i in range(count)])


def test_of_many_backends_some_are_shown(start, db, watch):
    many_backends(db, 1000)
    viewer = watch(Api(start(**LOOPBACK)))
    number, text = viewer.event()
    s = json.loads(text)
    assert s["backends_total"] == 1000 and len(s["backends"]) == 200
    assert s["statuses"] == {"up": 1000} and len(text) < 200_000


def test_as_many_viewers_as_there_may_be(start, db, peer, watch):
    add_world(db, peer)
    api = Api(start(**LOOPBACK))
    viewers = [watch(api) for _ in range(VIEWERS_MAX)]
    for viewer in viewers:
        first, _ = viewer.event()
        second, _ = viewer.event()
        assert second > first
    # All see the same ones.
    assert len({text for text in (viewer.event() for viewer in viewers)}) <= 3
    status, answer = api.call("GET", "/api/v1/live")
    assert status == 503 and str(VIEWERS_MAX) in answer["detail"]
    viewers[0].close()

    def another():
        viewer = watch(api)
        return viewer.status == 200 and viewer
    until(another, "a place for another viewer", pause=0.2).event()


def test_a_viewer_who_takes_nothing_is_let_go(start, db, peer, watch):
    many_backends(db, 300)  # a snapshot of some 60 kB
    proxy = start(**LOOPBACK)
    api = Api(proxy)
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.settimeout(60)
    slow.connect(api.addr)
    slow.sendall(b"GET /api/v1/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    other = watch(api)
    before, _ = other.event()
    sockets = proxy.fd_count()
    number = before
    for _ in range(60):
        after, _ = other.event()
        assert after == number + 1  # nobody else misses anything for its sake
        number = after
        if proxy.fd_count() < sockets:
            break
    else:
        raise AssertionError("it is still there")
    slow.close()
    assert api.call("GET", "/health")[0] == 200


def test_stops_with_viewers_asleep_and_awake(start, db, watch):
    many_backends(db, 300)
    proxy = start(**LOOPBACK)
    api = Api(proxy)
    for _ in range(4):
        watch(api).event()
    proxy.stop()


# ---- in a browser ----

def enter_empty_network():
    """This thread, and what it starts, in a network of its own that has nothing but loopback."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if libc.unshare(CLONE_NEWNET) != 0:
        os.close(home)
        pytest.skip("no network namespace can be made: " + os.strerror(ctypes.get_errno()))

    def leave():
        assert libc.setns(home, CLONE_NEWNET) == 0
        os.close(home)
    if subprocess.run(["ip", "link", "set", "lo", "up"]).returncode != 0:
        leave()
        pytest.skip("no ip command")
    return leave


@pytest.fixture
def cut():
    """Asked for before everything else: its proxy, peers and browser have no other network."""
    if chromium.PROGRAM is None:
        pytest.skip("no chromium on this machine")
    leave = enter_empty_network()
    names = [name for _, name in socket.if_nameindex()]
    try:
        assert names == ["lo"]
        yield
    finally:
        leave()


@pytest.fixture
def browser(cut):
    one = chromium.Browser()
    yield one
    one.close()


def url_of(proxy):
    return f"http://{proxy.wait_event('api_listening')['addr']}/"


def open_page(browser, proxy, **how):
    page = browser.page(**how)
    page.prefer("light")
    page.go(url_of(proxy))
    until(lambda: page.text("#link") == "live", "the page is live")
    return page


def hold_to_peace(page, proxy, expected=()):
    """Nothing was complained of, and nobody else was asked for anything."""
    assert [t for t in page.trouble if not any(word in str(t) for word in expected)] == []
    assert {u for u in page.requests if not u.startswith((url_of(proxy), "data:"))} == {"about:blank"} \
        or all(u.startswith((url_of(proxy), "data:", "about:")) for u in page.requests)


def test_browser_shows_what_happens(cut, browser, start, db, peer):
    add_world(db, peer)
    proxy = start(**LOOPBACK)
    page = open_page(browser, proxy)
    assert page.count("#land path") > 150
    assert page.count("path.arc") == 0
    until(lambda: page.count("#rows tr") == 3, "three rows")
    clients(proxy, *[BR] * 4, *[US] * 3, *[DE] * 2, JP)
    until(lambda: page.count("path.arc") == 4, "four arcs")
    assert page.count('path.arc[data-score="0"]') == 3
    assert page.count('path.arc[data-score="1"]') == 1
    assert page.count("#clients circle") == 4
    assert page.count("#land path.busy") == 4
    until(lambda: page.count("#country-list li") == 4, "countries")
    assert page.text("#country-list li:first-child") == "Brazil4"
    assert "10 clients" in page.text("#map-note")
    assert page.text("#stat-up") == "3 of 3"
    assert "Brazil 4" in page.text("#map-text")
    db.set("us-1", state="maint")
    until(lambda: "us-1 up → maint" in page.text("#change-list"), "the change is listed")
    until(lambda: "maint" in page.text("#rows tr:last-child .state"), "and in the table")
    page.type("#filter", "eu")
    until(lambda: page.count("#rows tr") == 1, "the filter leaves one row")
    assert page.eval("document.body.innerHTML.includes('Operate: ')") is False
    assert page.eval("getComputedStyle(document.querySelector('.with-token')).display") == "none"
    hold_to_peace(page, proxy)


def test_browser_explains_or_says_why_not(cut, browser, start, db, peer):
    add_world(db, peer)
    proxy = start(**LOOPBACK)
    page = open_page(browser, proxy)
    page.type("#explain-ip", DE)
    page.key("Enter", "Enter", 13)
    page.click("#explain-form button")
    until(lambda: page.text("#explanation"), "an answer")
    if Api(proxy).raw("GET", f"/api/v1/explain?ip={DE}")[0].status == 404:
        assert "does not explain over HTTP" in page.text("#explanation .error")
    else:
        assert "DE" in page.text("#explanation .why")
        assert page.count("path.answer") == 1
    hold_to_peace(page, proxy, expected=["404"])


# The shape of `edgeproxy explain --json`.
EXPLANATION = {
    "client": "84.128.0.1",
    "place": {"source": "database", "network": "84.128.0.0/10", "special": None, "country": "DE",
              "country_name": "Germany", "region": "eu", "region_source": "default"},
    "access": {"action": "allow", "rule": None}, "local_region": "sa", "app": None,
    "backends": [
        {"id": "eu-1", "app": "myapp", "region": "eu", "country": "DE", "excluded": None,
         "region_score": 0, "load_factor": 0.0, "score": 0.0, "own_country": True, "share": 1.0},
        {"id": "<b>us-1</b>", "app": "myapp", "region": "us", "country": None, "excluded": "drain"}],
    "winner": "eu-1", "drawn": False, "why": "eu-1 <i>wins</i>: it is near."}


def test_browser_shows_an_explanation(cut, browser, start, db, peer):
    add_world(db, peer)
    proxy = start(**LOOPBACK)
    page = open_page(browser, proxy)
    page.eval(f"showExplanation({json.dumps(EXPLANATION)})")
    assert page.text("#explanation .why") == "eu-1 <i>wins</i>: it is near."  # never markup
    assert "Germany (DE)" in page.text("#explanation dl")
    assert page.count("#explanation table tr") == 3
    assert page.count("path.answer") == 1
    hold_to_peace(page, proxy)


def test_browser_operates_with_a_token(cut, browser, start, db, peer, tokens):  # noqa: F811
    add_world(db, peer)
    proxy = start(EDGEPROXY_API_TOKEN_FILE=tokens, **LOOPBACK)
    page = open_page(browser, proxy)
    page.click("#operate")
    page.type("#token", "not-one-that-is-known")
    page.click("#token-form [type=submit]")
    until(lambda: "does not know" in page.text("#token-error"), "a wrong token is refused")
    assert page.eval("document.body.classList.contains('operating')") is False
    page.type("#token", SECRET)
    page.click("#token-form [type=submit]")
    until(lambda: page.eval("document.body.classList.contains('operating')"), "the token is taken")
    assert page.eval("JSON.stringify(localStorage)").find(SECRET) < 0
    until(lambda: page.text("#rows tr:first-child td:nth-child(8)").startswith("127.0.0.1:"),
          "addresses are shown")
    page.click("#rows tr:first-child [data-action=drain]")
    assert page.text("#confirm-title") == "Drain: eu-1"
    page.click("#confirm [value=no]")
    page.click("#rows tr:last-child [data-action=drain]")
    page.click("#confirm-yes")
    until(lambda: page.text("#toast") == "us-1: drain", "that is said")
    until(lambda: page.text("#rows tr:last-child .state") == "drain", "it drains")
    assert [e["backend"] for e in proxy.log.find("backend_state")] == ["us-1"]
    assert page.text("#rows tr:first-child .state") == "up"
    page.click("#operate")
    assert page.eval("document.body.classList.contains('operating')") is False
    assert page.text("#rows tr:first-child td:nth-child(8)") == "" or page.eval("state.token") == ""
    hold_to_peace(page, proxy, expected=["401"])


def test_browser_says_when_the_connection_is_lost(cut, browser, start, db, peer):
    add_world(db, peer)
    proxy = start(**LOOPBACK)
    page = open_page(browser, proxy)
    proxy.stop()
    until(lambda: "connection lost" in page.text("#link"), "the loss is said")
    assert page.eval("document.body.classList.contains('stale')")


@pytest.mark.parametrize("width", [360, 800, 1000, 1440, 2560])
def test_browser_fits_every_width(cut, browser, start, db, peer, width):
    add_world(db, peer)
    db.add("x-" + "long" * 20, peer(Identity, "x"), region="a-region-of-some-length")
    proxy = start(**LOOPBACK)
    page = open_page(browser, proxy, width=width, height=900)
    until(lambda: page.count("#rows tr") == 4, "rows")
    assert page.eval("document.documentElement.scrollWidth") <= width
    assert page.text("#elsewhere text:last-child")  # a region that is on no map has a slot
    hold_to_peace(page, proxy)


def test_browser_light_dark_and_still(cut, browser, start, db, peer):
    add_world(db, peer)
    proxy = start(**LOOPBACK)
    page = open_page(browser, proxy)

    def background():
        return page.eval("getComputedStyle(document.body).backgroundColor")
    light = background()
    page.prefer("dark", motion="reduce")
    until(lambda: background() != light, "dark by the system's wish")
    dark = background()
    page.click("#theme")
    assert page.text("#theme") == "Theme: light" and background() == light
    page.click("#theme")
    page.prefer("light", motion="reduce")
    assert page.text("#theme") == "Theme: dark" and background() == dark
    page.go(url_of(proxy))
    assert page.text("#theme") == "Theme: dark"  # kept
    clients(proxy, BR, US)
    until(lambda: page.count("path.dot") == 2, "dots")
    assert page.eval("getComputedStyle(document.querySelector('.dot')).display") == "none"
    hold_to_peace(page, proxy)


def test_browser_names_what_can_be_pressed(cut, browser, start, db, peer):
    """Every control has a name, every picture is named or hidden, and the keyboard gets there."""
    add_world(db, peer)
    proxy = start(**LOOPBACK)
    page = open_page(browser, proxy)
    until(lambda: page.count("#rows tr") == 3, "rows")
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    named = {"button", "textbox", "searchbox", "combobox", "image", "link", "table"}
    nameless = [n["role"]["value"] for n in nodes
                if not n["ignored"] and n["role"]["value"] in named - {"table"}
                and not n.get("name", {}).get("value")]
    assert nameless == []
    page.key("Tab", "Tab", 9)
    assert page.eval("document.activeElement.className") == "skip"
    page.key("Tab", "Tab", 9)
    assert page.eval("document.activeElement.id") == "theme"
    hold_to_peace(page, proxy)
