"""Who may come in: rows of access_rules, seen at once, for new clients."""

import json

import pytest

import wire
from harness import BR, BR6, DE, JP, US, needs_ipv6, run_cli, until
from peers import Counting


@pytest.fixture
def proxy(db, start, peer):
    db.add("sa-1", peer(Counting, "sa-1"))
    return start()


def change(proxy, how, *args, **more):
    mark = proxy.mark()
    how(*args, **more)
    proxy.wait_event("table_loaded", since=mark)


def test_rules_are_hot(proxy, db):
    with proxy.connect(BR) as before:
        assert wire.read_line(before) == "sa-1"
        change(proxy, db.access_rule, "no-br", "deny", country="BR")
        assert proxy.label(BR) == "" and proxy.label(BR6) == ""
        assert proxy.label(DE) == "sa-1"
        refused = proxy.wait_session(lambda e: e["reason"] == "denied", count=2)
        assert refused["country"] == "BR" and "backend" not in refused

        # A network is more specific than a country.
        change(proxy, db.access_rule, "but-these", "allow", cidr="200.160.2.0/24")
        assert proxy.label(BR) == "sa-1" and proxy.label(BR6) == ""
        change(proxy, db.access_rule, "not-this", "deny", cidr="200.160.2.3")
        assert proxy.label(BR) == "" and proxy.label("200.160.2.4") == "sa-1"

        change(proxy, db.run, "DELETE FROM access_rules")
        assert proxy.label(BR) == "sa-1" and proxy.label(BR6) == "sa-1"
        # Whoever is in stays in.
        before.sendall(b"x")
        before.close()
    proxy.wait_session(lambda e: e["bytes_in"] == "1" and e["reason"] == "done")


def test_an_allow_list(proxy, db):
    db.access_rule("rest", "deny", country="*")
    db.access_rule("br", "allow", country="BR")
    change(proxy, db.access_rule, "office", "allow", cidr="84.128.0.0/16")
    until(lambda: proxy.label(JP) == "", "nobody else")
    assert [proxy.label(ip) for ip in (BR, DE, US, "10.1.2.3")] == ["sa-1", "sa-1", "", ""]


def test_rules_of_an_app(db, start, peer, port):
    web, ssh = port(), port()
    for app, listen in (("web", web), ("ssh", ssh)):
        db.service(listen, app=app)
        db.add(app, peer(Counting, app), app=app)
    db.access_rule("web-only", "deny", country="DE", app="web")
    db.access_rule("nowhere", "deny", country="US")
    proxy = start(EDGEPROXY_LISTEN_ADDR="")
    proxy.wait_event("listening", count=2)
    to = {"web": web, "ssh": ssh}
    to = {app: (addr.rsplit(":", 1)[0], int(addr.rsplit(":", 1)[1])) for app, addr in to.items()}
    assert [proxy.label(DE, to=to[app]) for app in to] == ["", "ssh"]
    assert [proxy.label(US, to=to[app]) for app in to] == ["", ""]
    assert [proxy.label(BR, to=to[app]) for app in to] == ["web", "ssh"]


def test_without_a_proxy_header(db, start, peer):
    db.add("sa-1", peer(Counting, "sa-1"))
    db.access_rule("loopback", "deny", cidr="127.0.0.2")
    proxy = start(EDGEPROXY_TRUSTED_PROXIES="")
    assert proxy.label(bind="127.0.0.2") == ""
    assert proxy.label(bind="127.0.0.3") == "sa-1"
    assert proxy.wait_session()["reason"] == "denied"


@needs_ipv6
def test_ipv6_without_a_proxy_header(db, start, peer):
    db.add("sa-1", peer(Counting, "sa-1"))
    db.access_rule("v6", "deny", cidr="::/0")
    proxy = start(EDGEPROXY_LISTEN_ADDR="[::1]:0", EDGEPROXY_TRUSTED_PROXIES="")
    assert proxy.label() == ""


def test_bad_rules_hurt_only_themselves(proxy, db):
    rows = [("both", "*", "10.0.0.0/8", "BR", "deny"), ("half", "*", None, None, "deny"),
            ("no-app", None, "0.0.0.0/0", None, "deny"), ("no-action", "*", None, "*", None),
            ("bits", "*", "10.0.0.1/8", None, "deny"), ("word", "*", None, "*", "reject")]
    for row in rows:
        db.run("INSERT INTO access_rules VALUES (?, ?, ?, ?, ?)", *row)
    change(proxy, db.access_rule, "good", "deny", country="DE")
    until(lambda: proxy.label(DE) == "", "the good one")
    bad = {e["row"]: e["column"] for e in proxy.log.find("row_quarantined")}
    assert bad == {"both": "country", "half": "country", "no-app": "app", "no-action": "action",
                   "bits": "cidr", "word": "action"}
    assert proxy.label(BR) == "sa-1"


def test_the_last_good_table_has_the_rules(db, start, peer, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    db.add("sa-1", peer(Counting, "sa-1"))
    db.access_rule("no-de", "deny", country="DE")
    db.access_rule("but", "allow", cidr="84.128.0.0/24")
    start(EDGEPROXY_STATE_DIR=state).stop()
    db.path.unlink()
    proxy = start(EDGEPROXY_STATE_DIR=state)
    assert [proxy.label(ip) for ip in (BR, "84.129.0.1", DE)] == ["sa-1", "", "sa-1"]


def test_explain_says_which_rule(db, peer):
    db.add("sa-1", peer(Counting, "sa-1"))
    db.access_rule("no-br", "deny", country="BR")
    db.access_rule("office", "allow", cidr="200.160.2.0/24")
    db.access_rule("rest", "deny", country="*", app="web")

    def explain(ip, *args):
        text = run_cli("explain", ip, *args, db=db)
        data = json.loads(run_cli("explain", ip, "--json", *args, db=db).stdout)
        assert text.returncode == 0
        return text.stdout, data

    text, data = explain(BR)
    assert "access     allowed by rule office (cidr 200.160.2.0/24, app *)" in text
    assert data["access"] == {"action": "allow", "rule": "office", "app": "*",
                              "cidr": "200.160.2.0/24", "country": None}
    assert data["winner"] == "sa-1"
    text, data = explain("200.160.3.1")
    assert "access     denied by rule no-br (country BR, app *)" in text
    assert "none: access rule no-br denies this client." in text
    assert data["winner"] is None and data["access"]["action"] == "deny"
    assert data["why"] == "access rule no-br denies this client"
    text, data = explain(DE)
    assert "access     allowed: no rule of access_rules is about it" in text
    assert data["access"] == {"action": "allow", "rule": None}
    text, data = explain(DE, "--app", "web")
    assert "denied by rule rest (everybody, app web)" in text
    assert data["access"]["country"] == "*"


def test_check_warns_of_a_rule_that_keeps_everybody_out(db, peer):
    db.add("sa-1", peer(Counting, "sa-1"))
    db.access_rule("rest", "deny", country="*")
    done = run_cli("check", db=db)
    assert "access_rules rest: it denies everybody" in done.stdout and done.returncode == 0
    db.access_rule("br", "allow", country="BR")
    assert "access_rules" not in run_cli("check", db=db).stdout
    db.access_rule("bad", "perhaps", country="BR")
    done = run_cli("check", db=db)
    assert "must be allow or deny" in done.stdout and done.returncode == 1
