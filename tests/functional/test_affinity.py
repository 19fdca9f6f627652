"""A client keeps its backend, as long as that is good for it."""

import contextlib
import time

import pytest

from harness import BR, until
from peers import Identity, Refusing


def visit(proxy, src, **how):
    """The session line of a client that came, got its label, and left."""
    mark = proxy.mark()
    label = proxy.label(src, **how)
    client = f"[{src}]:5555" if ":" in src else f"{src}:5555"
    session = proxy.wait_event("session", lambda e: e["client"] == client, since=mark)
    assert session.get("backend", "") == label
    return session


def other_of(id):
    return {"sa-1": "sa-2", "sa-2": "sa-1"}[id]


@pytest.mark.concurrency
def test_a_client_keeps_its_backend(pair, start):
    proxy = start()
    clients = [f"200.160.2.{n}" for n in range(1, 31)]
    first = {src: visit(proxy, src) for src in clients}
    assert {s["affinity"] for s in first.values()} == {"miss"}
    assert {s["backend"] for s in first.values()} == {"sa-1", "sa-2"}
    for src in clients:
        again = visit(proxy, src)
        assert (again["affinity"], again["backend"]) == ("hit", first[src]["backend"])


def test_affinity_beats_load(pair, start):
    proxy = start()
    mine = visit(proxy, BR)["backend"]
    with contextlib.ExitStack() as held:
        for _ in range(10):
            sock = held.enter_context(proxy.connect(BR))
            assert sock.recv(100).decode().strip() == mine


def test_a_binding_expires(pair, start):
    proxy = start(EDGEPROXY_BINDING_TTL_SECS=1)
    visit(proxy, BR)
    time.sleep(1.5)  # what is tested is that time passes without a use
    assert visit(proxy, BR)["affinity"] == "miss"


def test_the_time_to_live_counts_from_the_last_use(pair, start):
    proxy = start(EDGEPROXY_BINDING_TTL_SECS=4)
    with proxy.connect(BR) as sock:
        mine = sock.recv(100).decode().strip()
        time.sleep(4.5)  # longer than a binding lives that is not used
    proxy.wait_session()
    again = visit(proxy, BR)
    assert (again["affinity"], again["backend"]) == ("hit", mine)


def test_no_affinity_at_all(pair, start):
    proxy = start(EDGEPROXY_BINDING_TTL_SECS=0)
    assert {visit(proxy, BR)["affinity"] for _ in range(5)} == {"miss"}
    until(lambda: visit(proxy, BR)["backend"] == "sa-1", "one of them")
    until(lambda: visit(proxy, BR)["backend"] == "sa-2", "the other")


def test_an_ipv6_client_is_its_64(pair, start):
    proxy = start()
    mine = visit(proxy, "2804:14c::1")["backend"]
    neighbour = visit(proxy, "2804:14c::ffff:1:2:3")
    assert (neighbour["affinity"], neighbour["backend"]) == ("hit", mine)
    assert visit(proxy, "2804:14c:0:1::1")["affinity"] == "miss"


def test_the_width_of_a_client_is_an_option(pair, start):
    proxy = start(EDGEPROXY_BINDING_PREFIX_V4=24, EDGEPROXY_BINDING_PREFIX_V6=128)
    mine = visit(proxy, "200.160.2.1")["backend"]
    neighbour = visit(proxy, "200.160.2.250")
    assert (neighbour["affinity"], neighbour["backend"]) == ("hit", mine)
    assert visit(proxy, "200.160.3.1")["affinity"] == "miss"
    visit(proxy, "2804:14c::1")
    assert visit(proxy, "2804:14c::2")["affinity"] == "miss"


def test_each_service_has_its_own_bindings(pair, db, start, port):
    db.service(port("127.0.0.2"))
    proxy = start()
    second = proxy.listen_addr("127.0.0.2")
    visit(proxy, BR)
    assert visit(proxy, BR, to=second)["affinity"] == "miss"
    assert visit(proxy, BR, to=second)["affinity"] == "hit"


def test_a_binding_survives_a_reload(pair, db, start):
    proxy = start()
    mine = visit(proxy, BR)["backend"]
    for weight in (100, 200):
        mark = proxy.mark()
        db.set(other_of(mine), weight=weight)  # a better one is no reason to move
        proxy.wait_event("table_loaded", since=mark)
        again = visit(proxy, BR)
        assert (again["affinity"], again["backend"]) == ("hit", mine)


def test_a_client_follows_its_backend_to_a_new_address(pair, db, start, peer):
    proxy = start()
    mine = visit(proxy, BR)["backend"]
    moved = peer(Identity, mine)
    mark = proxy.mark()
    db.set(mine, port=moved.addr[1])
    proxy.wait_event("table_loaded", since=mark)
    until(lambda: visit(proxy, BR)["backend"] == mine and moved.accepted, "a visit there")
    assert proxy.sessions()[-1]["affinity"] == "hit"


@pytest.mark.concurrency
def test_a_client_moves_when_its_backend_dies(pair, start):
    proxy = start()
    mine = visit(proxy, BR)["backend"]
    pair[mine].die()
    moved = visit(proxy, BR)
    assert moved["backend"] == other_of(mine)
    assert int(moved["retries"]) == 1
    again = visit(proxy, BR)
    assert (again["affinity"], again["backend"]) == ("hit", other_of(mine))
    assert int(again["retries"]) == 0


@pytest.mark.parametrize("column, value", [
    ("healthy", 0), ("deleted", 1), ("weight", 0), ("state", "drain"), ("state", "maint")])
def test_a_client_moves_when_its_backend_takes_no_clients(pair, db, start, column, value):
    proxy = start(EDGEPROXY_DRAIN_GRACE_SECS=0)
    mine = visit(proxy, BR)["backend"]
    db.set(mine, **{column: value})
    until(lambda: visit(proxy, BR)["backend"] == other_of(mine), "a move")
    assert visit(proxy, BR)["affinity"] == "hit"


def test_a_binding_never_passes_a_hard_limit(db, start, peer):
    for id in ("sa-1", "sa-2"):
        db.add(id, peer(Identity, id), soft_limit=1, hard_limit=1)
    proxy = start(EDGEPROXY_QUEUE_MAX=0)
    mine = visit(proxy, BR)["backend"]
    with proxy.connect(BR) as first:
        assert first.recv(100).decode().strip() == mine
        with proxy.connect(BR) as second:
            assert second.recv(100).decode().strip() == other_of(mine)
            assert proxy.label(BR) == ""
            assert proxy.wait_session(lambda e: e["reason"] == "backends-full")


def test_a_failed_connect_leaves_no_binding(db, start, peer):
    """A backend that was never reached is not remembered."""
    db.add("sa-1", peer(Refusing))
    proxy = start()
    assert visit(proxy, BR)["reason"] == "connect-failed"
    db.set("sa-1", port=peer(Identity, "sa-1").addr[1])

    def served():
        session = visit(proxy, BR)
        return session["reason"] == "done" and session

    assert until(served, "a visit that reaches it")["affinity"] == "miss"
    assert visit(proxy, BR)["affinity"] == "hit"
