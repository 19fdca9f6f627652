"""What one client may take: connections at a time and new ones in a period, by address or /64."""

import contextlib

import pytest

import wire
from harness import BR, BR6, DE, needs_ipv6, until
from peers import Counting
from test_limits import Storm
from test_queue import Waiters


@pytest.fixture
def held():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def backend(db, peer):
    backend = peer(Counting, "sa-1")
    db.add("sa-1", backend)
    return backend


def hold(held, proxy, *args, **how):
    sock = held.enter_context(proxy.connect(*args, **how))
    assert wire.read_line(sock) == "sa-1"
    return sock


@pytest.mark.parametrize("mine, alike, other", [
    (BR, BR, DE),
    (BR6, BR6.replace("::1", "::ffff:1"), BR6.replace("14c::1", "14c:0:1::1"))])
def test_connections_at_a_time(start, backend, held, mine, alike, other):
    proxy = start(EDGEPROXY_CLIENT_MAX_CONN=2)
    first, _ = hold(held, proxy, mine), hold(held, proxy, mine)
    for version in (1, 2):
        assert proxy.label(alike, version=version) == ""
    refused = proxy.wait_session(lambda e: e["reason"] == "client-conn-limit", count=2)
    assert refused["client"].strip("[").startswith(alike)
    assert "backend" not in refused and "country" in refused
    hold(held, proxy, other)
    # Who leaves makes room, exactly once.
    first.close()
    proxy.wait_session(lambda e: e["reason"] == "done")
    hold(held, proxy, mine)
    assert proxy.label(alike) == ""
    assert backend.accepted == 4


def test_without_proxy_headers(start, backend, held):
    proxy = start(EDGEPROXY_CLIENT_MAX_CONN=1, EDGEPROXY_TRUSTED_PROXIES="")
    hold(held, proxy)
    assert proxy.label() == ""
    hold(held, proxy, bind="127.0.0.2")


@needs_ipv6
def test_ipv6_without_proxy_headers(start, backend, held):
    proxy = start(EDGEPROXY_LISTEN_ADDR="[::1]:0", EDGEPROXY_CLIENT_MAX_CONN=1)
    hold(held, proxy)
    assert proxy.label() == ""


def test_prefixes(start, backend, held):
    proxy = start(EDGEPROXY_CLIENT_MAX_CONN=1, EDGEPROXY_CLIENT_PREFIX_V4=24,
                  EDGEPROXY_CLIENT_PREFIX_V6=128)
    hold(held, proxy, "200.160.2.3")
    assert proxy.label("200.160.2.250") == ""
    hold(held, proxy, "200.160.3.3")
    hold(held, proxy, "2804:14c::1")
    hold(held, proxy, "2804:14c::2")


def test_rate(start, backend):
    proxy = start(EDGEPROXY_CLIENT_CONN_RATE=3, EDGEPROXY_CLIENT_CONN_PERIOD_SECS=3600)
    assert [proxy.label(BR) for _ in range(5)] == ["sa-1"] * 3 + [""] * 2
    proxy.wait_session(lambda e: e["reason"] == "client-rate-limit", count=2)
    assert proxy.label(DE) == "sa-1"


def test_the_rate_recovers(start, backend):
    proxy = start(EDGEPROXY_CLIENT_CONN_RATE=1, EDGEPROXY_CLIENT_CONN_BURST=1)
    assert proxy.label(BR) == "sa-1"
    until(lambda: proxy.label(BR) == "", "too fast")
    until(lambda: proxy.label(BR) == "sa-1", "the next token")


def test_waiting_clients_count(db, start, backend, held):
    db.set("sa-1", soft_limit=1, hard_limit=1)
    proxy = start(EDGEPROXY_CLIENT_MAX_CONN=2, EDGEPROXY_LOG_LEVEL="debug")
    first = hold(held, proxy, BR)
    waiting = Waiters(proxy, held).add()
    assert proxy.label(BR) == ""
    assert proxy.wait_session()["reason"] == "client-conn-limit"
    first.close()
    assert wire.read_line(waiting) == "sa-1"


def test_a_full_table_limits_nobody_else(start, backend, held):
    proxy = start(EDGEPROXY_WORKERS=1, EDGEPROXY_CLIENT_MAX_CONN=1,
                  EDGEPROXY_CLIENT_TABLE_MAX=1)
    hold(held, proxy, BR)
    for _ in range(3):
        hold(held, proxy, DE)
    assert proxy.wait_event("client_table_full")["clients"] == "1"
    assert len(proxy.log.find("client_table_full")) == 1
    assert proxy.label(BR) == ""


@pytest.mark.concurrency
def test_a_limit_holds_under_a_race(start, backend):
    """All from one address, over all workers; nobody else's place is taken."""
    proxy = start(EDGEPROXY_WORKERS=4, EDGEPROXY_CLIENT_MAX_CONN=7, EDGEPROXY_TRUSTED_PROXIES="")
    for _ in range(2):
        with Storm(proxy, 400, "hold") as storm:
            labels, refused = storm.decided()
            assert (labels.total(), refused) == (7, 393)
            assert proxy.label(bind="127.0.0.3") == "sa-1"
        until(lambda: backend.open == 0, "all have left")
    assert backend.most <= 8
    proxy.wait_session(lambda e: e["reason"] == "client-conn-limit", count=2 * 393)


@pytest.mark.concurrency
def test_clients_that_leave_in_any_way_give_their_place_back(start, backend):
    proxy = start(EDGEPROXY_WORKERS=4, EDGEPROXY_CLIENT_MAX_CONN=3, EDGEPROXY_TRUSTED_PROXIES="")
    with Storm(proxy, 1000, "visit") as storm:
        labels, refused = storm.decided()
    assert labels.total() + refused == 1000
    proxy.wait_session(count=1000)
    with contextlib.ExitStack() as held:
        for _ in range(3):
            hold(held, proxy)
        assert proxy.label() == ""
