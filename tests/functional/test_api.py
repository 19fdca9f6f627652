"""The registration API against the real binary: every route, every error, and clients beside it."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import threading

import pytest

import openapi
from harness import ROOT, http_connection, run_cli, split_addr, until
from peers import Echo, Identity

SECRET, OTHER = "s3cret-of-everything-01", "s3cret-of-web-only-002"
DOCUMENT = json.loads((ROOT / "src" / "api" / "openapi.json").read_text())
PROMISED = openapi.Document(DOCUMENT)


class Api:
    """A client; every answer is held to what the document says of it."""

    def __init__(self, proxy, token=None, since=0):
        self.where = proxy.wait_event("api_listening", since=since)["addr"]
        self.token = token
        self.seen = set()

    def connection(self):
        return http_connection(self.where)

    @property
    def addr(self):
        return split_addr(self.where)

    def raw(self, method, path, body=None, headers=()):
        headers = dict(headers)
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        with contextlib.closing(self.connection()) as c:
            c.request(method, path, body, headers)
            r = c.getresponse()
            return r, r.read()

    def call(self, method, path, body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        r, text = self.raw(method, path, body, headers)
        answer = json.loads(text) if text else None
        PROMISED.hold(method, path, r.status, r.headers, text)
        return r.status, answer

    def register(self, id, peer, **more):
        host, port = peer.addr[:2]
        body = dict(id=id, app="myapp", region="sa", ip=host, port=port)
        body.update(more)
        return self.call("POST", "/api/v1/register", body)


LOOPBACK = dict(EDGEPROXY_API_ENABLED="true", EDGEPROXY_API_LISTEN_ADDR="127.0.0.1:0",
                EDGEPROXY_API_ALLOW_ADDRS="127.0.0.0/8", EDGEPROXY_API_RATE=0,
                EDGEPROXY_BINDING_TTL_SECS=0)


@pytest.fixture
def tokens(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# who may\nadmin {SECRET}\nweb   {OTHER} web other\n")
    path.chmod(0o600)
    return path


def rows(db, sql, *values):
    with contextlib.closing(db.connect()) as connection:
        return connection.execute(sql, values).fetchall()


# ---- the document and the routes ----

def test_document_has_the_routes_that_there_are(start):
    routes = {(method, pattern) for method, pattern in re.findall(
        r'^ROUTE\(\w+, (\w+), "([^"]+)"', (ROOT / "src/api/routes.def").read_text(), re.M)}
    assert routes == {(method.upper(), path) for path, methods in DOCUMENT["paths"].items()
                      for method in methods}
    fields = {name for name in re.findall(
        r'^FIELD\("(\w+)"', (ROOT / "src/registry/registration.def").read_text(), re.M)}
    assert fields == set(DOCUMENT["components"]["schemas"]["Registration"]["properties"])
    api = Api(start(**LOOPBACK))
    assert api.call("GET", "/openapi.json") == (200, DOCUMENT)
    text = (ROOT / "docs" / "api.md").read_text()
    assert [path for _, path in routes if f"`{path}`" not in text] == []


def test_health(start, db, peer):
    proxy = start(**LOOPBACK)
    api = Api(proxy)
    status, answer = api.call("GET", "/health")
    assert status == 200 and answer["status"] == "ok" and answer["backends"] == 0
    assert set(answer) == {"status", "version", "backends", "uptime_secs"}
    assert api.call("GET", "/healthz")[0] == 200
    assert api.call("GET", "/readyz")[0] == 503
    db.add("sa-1", peer(Identity, "one"))
    until(lambda: api.call("GET", "/readyz")[0] == 200, "ready")
    assert api.call("GET", "/health")[1]["backends"] == 1
    r, text = api.raw("HEAD", "/health")
    assert r.status == 200 and text == b""


def test_off_by_default(start):
    proxy = start()
    assert not proxy.log.find("api_listening")


# ---- registrations route ----

def test_registration_routes_and_deregistration_stops(start, db, peer):
    proxy = start(**LOOPBACK)
    api = Api(proxy)
    one, two = peer(Identity, "one"), peer(Identity, "two")
    assert api.register("b-1", one) == (201, dict(id="b-1", registered=True, message="registered",
                                                  ttl_secs=60))
    until(lambda: proxy.label("200.160.2.3") == "one", "a client reaches it")
    assert rows(db, "SELECT weight, soft_limit, hard_limit, healthy, deleted FROM backends") == [
        (2, 100, 150, 1, 0)]
    assert api.register("b-2", two, weight=7, country="br")[0] == 201
    until(lambda: proxy.label("200.160.2.4") == "two", "the client's own country")
    assert api.call("DELETE", "/api/v1/backends/b-2") == (200, dict(id="b-2", deregistered=True))
    until(lambda: {proxy.label(f"200.160.3.{i}") for i in range(8)} == {"one"}, "two is left out")
    assert rows(db, "SELECT deleted FROM backends WHERE id = 'b-2'") == [(1,)]
    assert api.call("GET", "/api/v1/backends/b-2")[0] == 404
    assert api.call("DELETE", "/api/v1/backends/b-2")[0] == 404
    assert api.call("POST", "/api/v1/heartbeat/b-2")[0] == 404
    assert api.register("b-2", two)[0] == 201  # comes back, with its old row
    until(lambda: "two" in {proxy.label(f"200.160.4.{i}") for i in range(8)}, "back")


def test_registration_is_idempotent(start, db, peer):
    proxy = start(**LOOPBACK)
    api = Api(proxy)
    one = peer(Identity, "one")
    assert api.register("b-1", one)[0] == 201
    with contextlib.closing(db.connect()) as watcher:
        version = watcher.execute("PRAGMA data_version").fetchone()
        for _ in range(3):
            assert api.register("b-1", one)[0] == 200
            assert api.call("POST", "/api/v1/heartbeat/b-1")[0] == 200
            host, port = one.addr[:2]
            status, answer = api.call("PUT", "/api/v1/backends/b-1", dict(
                app="myapp", region="sa", ip=host, port=port))
            assert status == 200 and answer["port"] == port
        assert watcher.execute("PRAGMA data_version").fetchone() == version
        assert api.register("b-1", one, weight=9)[0] == 200
        assert watcher.execute("PRAGMA data_version").fetchone() != version
    proxy.wait_event("backend_registered", count=2)


def test_seed_schema_gets_what_it_lacks(start, tmp_path, peer):
    from harness import SEED_SCHEMA, RoutingDb
    seed = RoutingDb(tmp_path / "seed.db", SEED_SCHEMA)
    api = Api(start(db=seed, **LOOPBACK))
    one = peer(Identity, "one")
    assert api.register("b-1", one)[0] == 201
    names = "SELECT group_concat(name) FROM pragma_table_info('backends')"
    assert rows(seed, names)[0][0].endswith("deleted")
    seed.run("INSERT INTO backends VALUES ('o', 'a', 'sa', '127.0.0.1', 9, 1, 2, 50, 100, 0)")
    assert api.call("POST", "/api/v1/backends/b-1/ready")[0] == 200
    assert api.call("POST", "/api/v1/backends/b-1/drain")[1]["state"] == "drain"
    assert api.register("b-1", one, country="BR")[0] == 200
    assert rows(seed, names)[0][0].endswith("deleted,state,country")
    assert api.call("GET", "/api/v1/backends/b-1")[1]["state"] == "drain"


# ---- heartbeats ----

def test_missed_heartbeats(start, db, peer):
    proxy = start(EDGEPROXY_HEARTBEAT_TTL_SECS=1, EDGEPROXY_API_FORGET_SECS=3, **LOOPBACK)
    api = Api(proxy)
    one, two = peer(Identity, "one"), peer(Identity, "two")
    db.add("operators", two)
    assert api.register("b-1", one)[0] == 201
    proxy.wait_event("heartbeat_missed", lambda e: e["backend"] == "b-1")
    status, b = api.call("GET", "/api/v1/backends/b-1")
    assert not b["healthy"] and b["registered"]
    until(lambda: {proxy.label(f"200.160.2.{i}") for i in range(4)} == {"two"}, "it is left out")
    assert api.call("POST", "/api/v1/heartbeat/b-1")[0] == 200
    assert api.call("GET", "/api/v1/backends/b-1")[1]["healthy"]
    proxy.wait_event("heartbeat_resumed")
    proxy.wait_event("registration_forgotten", lambda e: e["backend"] == "b-1")
    assert rows(db, "SELECT deleted FROM backends WHERE id = 'b-1'") == [(1,)]
    assert api.call("POST", "/api/v1/heartbeat/b-1")[0] == 404
    # What the registry did not write does not expire.
    assert rows(db, "SELECT healthy, deleted FROM backends WHERE id = 'operators'") == [(1, 0)]
    assert len(proxy.log.find("heartbeat_missed")) == 2


def test_after_a_restart_each_has_one_ttl(start, db, peer):
    proxy = start(**LOOPBACK)
    api = Api(proxy)
    one = peer(Identity, "one")
    assert api.register("b-1", one)[0] == 201
    assert api.register("b-2", peer(Identity, "two"))[0] == 201
    proxy.stop()
    proxy = start(EDGEPROXY_HEARTBEAT_TTL_SECS=3, **LOOPBACK)
    api = Api(proxy)
    until(lambda: api.call("POST", "/api/v1/heartbeat/b-1")[0] == 200, "known from the database")
    assert api.call("GET", "/api/v1/backends/b-2")[1]["last_heartbeat_secs"] is None
    assert api.call("GET", "/api/v1/backends/b-1")[1]["last_heartbeat_secs"] is not None
    missed = proxy.wait_event("heartbeat_missed")
    assert missed["backend"] in ("b-1", "b-2")
    proxy.wait_event("heartbeat_missed", lambda e: e["backend"] == "b-2")


def test_operator_takes_a_registration_out(start, db, peer):
    proxy = start(**LOOPBACK)
    api = Api(proxy)
    assert api.register("b-1", peer(Identity, "one"))[0] == 201
    assert api.call("POST", "/api/v1/heartbeat/b-1")[0] == 200
    db.set("b-1", deleted=1)
    until(lambda: api.call("POST", "/api/v1/heartbeat/b-1")[0] == 404, "it has to register anew")


# ---- operators ----

def test_operators_rows(start, db, peer):
    one = peer(Identity, "one")
    db.add("o-1", one, region="eu", country="DE")
    proxy = start(**LOOPBACK)
    api = Api(proxy)
    status, b = api.call("GET", "/api/v1/backends/o-1")
    assert status == 200 and not b["registered"] and b["last_heartbeat_secs"] is None
    assert (b["country"], b["state"], b["connections"]) == ("DE", "ready", 0)
    status, problem = api.register("o-1", one)
    assert status == 409 and problem["field"] == "id"
    assert api.call("DELETE", "/api/v1/backends/o-1")[0] == 409
    assert api.call("POST", "/api/v1/heartbeat/o-1")[0] == 404
    for state in ("drain", "maint", "ready"):
        status, b = api.call("POST", f"/api/v1/backends/o-1/{state}")
        assert status == 200 and b["state"] == state
        assert proxy.wait_event("backend_state", lambda e: e["state"] == state)
    assert api.call("POST", "/api/v1/backends/nobody/drain")[0] == 404
    assert rows(db, "SELECT deleted FROM backends") == [(0,)]


def test_admin_state_outlives_a_registration(start, peer):
    api = Api(start(**LOOPBACK))
    one = peer(Identity, "one")
    api.register("b-1", one)
    assert api.call("POST", "/api/v1/backends/b-1/maint")[0] == 200
    assert api.register("b-1", one, weight=3)[0] == 200
    assert api.call("GET", "/api/v1/backends/b-1")[1]["state"] == "maint"


def test_list(start, db):
    for i in range(25):
        db.add(f"x-{i:02}", ("127.0.0.1", 1000 + i), app="web" if i % 2 else "db",
               region="sa" if i < 20 else "eu", healthy=int(i % 5 != 0))
    db.add("gone", ("127.0.0.1", 1), deleted=1)
    api = Api(start(**LOOPBACK))
    path, ids = "/api/v1/backends?limit=10", []
    while path:
        status, page = api.call("GET", path)
        assert status == 200 and page["total"] == 25
        ids += [b["id"] for b in page["backends"]]
        path = page["next"] and f"/api/v1/backends?limit=10&after={page['next']}"
    assert ids == [f"x-{i:02}" for i in range(25)]

    def total(query):
        return api.call("GET", f"/api/v1/backends?{query}")[1]["total"]
    assert total("app=web") == 12 and total("region=eu") == 5 and total("healthy=false") == 5
    assert total("app=web&region=e%75&healthy=true") == 2 and total("state=drain") == 0
    for query, field in (("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"),
                         ("healthy=1", "healthy"), ("nonsense=1", "nonsense"), ("app=%zz", "app"),
                         ("app=", "app"), ("app=a&app=b", "app"), ("limit=99999999999", "limit")):
        status, problem = api.call("GET", f"/api/v1/backends?{query}")
        assert status == 400 and problem["field"] == field, query
    many = "&".join(f"p{i}=1" for i in range(20))
    assert api.call("GET", f"/api/v1/backends?{many}")[0] == 400


# ---- errors ----

GOOD = dict(id="b-1", app="myapp", region="sa", ip="127.0.0.1", port=80)


@pytest.mark.parametrize("change, field", [
    (dict(id=None), "id"), (dict(id=""), "id"), (dict(id="x" * 129), "id"), (dict(id=7), "id"),
    (dict(id="a\nb"), "id"), (dict(app=""), "app"), (dict(region="s a"), "region"),
    (dict(ip="localhost"), "ip"), (dict(ip="10.1.1.1"), "ip"), (dict(ip="0.0.0.0"), "ip"),
    (dict(ip="224.0.0.1"), "ip"), (dict(port=0), "port"), (dict(port=65536), "port"),
    (dict(port="80"), "port"), (dict(port=80.0), "port"), (dict(port=True), "port"),
    (dict(weight=-1), "weight"), (dict(weight=65536), "weight"), (dict(soft_limit=0), "soft_limit"),
    (dict(hard_limit=1 << 40), "hard_limit"), (dict(country="XX"), "country"),
    (dict(country=5), "country"), (dict(script="x.sh"), "script"), (dict(healthy=1), "healthy"),
])
def test_fields(start, change, field):
    api = Api(start(**LOOPBACK))
    status, problem = api.call("POST", "/api/v1/register", {**GOOD, **change})
    assert (status, problem.get("field")) == (400, field), problem


def test_addresses_by_default(start, db):
    api = Api(start(**{**LOOPBACK, "EDGEPROXY_API_ALLOW_ADDRS": ""}))
    for ip in ("127.0.0.1", "::1", "169.254.169.254", "::ffff:127.0.0.1", "192.0.2.1", "fe80::1",
               "255.255.255.255", "64:ff9b::7f00:1"):
        status, problem = api.call("POST", "/api/v1/register", {**GOOD, "ip": ip})
        assert (status, problem["field"]) == (400, "ip"), ip
    for number, ip in enumerate(("10.50.1.1", "100.64.0.1", "fdaa::1", "8.8.8.8", "2a01:4f8::1")):
        assert api.call("POST", "/api/v1/register", {**GOOD, "id": f"g{number}", "ip": ip})[0] == 201


def test_bodies(start):
    api = Api(start(**LOOPBACK))

    def post(body, **headers):
        return api.call("POST", "/api/v1/register", body, **headers)[0]
    for body in (b"", b"{", b"[]", b"null", b"\xff", b'{"id":1,"id":2}', b"[" * 5000, b"{}x",
                 b'{"id":"\\u0000"}'):
        assert post(body) == 400, body
    assert post(json.dumps(GOOD), Content_Type="text/plain") == 415
    assert post(json.dumps(GOOD), Content_Type="application/json; charset=utf-8") == 201
    assert api.raw("POST", "/api/v1/register", json.dumps(GOOD))[0].status == 415
    assert post(b" " * 16385) == 413
    assert post(b" " * 16000 + json.dumps(GOOD).encode()) == 200
    assert api.call("PUT", "/api/v1/backends/other", GOOD)[1]["field"] == "id"
    with socket.create_connection(api.addr, timeout=60) as s:  # in chunks, without a length
        s.sendall(b"POST /api/v1/register HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
                  b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        s.sendall((b"1000\r\n" + b" " * 0x1000 + b"\r\n") * 5 + b"0\r\n\r\n")
        assert b" 413 " in s.makefile("rb").readline()
    with socket.create_connection(api.addr, timeout=60) as s:  # and without an end
        s.sendall(b"POST /api/v1/register HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                  b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                s.sendall(b"1000\r\n" + b" " * 0x1000 + b"\r\n")
            s.recv(1)  # or it is closed here
    assert api.call("GET", "/healthz")[0] == 200


def test_paths(start):
    api = Api(start(**LOOPBACK))
    for path in ("/nothing", "/page", "/health/", "/api/v1/backends/", "/api/v1/backends/a/b",
                 "//health", "/api/v1/heartbeat"):
        assert api.call("GET", path)[0] == 404, path
    for path in ("/api/v1/backends/%zz", "/api/v1/backends/%00", "/api/v1/backends/" + "x" * 129):
        assert api.call("GET", path)[0] == 400, path
    r, _ = api.raw("PATCH", "/api/v1/backends/x")
    assert r.status == 405 and r.headers["Allow"] == "GET, HEAD, PUT, DELETE"
    r, _ = api.raw("OPTIONS", "/health")
    assert r.status == 405 and r.headers["Allow"] == "GET, HEAD"
    assert api.call("PUT", "/api/v1/backends/a%2Fb", {k: v for k, v in GOOD.items() if k != "id"}
                    )[0] == 201
    assert api.call("GET", "/api/v1/backends/a%2fb")[1]["id"] == "a/b"


def test_app_of_this_proxy(start):
    api = Api(start(EDGEPROXY_APP="web", **LOOPBACK))
    assert api.call("POST", "/api/v1/register", GOOD)[1]["field"] == "app"
    assert api.call("POST", "/api/v1/register", {**GOOD, "app": "web"})[0] == 201


def test_id_of_another_app(start):
    api = Api(start(**LOOPBACK))
    assert api.call("POST", "/api/v1/register", GOOD)[0] == 201
    status, problem = api.call("POST", "/api/v1/register", {**GOOD, "app": "web"})
    assert (status, problem["field"]) == (409, "app")


# ---- conditions ----

def tag_of(api, path):
    r, _ = api.raw("GET", path)
    assert r.status == 200
    return r.headers["ETag"]


def test_entity_tag_of_one(start, db, peer):
    api = Api(start(**LOOPBACK))
    path = "/api/v1/backends/b-1"
    api.call("POST", "/api/v1/register", GOOD)
    tag = tag_of(api, path)
    assert tag[0] == '"'
    # Heartbeats and renewals that say nothing new do not change it.
    api.call("POST", "/api/v1/heartbeat/b-1")
    api.call("POST", "/api/v1/register", GOOD)
    for known in (tag, f'"x", {tag}', "W/" + tag, "*"):
        assert api.call("GET", path, If_None_Match=known) == (304, None)
    r, body = api.raw("HEAD", path, headers={"If-None-Match": tag})
    assert (r.status, body, r.headers["ETag"]) == (304, b"", tag)
    assert api.call("GET", path, If_None_Match='"x"')[0] == 200
    assert api.call("GET", path, If_Match=tag)[0] == 200
    assert api.call("GET", path, If_Match='"x"')[0] == 412
    for change in (lambda: api.call("POST", "/api/v1/register", {**GOOD, "weight": 7}),
                   lambda: api.call("POST", path + "/drain"),
                   lambda: db.set("b-1", region="us")):
        change()
        assert api.call("GET", path, If_None_Match=tag)[0] == 200
        tag = tag_of(api, path)
    for bad in ("x", "", '"', f"{tag} {tag}", "*, *"):
        status, problem = api.call("GET", path, If_None_Match=bad)
        assert (status, problem["field"]) == (400, "If-None-Match")


def test_entity_tag_of_the_list(start, db):
    for i in range(5):
        db.add(f"x-{i}", ("127.0.0.1", 1000 + i), app="web" if i % 2 else "db")
    api = Api(start(**LOOPBACK))
    path = "/api/v1/backends"
    tag, web = tag_of(api, path), tag_of(api, path + "?app=web")
    assert tag.startswith('W/"') and tag != web
    assert api.call("GET", path, If_None_Match=tag) == (304, None)
    assert api.call("GET", path + "?app=web", If_None_Match=tag)[0] == 200
    db.set("x-0", weight=77)
    assert api.call("GET", path, If_None_Match=tag)[0] == 200
    assert api.call("GET", path + "?app=web", If_None_Match=web)[0] == 304
    db.set("x-4", deleted=1)
    page = tag_of(api, path + "?limit=2")
    db.set("x-3", deleted=1)  # on another page, and counted in total
    assert api.call("GET", path + "?limit=2", If_None_Match=page)[0] == 200
    db.run("DELETE FROM backends")
    empty = tag_of(api, path)
    assert api.call("GET", path, If_None_Match=empty)[0] == 304


def test_change_only_what_was_seen(start, db):
    api = Api(start(**LOOPBACK))
    path = "/api/v1/backends/b-1"
    wanted = {k: v for k, v in GOOD.items() if k != "id"}

    def put(weight, **conditions):
        return api.call("PUT", path, {**wanted, "weight": weight}, **conditions)

    def weight():
        return rows(db, "SELECT weight FROM backends WHERE id = 'b-1'")
    status, problem = put(1, If_Match="*")
    assert (status, problem["field"]) == (412, "If-Match") and weight() == []
    assert put(1, If_None_Match="*")[0] == 201  # make it, but take over nobody's
    status, problem = put(2, If_None_Match="*")
    assert (status, problem["field"]) == (412, "If-None-Match") and weight() == [(1,)]
    tag = tag_of(api, path)
    assert put(2, If_Match="W/" + tag)[0] == 412  # weak ones do not count here
    assert put(2, If_Match=tag)[0] == 200
    assert put(3, If_Match=tag)[0] == 412 and weight() == [(2,)]  # who was first has won
    assert put(3, If_Match="nonsense")[0] == 400 and weight() == [(2,)]
    assert api.call("DELETE", path, If_Match=tag)[0] == 412
    assert rows(db, "SELECT deleted FROM backends") == [(0,)]
    assert api.call("DELETE", path, If_Match=tag_of(api, path))[0] == 200
    assert api.call("DELETE", path, If_Match="*")[0] == 404  # errors come before conditions
    assert put(4, If_Match="*")[0] == 412  # what is deleted is not there
    assert put(4, If_None_Match="*")[0] == 201
    # No condition on what is no representation of the row.
    assert api.call("POST", path + "/drain", If_Match='"x"')[0] == 200


# ---- several POPs, one database ----

def test_only_the_pop_that_registered_expires(start, db, peer):
    one, two = peer(Identity, "one"), peer(Identity, "two")
    both = dict(EDGEPROXY_HEARTBEAT_TTL_SECS=1, EDGEPROXY_API_FORGET_SECS=2, **LOOPBACK)
    here, there = start(EDGEPROXY_POP="sa-1", **both), start(EDGEPROXY_POP="us-1", **both)
    a, b = Api(here), Api(there)
    assert a.register("b-1", one)[0] == 201
    assert b.call("GET", "/api/v1/backends/b-1")[1]["pop"] == "sa-1"
    assert b.register("b-2", two)[0] == 201
    assert b.call("POST", "/api/v1/heartbeat/b-1")[0] == 404  # it is not heard there

    def beat():
        assert a.call("POST", "/api/v1/heartbeat/b-1")[0] == 200
        return there.log.find("registration_forgotten", lambda e: e["backend"] == "b-2")
    until(beat, "the silent one is forgotten", pause=0.2)
    assert not there.log.find("heartbeat_missed", lambda e: e["backend"] == "b-1")
    assert not here.log.find("heartbeat_missed", lambda e: e["backend"] == "b-2")
    here.stop()  # nobody else expires it
    until(lambda: b.register("b-2", two)[0] == 201 or True, "again")
    there.wait_event("registration_forgotten", lambda e: e["backend"] == "b-2", count=2)
    assert rows(db, "SELECT healthy, deleted FROM backends WHERE id = 'b-1'") == [(1, 0)]
    assert there.label("200.160.2.3") == "one"


def test_a_registration_moves_to_where_it_is_made(start, db, peer):
    one = peer(Identity, "one")
    here, there = (start(EDGEPROXY_POP=pop, EDGEPROXY_HEARTBEAT_TTL_SECS=2, **LOOPBACK)
                   for pop in ("sa-1", "us-1"))
    a, b = Api(here), Api(there)
    assert a.register("b-1", one)[0] == 201
    assert b.register("b-1", one)[0] == 200
    moved = there.wait_event("registration_moved")
    assert (moved["backend"], moved["from"], moved["to"]) == ("b-1", "sa-1", "us-1")
    until(lambda: a.call("POST", "/api/v1/heartbeat/b-1")[0] == 404, "it is told to register")
    assert b.register("b-1", one)[0] == 200
    assert len(there.log.find("registration_moved")) == 1
    there.wait_event("heartbeat_missed")  # only where it is now
    assert not here.log.find("heartbeat_missed")
    assert b.call("POST", "/api/v1/heartbeat/b-1")[0] == 200
    assert a.call("DELETE", "/api/v1/backends/b-1")[0] == 200  # anybody may take it out
    until(lambda: b.call("POST", "/api/v1/heartbeat/b-1")[0] == 404, "not registered any more")


def test_without_a_pop_there_is_no_column(start, db, peer):
    column = "SELECT count(*) FROM pragma_table_info('registrations') WHERE name = 'pop'"
    proxy = start(**LOOPBACK)
    api = Api(proxy)
    assert api.register("b-1", peer(Identity, "one"))[0] == 201
    assert api.call("GET", "/api/v1/backends/b-1")[1]["pop"] is None
    assert rows(db, column) == [(0,)]
    proxy.stop()
    proxy = start(EDGEPROXY_POP="sa-1", EDGEPROXY_HEARTBEAT_TTL_SECS=1, **LOOPBACK)
    api = Api(proxy)
    # Whoever adds the column had the database to himself: what is there is his.
    assert api.register("b-2", peer(Identity, "two"))[0] == 201
    assert rows(db, "SELECT id, pop FROM registrations ORDER BY id") == [("b-1", "sa-1"),
                                                                         ("b-2", "sa-1")]
    proxy.wait_event("heartbeat_missed", count=2)


# ---- who may ----

def test_tokens_and_scopes(start, tokens, db):
    db.add("o-1", ("127.0.0.1", 1), app="db")
    proxy = start(**LOOPBACK, EDGEPROXY_API_TOKEN_FILE=tokens)
    admin, web, nobody = Api(proxy, SECRET), Api(proxy, OTHER), Api(proxy)
    for method, path in (("POST", "/api/v1/register"), ("GET", "/api/v1/backends"),
                         ("POST", "/api/v1/heartbeat/x"), ("DELETE", "/api/v1/backends/x"),
                         ("POST", "/api/v1/backends/x/drain")):
        for wrong in (None, "Bearer", "Bearer ", f"Basic {SECRET}", f"Bearer {SECRET}x",
                      f"Bearer {SECRET[:-1]}", f"Bearer {'x' * 5000}", SECRET):
            r, _ = nobody.raw(method, path, "{}", {"Authorization": wrong} if wrong else {})
            assert r.status == 401 and r.headers["WWW-Authenticate"].startswith("Bearer")
    assert nobody.call("GET", "/health")[0] == 200
    assert web.call("POST", "/api/v1/register", {**GOOD, "id": "w", "app": "web"})[0] == 201
    status, problem = web.call("POST", "/api/v1/register", GOOD)
    assert (status, problem["field"]) == (403, "app")
    assert admin.call("POST", "/api/v1/register", GOOD)[0] == 201
    for method, path in (("GET", "b-1"), ("DELETE", "b-1"), ("POST", "b-1/drain"),
                         ("GET", "o-1"), ("POST", "o-1/maint")):
        assert web.call(method, f"/api/v1/backends/{path}")[0] == 403
    assert web.call("POST", "/api/v1/heartbeat/b-1")[0] == 403
    assert web.call("GET", "/api/v1/backends?app=db")[0] == 403
    assert web.call("POST", "/api/v1/register", {**GOOD, "app": "web"})[0] == 409
    assert [b["id"] for b in web.call("GET", "/api/v1/backends")[1]["backends"]] == ["w"]
    assert admin.call("GET", "/api/v1/backends")[1]["total"] == 3
    assert proxy.wait_event("backend_registered", lambda e: e["backend"] == "w")["by"] == "web"
    assert SECRET not in proxy.log.text() and OTHER not in proxy.log.text()


def test_tokens_are_read_again(start, tokens):
    proxy = start(**LOOPBACK, EDGEPROXY_API_TOKEN_FILE=tokens)
    admin = Api(proxy, SECRET)
    mark = proxy.mark()
    tokens.write_text("broken\n")
    proxy.sighup()
    assert "NAME TOKEN" in proxy.wait_event("api_tokens_failed", since=mark)["error"]
    assert admin.call("GET", "/api/v1/backends")[0] == 200
    tokens.write_text(f"new {OTHER}\n")
    proxy.sighup()
    proxy.wait_event("api_tokens_loaded", since=mark)
    assert admin.call("GET", "/api/v1/backends")[0] == 401
    assert Api(proxy, OTHER).call("GET", "/api/v1/backends")[0] == 200


@pytest.mark.parametrize("addr, why", [
    ("0.0.0.0:0", "EDGEPROXY_API_TOKEN_FILE"), ("10.0.0.1:0", "EDGEPROXY_API_TOKEN_FILE"),
    (":0", "EDGEPROXY_API_TOKEN_FILE"), (":9999", "EDGEPROXY_API_TOKEN_FILE"), ("localhost:80", "ADDRESS"),
    ("unix:relative", "unix:/PATH"), ("unix:/nonexistent/x.sock", "No such file")])
def test_start_is_refused(start, addr, why):
    proxy = start(wait_ready=False, **{**LOOPBACK, "EDGEPROXY_API_LISTEN_ADDR": addr})
    assert proxy.wait_exit() == 1
    assert why in proxy.log.find("start_failed")[-1]["error"]


@pytest.mark.parametrize("text", ["", "# only\n", "short tooshort\n", f"a {SECRET}\nb {SECRET}\n"])
def test_start_is_refused_without_good_tokens(start, tokens, text):
    tokens.write_text(text)
    proxy = start(wait_ready=False, **LOOPBACK, EDGEPROXY_API_TOKEN_FILE=tokens)
    assert proxy.wait_exit() == 1
    assert SECRET not in proxy.log.text()


def test_everywhere_with_a_token(start, tokens):
    proxy = start(**{**LOOPBACK, "EDGEPROXY_API_LISTEN_ADDR": "0.0.0.0:0"},
                  EDGEPROXY_API_TOKEN_FILE=tokens)
    port = split_addr(proxy.wait_event("api_listening")["addr"])[1]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in s.makefile("rb").readline()


def test_unix_socket(start, tmp_path):
    path = tmp_path / "api.sock"
    env = {**LOOPBACK, "EDGEPROXY_API_LISTEN_ADDR": f"unix:{path}"}
    proxy = start(**env)
    assert Api(proxy).call("POST", "/api/v1/register", GOOD)[0] == 201
    assert path.stat().st_mode & 0o777 == 0o660
    second = start(wait_ready=False, **env)
    assert second.wait_exit() == 1  # one listens there
    proxy.process.kill()
    proxy.process.wait()
    proxy.log.join()
    proxy.process.stderr.close()
    proxy.stopped = True
    third = start(**env)  # nobody does any more
    assert Api(third).call("GET", "/api/v1/backends/b-1")[0] == 200
    third.stop()
    assert not path.exists()


def test_pages_of_other_sites(start):
    api = Api(start(**LOOPBACK))
    assert api.call("POST", "/api/v1/backends/x/drain", Origin="http://evil.example")[0] == 403
    assert api.call("GET", "/api/v1/backends", Host="evil.example:8081")[0] == 403
    assert api.call("GET", "/api/v1/backends", Host="1.2.3.4.evil.example")[0] == 403
    assert api.call("GET", "/api/v1/backends", Host="localhost:8081")[0] == 200


# ---- what is bad does not spread ----

def test_rate(start):
    proxy = start(**{**LOOPBACK, "EDGEPROXY_API_RATE": 5})
    api = Api(proxy)
    until(lambda: api.call("GET", "/health")[0] == 429, "too fast")
    r, _ = api.raw("GET", "/health")
    if r.status == 429:
        assert r.headers["Retry-After"] == "1"
    until(lambda: api.call("GET", "/health")[0] == 200, "slower is served")


def test_thousand_slow_clients(start, db, peer):
    db.add("sa-1", peer(Echo))
    proxy = start(EDGEPROXY_API_CLIENT_MAX_CONN=0, **LOOPBACK)
    api = Api(proxy)
    client = proxy.connect("200.160.2.3")
    before = proxy.fd_count()
    slow = []
    for _ in range(1000):
        s = socket.socket()
        s.setblocking(False)  # those beyond the limit wait in the backlog, or for it
        s.connect_ex(api.addr)
        with contextlib.suppress(OSError):
            s.sendall(b"POST /api/v1/register HTTP/1.1\r\nHo")
        slow.append(s)
    until(lambda: proxy.fd_count() >= before + 250, "as many as there may be")
    assert proxy.fd_count() <= before + 256 + 8
    for _ in range(20):  # the data path goes on, old clients and new ones
        client.sendall(b"ping")
        assert client.recv(4) == b"ping"
        with proxy.connect("200.160.2.4") as other:
            other.sendall(b"ping")
            assert other.recv(4) == b"ping"

    for s in slow[256:]:
        s.close()
    del slow[256:]

    def drip():  # they are never silent, and still their time is up
        open_ = []
        for s in slow:
            with contextlib.suppress(OSError):
                s.sendall(b"x")
                open_.append(s)
        slow[:] = open_
        return proxy.fd_count() <= before + 16
    until(drip, "slow clients are gone", pause=0.5)
    for s in slow:
        s.close()
    assert api.call("GET", "/health")[0] == 200
    client.close()


def test_locked_database(start, db, peer):
    one = peer(Identity, "one")
    proxy = start(EDGEPROXY_HEARTBEAT_TTL_SECS=1, **LOOPBACK)
    api = Api(proxy)
    assert api.register("b-1", one)[0] == 201
    until(lambda: proxy.label("200.160.2.3") == "one", "a client reaches it")
    with contextlib.closing(db.connect()) as locker:
        locker.isolation_level = None
        locker.execute("BEGIN EXCLUSIVE")
        status, _ = api.register("b-1", one, weight=5)
        assert status == 503
        assert api.call("GET", "/health")[0] == 200
        assert proxy.label("200.160.2.3") == "one"
        proxy.wait_event("api_database_failed")
        locker.execute("ROLLBACK")
    assert until(lambda: api.register("b-1", one, weight=5)[0] == 200, "written")
    proxy.wait_event("api_database_back")
    proxy.wait_event("heartbeat_missed")  # what was due has not been lost


def test_broken_and_missing_database(start, db, peer):
    one = peer(Identity, "one")
    proxy = start(**LOOPBACK)
    api = Api(proxy)
    assert api.register("b-1", one)[0] == 201
    until(lambda: proxy.label("200.160.2.3") == "one", "a client reaches it")
    good = db.path.read_bytes()
    for bad in (b"", b"garbage" * 1000, None):
        db.path.unlink()
        if bad is not None:
            db.path.write_bytes(bad)
        assert api.register("b-2", one)[0] == 503
        assert api.call("GET", "/api/v1/backends")[0] == 503
        assert api.call("DELETE", "/api/v1/backends/b-1")[0] == 503
        assert api.call("POST", "/api/v1/heartbeat/b-1")[0] == 200  # memory only
        assert proxy.label("200.160.2.3") == "one"
        if bad is None:
            assert not db.path.exists()
            db.path.write_bytes(b"")
    db.path.unlink()
    db.path.write_bytes(good)
    until(lambda: api.register("b-2", one)[0] == 201, "back")
    assert rows(db, "SELECT count(*) FROM backends") == [(2,)]


def test_file_renamed_over(start, db, tmp_path, peer):
    from harness import RoutingDb
    proxy = start(**LOOPBACK)
    api = Api(proxy)
    one = peer(Identity, "one")
    assert api.register("b-1", one)[0] == 201
    new = RoutingDb(tmp_path / "new.db")
    new.path.rename(db.path)
    until(lambda: api.call("POST", "/api/v1/heartbeat/b-1")[0] == 404, "not in the new file")
    assert api.register("b-1", one)[0] == 201
    assert rows(db, "SELECT id FROM backends") == [("b-1",)]


@pytest.mark.concurrency
def test_many_at_once(start, db, peer):
    proxy = start(**LOOPBACK)
    api = Api(proxy)
    one = peer(Identity, "one")
    failures = []

    def work(n):
        for i in range(10):
            id = f"t{n}-{i % 5}"
            for status in (api.register(id, one)[0], api.call("POST", f"/api/v1/heartbeat/{id}")[0],
                           api.call("GET", f"/api/v1/backends/{id}")[0]):
                if status not in (200, 201):
                    failures.append(status)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert failures == [] and rows(db, "SELECT count(*) FROM backends") == [(40,)]


# ---- the example ----

def test_example_client(start, db, peer, tokens, tmp_path):
    proxy = start(**LOOPBACK, EDGEPROXY_API_TOKEN_FILE=tokens)
    api = Api(proxy, SECRET)
    one = peer(Identity, "one")
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    client = subprocess.Popen(
        [str(ROOT / "examples" / "register.sh")],
        env=dict(PATH="/usr/bin:/bin", EDGEPROXY_API=f"http://{api.where}", ID="ex-1", APP="myapp",
                 REGION="sa", IP="127.0.0.1", PORT=str(one.addr[1]), INTERVAL="1",
                 TOKEN_FILE=str(secret)),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: proxy.label("200.160.2.3") == "one", "its client is reached")
        db.set("ex-1", deleted=1)  # it registers anew when it is no longer known
        until(lambda: rows(db, "SELECT deleted FROM backends") == [(0,)], "registered again")
    finally:
        client.send_signal(signal.SIGTERM)
        _, said = client.communicate(timeout=60)
    assert client.returncode == 0, said
    assert rows(db, "SELECT deleted FROM backends") == [(1,)]


def test_check(tmp_path, db):
    env = dict(EDGEPROXY_API_ENABLED="1", EDGEPROXY_API_LISTEN_ADDR="0.0.0.0:8081")
    done = run_cli("check", env=env, db=db)
    assert done.returncode == 1 and "EDGEPROXY_API_TOKEN_FILE" in done.stdout
