"""`edgeproxy events`: decisions and transitions, in one order, filtered, followed."""

import http.client
import json
import re
import subprocess

import pytest

from harness import BINARY, BR, US, base_env, http_connection, run_cli, until
from peers import Identity


@pytest.fixture
def proxy(start, db, peer, control_path):
    one, two = peer(Identity, "one"), peer(Identity, "two")
    db.add("one", one, region="sa", country="BR")
    db.add("two", two, region="us", country="US")
    proxy = start(EDGEPROXY_CONTROL_SOCKET=control_path)
    proxy.control = {"EDGEPROXY_CONTROL_SOCKET": control_path}
    return proxy


def events(proxy, *args, code=0):
    done = run_cli("events", "--json", *args, env=proxy.control)
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def wait_events(proxy, count, *args):
    return until(lambda: (found := events(proxy, *args)) and len(found) >= count and found,
                 f"{count} events {args}")


def ask(path, target):
    c = http_connection(f"unix:{path}")
    c.request("GET", target)
    r = c.getresponse()
    body = json.loads(r.read())
    c.close()
    return r.status, body


def test_decisions_are_told_with_client_and_backend(proxy):
    assert proxy.label(BR) == "one"
    assert proxy.label(US) == "two"
    routed = wait_events(proxy, 2, "--kind", "routed")
    assert [(e["backend"], e["client"], e["country"], e["region_score"]) for e in routed] == [
        ("one", BR, "BR", 0), ("two", US, "US", 0)]
    assert all(e["kind"] == "routed" and e["connect_us"] > 0 for e in routed)
    assert routed[0]["number"] < routed[1]["number"] and routed[0]["at"] < routed[1]["at"]
    assert routed[0]["service"]


def test_transitions_are_between_decisions_in_the_order_of_time(proxy, db):
    assert proxy.label(BR) == "one"
    wait_events(proxy, 1, "--kind", "routed")
    db.set("one", weight=7)
    proxy.wait_event("table_loaded", count=2)
    assert proxy.label(US) == "two"
    wait_events(proxy, 2, "--kind", "routed")
    kinds = [(e["kind"], e.get("event", e.get("backend"))) for e in events(proxy)]
    first, loaded, second = (kinds.index(("routed", "one")),
                             len(kinds) - 1 - kinds[::-1].index(("log", "table_loaded")),
                             kinds.index(("routed", "two")))
    assert first < loaded < second
    times = [e["at"] for e in events(proxy)]
    assert times == sorted(times)


def test_log_lines_come_with_their_fields_whatever_the_format(start, db, peer, control_path):
    db.add("one", peer(Identity, "one"))
    db.run("INSERT INTO backends (id, app, region, wg_ip, port) VALUES"
           " ('bad one', 'a', 'sa', '127.0.0.1', 70000)")
    for form in ("text", "json"):
        proxy = start(EDGEPROXY_CONTROL_SOCKET=control_path, EDGEPROXY_LOG_FORMAT=form)
        proxy.control = {"EDGEPROXY_CONTROL_SOCKET": control_path}
        log = wait_events(proxy, 3, "--kind", "log")
        bad = [e for e in log if e["event"] == "row_quarantined"]
        assert bad and bad[0]["level"] == "warn", log
        assert bad[0]["fields"]["row"] == "bad one"
        assert bad[0]["fields"]["column"] == "port"
        assert not any(e["event"] == "session" for e in log)
        proxy.stop()


def test_failures_and_ends_name_their_cause(proxy, db, port):
    host, number = port().rsplit(":", 1)
    db.add("gone", (host, int(number)), region="sa", country="BR", weight=9)
    db.access_rule("no", "deny", country="US")
    until(lambda: proxy.label(US) == "", "the rule holds")
    # Each is another client: one that had been served by "one" would stay there.
    clients = (f"200.160.2.{n}" for n in range(1, 255))
    until(lambda: proxy.label(next(clients)) and events(proxy, "--kind", "failed"), "a failed try")
    failed = events(proxy, "--kind", "failed")[0]
    assert failed["backend"] == "gone" and failed["error"] == "Connection refused"
    ended = wait_events(proxy, 1, "--kind", "ended", "--country", "US")[0]
    assert ended["reason"] == "denied" and ended["backend"] is None


def test_filters(proxy, db):
    proxy.label(BR)
    proxy.label(US)
    wait_events(proxy, 2, "--kind", "routed")
    assert {e["backend"] for e in events(proxy, "--backend", "two")} == {"two"}
    assert {e["country"] for e in events(proxy, "--country", "BR")} == {"BR"}
    assert {e["client"] for e in events(proxy, "--client", "12.0.0.0/8")} == {US}
    assert events(proxy, "--client", "192.0.2.0/24") == []
    assert events(proxy, "--kind", "routed,failed", "--since", "1h")
    assert all(e["kind"] == "log" for e in events(proxy, "--kind", "log"))


def test_a_backend_is_still_named_when_its_row_is_gone(proxy, db):
    assert proxy.label(US) == "two"
    wait_events(proxy, 1, "--backend", "two")
    db.remove("two")
    proxy.wait_event("table_loaded", count=2)
    assert events(proxy, "--backend", "two", "--kind", "routed")[0]["backend"] == "two"


@pytest.mark.parametrize("args, why", [
    (["--kind", "nonsense"], "kind must be of"),
    (["--client", "12.0.0.1/8"], "client must be"),
    (["--since", "soon"], "--since takes"),
    (["--backend", ""], "backend"),
    (["--colour"], "unknown option"),
])
def test_wrong_arguments_are_named(proxy, args, why):
    done = run_cli("events", *args, env=proxy.control)
    assert done.returncode in (1, 2) and why in done.stderr


def test_pages_and_numbers(proxy, control_path):
    for _ in range(5):
        proxy.label(BR)
    wait_events(proxy, 5, "--kind", "routed")
    seen, after, more = [], 0, True
    while more:
        status, page = ask(control_path, f"/api/v1/events?after={after}&limit=2")
        assert status == 200 and len(page["events"]) <= 2
        seen += [e["number"] for e in page["events"]]
        after, more = page["next"], page["more"]
    assert seen == sorted(set(seen)) and len(seen) >= 5
    assert ask(control_path, f"/api/v1/events?after={after}")[1]["events"] == []
    assert ask(control_path, "/api/v1/events?after=9223372036854775807")[1]["next"] == after
    for query in ("after=-1", "limit=0", "limit=1001", "what=1", "after=1&after=2", "since_secs=0"):
        assert ask(control_path, f"/api/v1/events?{query}")[0] == 400, query


def test_follow_goes_on(proxy):
    follower = subprocess.Popen([str(BINARY), "events", "--follow", "--kind", "routed"],
                                env=base_env(proxy.db, proxy.control), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
    try:
        # It starts with what comes next, so it must have asked once.
        until(lambda: is_asked(proxy), "the follower is connected")
        proxy.label(BR)
        line = follower.stdout.readline()
        assert re.match(r"\S+Z routed one +BR " + re.escape(BR), line), line
        assert "\033" not in line
        proxy.label(US)
        assert "routed two" in follower.stdout.readline()
    finally:
        follower.terminate()
        follower.communicate(timeout=30)


def is_asked(proxy):
    """Somebody is connected to the control socket, and was before this was asked."""
    path = proxy.control["EDGEPROXY_CONTROL_SOCKET"]
    with open("/proc/net/unix", encoding="ascii") as f:
        connected = sum(path in line for line in f) > 1
    return connected and ask(path, "/healthz")[0] == 200


def test_addresses_are_for_those_with_a_token(start, db, peer, tmp_path):
    db.add("one", peer(Identity, "one"), region="sa")
    secret = "s3cret-of-everything-01"
    tokens = tmp_path / "tokens"
    tokens.write_text(f"all {secret}\n")
    tokens.chmod(0o600)

    def asked(proxy, headers):
        host, number = proxy.wait_event("api_listening")["addr"].rsplit(":", 1)
        c = http.client.HTTPConnection(host, int(number), timeout=60)
        c.request("GET", "/api/v1/events?kind=routed", headers=headers)
        r = c.getresponse()
        return r.status, json.loads(r.read())

    env = dict(EDGEPROXY_API_ENABLED="true", EDGEPROXY_API_LISTEN_ADDR="127.0.0.1:0")
    for with_token in (False, True):
        proxy = start(**env, **({"EDGEPROXY_API_TOKEN_FILE": tokens} if with_token else {}))
        headers = {"Authorization": f"Bearer {secret}"} if with_token else {}
        assert proxy.label(BR) == "one"
        until(lambda: asked(proxy, headers)[1]["events"], "the event")
        event = asked(proxy, headers)[1]["events"][0]
        assert event["country"] == "BR"
        assert event.get("client") == (BR if with_token else None)
        if with_token:
            assert asked(proxy, {})[0] == 401
        proxy.stop()


def test_no_proxy_is_said(control_path):
    done = run_cli("events", env={"EDGEPROXY_CONTROL_SOCKET": control_path})
    assert done.returncode == 1 and "control socket" in done.stderr
