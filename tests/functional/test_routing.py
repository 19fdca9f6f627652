"""Who gets which backend."""

import contextlib

import pytest

from harness import (BR, BR6, DE, DE6, JP, JP6, SEED_SCHEMA, UNKNOWN, US, US6, RoutingDb,
                     needs_ipv6, split_addr, until)
from peers import Identity

REGIONS = ("sa", "us", "eu", "ap")
HOME = {BR: "sa-1", US: "us-1", DE: "eu-1", JP: "ap-1",
        BR6: "sa-1", US6: "us-1", DE6: "eu-1", JP6: "ap-1"}


@pytest.fixture
def world(db, peer):
    """One labelled backend a region."""
    for region in REGIONS:
        db.add(f"{region}-1", peer(Identity, f"{region}-1"), region=region)
    return db


@pytest.mark.parametrize("pop", REGIONS)
def test_each_country_reaches_its_region(world, start, pop):
    proxy = start(EDGEPROXY_REGION=pop)
    assert {src: proxy.label(src) for src in HOME} == HOME
    brazil = proxy.wait_session(lambda e: e["client"] == f"{BR}:5555")
    assert (brazil["country"], brazil["region"], brazil["place"]) == ("BR", "sa", "database")
    assert brazil["backend"] == "sa-1"
    assert brazil["peer"].startswith("127.0.0.1:")


@pytest.mark.parametrize("pop", REGIONS)
def test_an_unknown_address_stays_in_the_local_region(world, start, pop):
    proxy = start(EDGEPROXY_REGION=pop)
    for src in UNKNOWN:
        assert proxy.label(src) == f"{pop}-1"
    for session in [proxy.wait_session(count=n + 1) for n in range(len(UNKNOWN))]:
        assert "country" not in session and "region" not in session


def test_a_direct_client_is_its_peer_address(world, start):
    proxy = start(EDGEPROXY_REGION="eu", EDGEPROXY_TRUSTED_PROXIES="")
    assert proxy.label() == "eu-1"
    session = proxy.wait_session()
    assert session["client"].startswith("127.0.0.1:")
    assert "peer" not in session and "country" not in session


def test_the_local_region_is_the_second_choice_and_any_other_the_last(world, start):
    world.remove("eu-1")
    proxy = start(EDGEPROXY_REGION="us", EDGEPROXY_BINDING_TTL_SECS=0)
    assert proxy.label(DE) == "us-1"
    world.set("us-1", healthy=0)
    until(lambda: proxy.label(DE) in ("sa-1", "ap-1"), "the last choice")


def test_overrides_come_first_and_the_longest_wins(world, start):
    world.override("84.128.0.0/16", country="US")
    world.override("84.128.0.1/32", region="ap")
    world.override("10.0.0.0/8", country="JP")
    world.override("2001:db8::/32", country="BR", region="eu")
    proxy = start()
    assert proxy.label("84.128.9.9") == "us-1"
    assert proxy.label("84.128.0.1") == "ap-1"
    assert proxy.label("10.9.8.7") == "ap-1"
    assert proxy.label("2001:db8::7") == "eu-1"
    assert proxy.label(DE6) == "eu-1"
    session = proxy.wait_session(lambda e: e["client"].startswith("84.128.9.9"))
    assert (session["country"], session["region"], session["place"]) == ("US", "us", "override")


def test_country_regions_move_a_country(world, start):
    world.country_region("DE", "sa")
    proxy = start(EDGEPROXY_REGION="us")
    assert proxy.label(DE) == "sa-1"
    assert proxy.label("90.0.0.1") == "eu-1"  # France stays


def test_own_country_goes_first_while_under_its_soft_limit(db, start, peer):
    db.add("sa-br", peer(Identity, "sa-br"), country="BR", soft_limit=2, weight=1)
    db.add("sa-ar", peer(Identity, "sa-ar"), country="AR", soft_limit=1000, weight=100)
    proxy = start(EDGEPROXY_BINDING_TTL_SECS=0)
    with contextlib.ExitStack() as held:
        labels = []
        for _ in range(3):
            sock = held.enter_context(proxy.connect(BR))
            labels.append(sock.recv(100).decode().strip())
        assert labels == ["sa-br", "sa-br", "sa-ar"]


@pytest.mark.parametrize("column, value", [
    ("weight", 0), ("healthy", 0), ("deleted", 1), ("state", "drain"), ("state", "maint")])
def test_excluded_backends_take_no_new_clients(world, start, column, value):
    world.set("sa-1", **{column: value})
    proxy = start(EDGEPROXY_REGION="us")
    assert proxy.label(BR) == "us-1"


@pytest.mark.parametrize("column, value", [("weight", 0), ("state", "drain")])
def test_an_excluded_backend_keeps_the_clients_it_has(world, start, column, value):
    proxy = start(EDGEPROXY_REGION="us")
    with proxy.connect(BR) as sock:
        assert sock.recv(100) == b"sa-1\n"
        mark = proxy.mark()
        world.set("sa-1", **{column: value})
        proxy.wait_event("table_loaded", since=mark)
        until(lambda: proxy.label("200.160.2.4") == "us-1", "new clients go elsewhere")
        sock.sendall(b"still here")
        assert sock.recv(100) == b"still here"


def test_nobody_takes_clients(world, start):
    world.run("UPDATE backends SET healthy = 0")
    proxy = start()
    assert proxy.label(BR) == ""
    session = proxy.wait_session()
    assert session["reason"] == "no-backend"
    assert "backend" not in session


def test_weights_hold_at_zero_load(db, start, peer):
    db.add("light", peer(Identity, "light"), weight=1)
    db.add("heavy", peer(Identity, "heavy"), weight=3)
    proxy = start(EDGEPROXY_BINDING_TTL_SECS=0, EDGEPROXY_RANDOM_SEED=7)
    count, heavy = 240, 0
    for number in range(count):
        heavy += proxy.label(BR) == "heavy"
        proxy.wait_session(count=number + 1)  # so that the next client finds no load
    # Three quarters of 240 are 180; one standard deviation is 6.7.
    assert 180 - 47 < heavy < 180 + 47


def test_load_is_spread_by_weight(db, start, peer):
    db.add("light", peer(Identity, "light"), weight=1)
    db.add("heavy", peer(Identity, "heavy"), weight=3)
    proxy = start(EDGEPROXY_BINDING_TTL_SECS=0)
    with contextlib.ExitStack() as held:
        labels = [held.enter_context(proxy.connect(BR)).recv(100) for _ in range(40)]
        assert labels.count(b"heavy\n") in range(29, 32)


def test_each_service_serves_its_app(db, start, peer, port):
    for app in ("red", "blue"):
        db.add(f"{app}-1", peer(Identity, f"{app}-1"), app=app)
    db.service(port("127.0.0.2"), app="red")
    db.service(port("127.0.0.3"), app="blue")
    db.service(port("127.0.0.4"), app="green")
    proxy = start(EDGEPROXY_BINDING_TTL_SECS=0)
    red, blue, green = (proxy.listen_addr(f"127.0.0.{n}") for n in (2, 3, 4))
    for _ in range(10):
        assert proxy.label(BR, to=red) == "red-1"
        assert proxy.label(BR, to=blue) == "blue-1"
    assert proxy.label(BR, to=green) == ""
    assert proxy.wait_session(lambda e: e["reason"] == "no-backend")
    # The listener that has no row serves every app.
    until(lambda: proxy.label(BR) == "red-1", "red from the main listener")
    until(lambda: proxy.label(BR) == "blue-1", "blue from the main listener")
    services = {e["service"] for e in proxy.log.find("listening")}
    assert len(services) == 4
    assert proxy.wait_session(lambda e: e.get("backend") == "red-1")["service"] in services


def test_one_app_alone(db, start, peer, port):
    for app in ("red", "blue"):
        db.add(f"{app}-1", peer(Identity, f"{app}-1"), app=app)
    db.service(port("127.0.0.2"), app="red")
    db.service(port("127.0.0.3"), app="blue")
    proxy = start(EDGEPROXY_APP="red", EDGEPROXY_BINDING_TTL_SECS=0)
    for _ in range(10):
        assert proxy.label(BR) == "red-1"
    assert proxy.label(BR, to=proxy.listen_addr("127.0.0.2")) == "red-1"
    hosts = {split_addr(e["addr"])[0] for e in proxy.log.find("listening")}
    assert hosts == {"127.0.0.1", "127.0.0.2"}


def test_services_alone(db, start, peer, port):
    db.add("red-1", peer(Identity, "red-1"), app="red")
    db.service(port("127.0.0.2"), app="red")
    proxy = start(EDGEPROXY_LISTEN_ADDR="")
    assert proxy.label(BR, to=proxy.listen_addr("127.0.0.2")) == "red-1"
    assert len(proxy.log.find("listening")) == 1


@needs_ipv6
def test_ipv6_all_the_way(db, start, peer):
    db.add("six", peer(Identity, "six", host="::1"))
    proxy = start(EDGEPROXY_LISTEN_ADDR="[::1]:0", EDGEPROXY_TRUSTED_PROXIES="::1/128")
    assert proxy.label(BR6) == "six"
    session = proxy.wait_session()
    assert session["client"] == f"[{BR6}]:5555"
    assert session["backend_addr"].startswith("[::1]:")
    assert session["country"] == "BR"


def test_the_seed_schema_is_enough(tmp_path, start, peer):
    seed = RoutingDb(tmp_path / "seed.db", SEED_SCHEMA)
    for region in REGIONS:
        seed.add(f"{region}-1", peer(Identity, f"{region}-1"), region=region)
    proxy = start(db=seed)
    assert {src: proxy.label(src) for src in HOME} == HOME


def test_the_same_seed_gives_the_same_choices(db, start, peer):
    for number in range(8):
        db.add(f"b{number}", peer(Identity, f"b{number}"))

    def choices():
        proxy = start(EDGEPROXY_RANDOM_SEED=42, EDGEPROXY_WORKERS=1, EDGEPROXY_BINDING_TTL_SECS=0)
        labels = []
        for number in range(20):
            labels.append(proxy.label(BR))
            proxy.wait_session(count=number + 1)
        return labels

    first = choices()
    assert first == choices()
    assert len(set(first)) > 1
