"""`edgeproxy plan FILE.sql`: what a change would move, on a copy; and SQL that wants to do harm."""

import json

import pytest

from harness import BR, DE, US, run_cli, until
from peers import Identity

FINE, HARM, TROUBLE = 0, 1, 2


@pytest.fixture
def proxy(start, db, peer, control_path):
    for id, region, country in (("br", "sa", "BR"), ("us", "us", "US"), ("eu", "eu", "DE")):
        db.add(id, peer(Identity, id), region=region, country=country)
    proxy = start(EDGEPROXY_CONTROL_SOCKET=control_path)
    proxy.control = {"EDGEPROXY_CONTROL_SOCKET": control_path}
    return proxy


def see(proxy, *clients):
    """Clients come, and the proxy has noticed."""
    for client in clients:
        assert proxy.label(client)
    def last():
        lines = run_cli("events", "--json", "--kind", "routed", env=proxy.control).stdout.splitlines()
        return json.loads(lines[-1])["client"] if lines else None
    until(lambda: last() == clients[-1], "the last client is known")


@pytest.fixture
def plan(proxy, tmp_path):
    def run(sql, *args, code=None, text=False):
        file = tmp_path / "change.sql"
        file.write_bytes(sql if isinstance(sql, bytes) else sql.encode())
        before = proxy.db.path.read_bytes()
        done = run_cli("plan", file, *([] if text else ["--json"]), *args, env=proxy.control)
        assert proxy.db.path.read_bytes() == before, "the database was touched"
        assert code is None or done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done if text or done.returncode == TROUBLE else json.loads(done.stdout)
    return run


def moves(answer):
    return {(m["country"], m["from"], m["to"]): round(m["share"], 2) for m in answer["moves"]}


def test_nothing_changes_nothing_moves(proxy, plan):
    see(proxy, BR, BR, US, DE)
    answer = plan("-- only a comment\n", code=FINE)
    assert answer["moved"] == 0 and answer["moves"] == []
    assert answer["prefixes"] == 3 and answer["statements"] == 0
    assert answer["bindings"]["kept"] == pytest.approx(1)
    assert answer["region_scores"][0] == pytest.approx({"now": 1, "then": 1})


def test_a_drained_backend_loses_its_clients_to_the_next_best(proxy, plan):
    see(proxy, BR, US, US, DE)
    answer = plan("UPDATE backends SET state = 'drain' WHERE id = 'us'", code=FINE)
    assert answer["rows"] == 1
    # In the POP's own region, sa, is `br`.
    assert moves(answer) == {("US", "us", "br"): 0.5}
    assert answer["bindings"]["lost"] == pytest.approx(0.5, abs=0.01)
    assert answer["bindings"]["kept"] == pytest.approx(0.5, abs=0.01)
    country = {c["country"]: c for c in answer["countries"]}["US"]
    assert country["region_score"] == pytest.approx({"now": 0, "then": 1})


def test_what_is_told_comes_true(proxy, plan, db):
    see(proxy, BR, US, DE)
    sql = "UPDATE backends SET country = NULL, region = 'ap' WHERE id = 'eu'"
    assert moves(plan(sql)) == {("DE", "eu", "br"): 0.33}
    db.run(sql)
    proxy.wait_event("table_loaded", count=2)
    assert proxy.label("84.129.0.1") == "br"  # of another prefix: without a binding


def test_a_new_backend_takes_its_share(proxy, plan):
    see(proxy, BR, BR)
    answer = plan("INSERT INTO backends (id, app, region, wg_ip, port, healthy, weight, soft_limit,"
                  " hard_limit, country) VALUES ('br2', 'myapp', 'sa', '127.0.0.1', 9, 1, 3, 1000,"
                  " 2000, 'BR')", code=FINE)
    assert moves(answer)[("BR", "br", "br2")] == pytest.approx(0.75, abs=0.02)
    assert answer["bindings"]["kept"] == pytest.approx(1)


def test_clients_without_a_backend_are_harm(proxy, plan):
    see(proxy, BR, US)
    answer = plan("UPDATE backends SET healthy = 0;", code=HARM)
    assert answer["newly_unserved"] == pytest.approx(1) and answer["would_be_held"]
    assert {m["to"] for m in answer["moves"]} == {"(no backend)"}
    denied = plan("INSERT INTO access_rules (id, app, country, action)"
                  " VALUES ('no', '*', 'US', 'deny')", code=HARM)
    assert moves(denied) == {("US", "us", "(denied)"): 0.5}


def test_limits_are_seen_with_the_connections_of_now(proxy, plan):
    held = [proxy.connect(BR) for _ in range(8)]
    for sock in held:
        assert sock.recv(64)
    until(lambda: plan("")["connections"] > 7.5, "all are known")
    answer = plan("UPDATE backends SET soft_limit = 3, hard_limit = 5 WHERE id = 'br'", code=HARM)
    br = {b["id"]: b for b in answer["backends"]}["br"]
    assert br["connections"] == 8 and br["reaches_hard"]
    assert br["expected"]["then"] == pytest.approx(5, abs=0.1)
    assert br["expected"]["now"] == pytest.approx(8, abs=0.1)
    for sock in held:
        sock.close()


def test_rows_that_the_change_makes_bad_are_told(proxy, plan):
    see(proxy, BR)
    done = plan("UPDATE backends SET port = 70000 WHERE id = 'eu'", code=HARM, text=True)
    assert "backends eu: port = 70000" in done.stdout
    assert "rows that the change makes bad" in done.stdout


def test_the_text_names_all_that_matters(proxy, plan):
    see(proxy, BR, US)
    out = plan("DELETE FROM backends WHERE id = 'us';", text=True, code=FINE).stdout
    for part in ("change ", "1 statements, 1 rows", "clients ", "2 prefixes", "moves ", "50.0% of",
                 "region_score0", "bindings ", "COUNTRY", "FROM", "removed"):
        assert part in out, out
    assert max(map(len, out.splitlines()[2:])) <= 100 and "\033" not in out


def test_a_wal_database_is_copied_as_it_is(proxy, plan, db):
    see(proxy, BR)
    with db.connect() as held:
        held.execute("PRAGMA journal_mode=WAL")
        held.execute("UPDATE backends SET weight = 5 WHERE id = 'br'")
        held.commit()
        assert plan("UPDATE backends SET weight = weight + 1 WHERE weight = 5")["rows"] == 1
    held.close()


EVIL = {
    "ATTACH": "ATTACH '{other}' AS x; CREATE TABLE x.t (a);",
    "ATTACH, DETACH or VACUUM": "VACUUM INTO '{other}';",
    "line 3: ATTACH": "\n-- first a comment\nATTACH '{other}' AS x;",
    "PRAGMA journal_mode": "PRAGMA journal_mode = WAL;",
    "PRAGMA writable_schema": "PRAGMA writable_schema = 1;",
    "temp_store_directory": "PRAGMA temp_store_directory = '/tmp';",
    "load_extension": "SELECT load_extension('/lib/x86_64-linux-gnu/libm.so.6');",
    "writefile": "SELECT writefile('{other}', 'x');",
    "virtual table": "CREATE VIRTUAL TABLE v USING fts5(a);",
    "10 s": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
            "SELECT count(*) FROM n;",
    "too big": "SELECT zeroblob(1000000000);",
    "MiB of memory": "CREATE TABLE big (b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                     " FROM n LIMIT 1000) INSERT INTO big SELECT zeroblob(4000000) FROM n;",
    "within a transaction": "BEGIN; DELETE FROM backends;",
    "syntax error": "UPDATE backends SE weight = 1;",
    "NUL byte": "SELECT 1;\0DROP TABLE backends;",
    "no such table": "UPDATE nowhere SET a = 1;",
}


@pytest.mark.parametrize("why", EVIL)
def test_sql_that_wants_to_do_harm_is_refused_and_told(proxy, plan, tmp_path, why):
    other = tmp_path / "other.db"
    done = plan(EVIL[why].format(other=other), code=TROUBLE)
    assert why in done.stderr and done.stdout == ""
    assert not other.exists()
    assert proxy.label(BR) == "br"


def test_a_view_in_the_place_of_a_table_cannot_keep_it_busy(proxy, plan):
    done = plan("DROP TABLE geo_overrides; CREATE VIEW geo_overrides AS WITH RECURSIVE n(i) AS "
                "(SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT '10.0.0.0/8' AS cidr, 'BR' AS "
                "country, 'sa' AS region FROM n WHERE i < 0;", code=TROUBLE)
    assert "after the change" in done.stderr


def test_a_missing_file_and_no_proxy_are_trouble(proxy, control_path, tmp_path):
    done = run_cli("plan", tmp_path / "none.sql", env=proxy.control)
    assert done.returncode == TROUBLE and "none.sql" in done.stderr
    file = tmp_path / "some.sql"
    file.write_text("SELECT 1")
    done = run_cli("plan", file, env={"EDGEPROXY_CONTROL_SOCKET": control_path + "x"})
    assert done.returncode == TROUBLE and "control socket" in done.stderr
    assert run_cli("plan", env=proxy.control).returncode == TROUBLE
