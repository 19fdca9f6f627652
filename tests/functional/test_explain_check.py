"""What explain and check say, in the corners: where a region came from, random choices, hostile rows,
warnings that are no problems, and problems that do not hide others."""

import json
import sqlite3
import subprocess

import pytest

import harness
from harness import BR, DE, JP, US, run_cli


@pytest.fixture
def world(db):
    for number, region in enumerate(("sa", "us", "eu", "ap")):
        db.add(f"{region}-1", ("127.0.0.1", 9001 + number), region=region)
    return db


def told(db, src, *args, **env):
    done = run_cli("explain", src, "--json", *args, db=db, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# explain

@pytest.mark.parametrize("src, place", [
    (BR, {"source": "database", "country": "BR", "region": "sa", "region_source": "default"}),
    (DE, {"source": "database", "country": "DE", "region": "ap",
          "region_source": "country_regions"}),
    ("192.0.2.1", {"source": "override", "country": "DE", "region": "ap",
                   "region_source": "country_regions", "network": "192.0.2.0/25"}),
    ("192.0.2.129", {"source": "override", "country": "DE", "region": "us",
                     "region_source": "geo_overrides", "network": "192.0.2.128/25"}),
    ("198.51.100.1", {"source": "override", "country": None, "region": None,
                      "region_source": None}),
    ("10.1.2.3", {"source": "special", "country": None, "region": None, "network": "10.0.0.0/8",
                  "special": {"name": "Private-Use", "rfc": "RFC 1918"}}),
    ("::ffff:10.1.2.3", {"source": "special", "network": "10.0.0.0/8"}),
    ("2d00::7", {"source": "unknown", "country": None, "region": None, "network": None}),
])
def test_where_a_client_is_and_how_that_is_known(world, src, place):
    world.country_region("DE", "ap")
    world.override("192.0.2.0/25", country="DE")
    world.override("192.0.2.128/25", country="DE", region="us")
    world.override("198.51.100.0/24")
    said = told(world, src)["place"]
    assert {key: said[key] for key in place} == place


def test_equal_scores_are_a_draw_by_weight(world):
    world.add("sa-2", ("127.0.0.1", 9005), weight=3)
    said = told(world, BR)
    shares = {b["id"]: b["share"] for b in said["backends"]}
    assert said["drawn"] and said["winner"] in ("sa-1", "sa-2")
    assert (shares["sa-1"], shares["sa-2"], shares["us-1"]) == (0.25, 0.75, 0)
    winners = {told(world, BR, EDGEPROXY_RANDOM_SEED=seed)["winner"] for seed in range(1, 33)}
    assert winners == {"sa-1", "sa-2"}
    same = {told(world, BR, EDGEPROXY_RANDOM_SEED=7)["winner"] for _ in range(4)}
    assert len(same) == 1
    text = run_cli("explain", BR, db=world).stdout
    assert "sa-1 25 %" in text and "sa-2 75 %" in text


def test_own_country_wins_without_a_draw(world):
    world.add("sa-2", ("127.0.0.1", 9005), country="BR")
    said = told(world, BR)
    assert said["winner"] == "sa-2" and not said["drawn"]
    assert [b["id"] for b in said["backends"] if b["own_country"]] == ["sa-2"]


def test_every_exclusion_has_its_word(world):
    for id, word in (("a", "deleted"), ("b", "unhealthy"), ("c", "maint"), ("d", "drain"),
                     ("e", "weight-0"), ("f", "other-app")):
        world.add(id, ("127.0.0.1", 9010), app="other" if id == "f" else "myapp")
    world.set("a", deleted=1)
    world.set("b", healthy=0)
    world.set("c", state="maint")
    world.set("d", state="drain")
    world.set("e", weight=0)
    said = told(world, BR, "--app", "myapp")
    assert {b["id"]: b["excluded"] for b in said["backends"] if b["excluded"]} == {
        "a": "deleted", "b": "unhealthy", "c": "maint", "d": "drain", "e": "weight-0",
        "f": "other-app"}
    assert [b["excluded"] for b in said["backends"]][:4] == [None] * 4  # candidates come first


def test_the_app_of_the_main_listener_counts(world):
    world.add("red", ("127.0.0.1", 9009), app="red", region="ap")
    world.service("127.0.0.1:8123", app="red")
    assert told(world, BR, EDGEPROXY_LISTEN_ADDR="127.0.0.1:8123")["winner"] == "red"
    assert told(world, BR, EDGEPROXY_LISTEN_ADDR="127.0.0.1:8124")["winner"] == "sa-1"
    assert told(world, BR, EDGEPROXY_APP="red")["app"] == "red"


def test_hostile_rows_drive_no_terminal_and_break_no_json(world):
    evil = b"\x1b]0;owned\x07\x9b\xff\n"
    with sqlite3.connect(world.path) as db:
        db.execute("INSERT INTO backends (id, app, region, wg_ip, port, healthy, weight, soft_limit,"
                   " hard_limit) VALUES ('evil', CAST(? AS TEXT), 'sa', '127.0.0.1', 1, 1, 1, 1, 1)",
                   (evil,))
    bad, = told(world, BR)["routes"]["quarantined"]
    assert (bad["table"], bad["row"], bad["column"]) == ("backends", "evil", "app")
    for command in (["explain", BR], ["check"]):
        out = subprocess.run([str(harness.BINARY), *command], env=harness.base_env(world, {}),
                             stdin=subprocess.DEVNULL, capture_output=True, check=False).stdout
        assert b"evil" in out and b"\x1b" not in out and b"\x07" not in out


@pytest.mark.parametrize("args", [
    [], ["300.1.1.1"], ["1.2.3.4:80"], ["10.0.0.0/8"], [BR, US], [BR, "--db"], [BR, "--db="],
    [BR, "--region", "a/b"], [BR, "--region", ""], [BR, "--region", "r" * 33],
    [BR, "--app", "a" * 65], [BR, "--app", ""], [BR, "--app="], [BR, "-x"], [BR, "--jsn"]])
def test_wrong_arguments_of_explain(world, args):
    done = run_cli("explain", *args, db=world)
    assert done.returncode == 2 and not done.stdout
    assert "usage: edgeproxy explain" in done.stderr


def test_explain_without_what_it_needs(world, tmp_path):
    for path in (tmp_path / "none.db", tmp_path):
        done = run_cli("explain", BR, "--db", path, db=world)
        assert done.returncode == 1 and str(path) in done.stderr
    done = run_cli("explain", BR, db=world, env={"EDGEPROXY_WORKERS": "x"})
    assert done.returncode == 1 and "EDGEPROXY_WORKERS=x" in done.stderr
    done = run_cli("explain", BR, db=world, env={"EDGEPROXY_GEOIP_PATH": tmp_path / "none.mmdb"})
    assert done.returncode == 1 and "none.mmdb" in done.stderr


def test_explain_fits_80_columns_and_ascii(world):
    world.set("us-1", healthy=0)
    for src in (BR, JP, "100.64.0.9", "2d00::7"):
        out = run_cli("explain", src, db=world).stdout
        head, table = out.split("\n\n", 1)
        assert max(map(len, table.splitlines())) < 80, out
        assert out.isascii() and not any(line != line.rstrip() for line in out.splitlines())


# check

def test_warnings_do_not_fail(world):
    world.set("sa-1", soft_limit=5000, hard_limit=10)
    done = run_cli("check", db=world, env={"EDGEPROXY_REGION": "mars",
                                           "EDGEPROXY_LISTEN_ADDR": "0.0.0.0:9001"})
    assert done.returncode == 0
    for words in ("soft_limit 5000 is above hard_limit 10", "mars", "connect to itself",
                  "0 problems, 3 warnings"):
        assert words in done.stdout, words


@pytest.mark.parametrize("env, words", [
    ({"EDGEPROXY_APP": "ghost"}, "no backend takes clients of app ghost"),
    ({"EDGEPROXY_LISTEN_ADDR": ""}, "nothing to listen on"),
    ({"EDGEPROXY_REGION": "a b"}, "not the name of a region"),
    ({"EDGEPROXY_STATE_DIR": "/nonexistent"}, "EDGEPROXY_STATE_DIR=/nonexistent"),
    ({"EDGEPROXY_STATE_DIR": "/dev/null"}, "EDGEPROXY_STATE_DIR=/dev/null"),
])
def test_check_finds(world, env, words):
    done = run_cli("check", db=world, env=env)
    assert done.returncode == 1 and words in done.stdout


def test_check_finds_a_listener_without_backends(world):
    world.service("127.0.0.1:9999", app="ghost")
    done = run_cli("check", db=world)
    assert done.returncode == 1 and "127.0.0.1:9999" in done.stdout and "ghost" in done.stdout
    # Where only another app is served, that listener does not exist.
    assert run_cli("check", db=world, env={"EDGEPROXY_APP": "myapp"}).returncode == 0


def test_one_problem_hides_no_other(world, tmp_path):
    world.set("us-1", port=0)
    done = run_cli("check", db=world, env={
        "EDGEPROXY_WORKERS": "x", "EDGEPROXY_WORKER": "1",
        "EDGEPROXY_GEOIP_PATH": tmp_path / "none.mmdb"})
    assert done.returncode == 1
    for word in ("EDGEPROXY_WORKERS=x", "EDGEPROXY_WORKER:", "none.mmdb", "us-1", "port = 0"):
        assert word in done.stdout, word
    problems = [line for line in done.stdout.splitlines() if line.startswith("problem")]
    assert len(problems) == 3 and "3 problems, 1 warning" in done.stdout
    advice = [line for line in done.stdout.splitlines() if line.startswith("         > ")]
    assert len(advice) == 4
