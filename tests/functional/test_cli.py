"""The subcommands, their output and their exit status."""

import json
import os
import re
import sqlite3
import subprocess

import pytest

import harness
from harness import BR, DE, ROOT, UNKNOWN, US, RoutingDb, has_ipv6, join_addr, run_cli
from peers import Identity, Silent

OPTION = re.compile(r'OPTION\(\s*(\w+),\s*(\w+),\s*"(\w+)",\s*"([^"]*)",\s*(\d+),\s*(\d+)', re.S)


def options():
    """Rows of the option table: (type, field, variable, default, least, most)."""
    text = (ROOT / "src" / "config" / "options.def").read_text()
    return OPTION.findall(text.split("*/", 1)[1])


@pytest.fixture
def world(db):
    for number, region in enumerate(("sa", "us", "eu", "ap")):
        db.add(f"{region}-1", ("127.0.0.1", 9001 + number), region=region)
    return db


def test_help_lists_every_option():
    done = run_cli("--help")
    assert done.returncode == 0
    assert len(options()) > 30
    for _, _, variable, default, least, most in options():
        assert variable in done.stdout
        assert default in done.stdout
    for command in ("run", "check", "explain", "db init", "healthcheck"):
        assert command in done.stdout


def commands():
    """Every one that --help names, with its first word where that is no argument."""
    usages = re.findall(r"^  edgeproxy ([a-z]+)(?: (init))?", run_cli("--help").stdout, re.M)
    return sorted({tuple(word for word in usage if word) for usage in usages})


def test_every_command_has_help_and_does_nothing_then(tmp_path):
    assert {("run",), ("check",), ("healthcheck",), ("db", "init"), ("plan",)} <= set(commands())
    for command in commands():
        done = subprocess.run([str(harness.BINARY), *command, "--help"], capture_output=True,
                              text=True, cwd=tmp_path, env={}, timeout=60, check=False)
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout.startswith(f"usage: edgeproxy {command[0]}"), command
        assert not done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["completion", "bash"], ["check"],
                                  ["explain", "--offline", BR]], ids=lambda args: args[0])
def test_what_could_not_be_written_is_no_success(world, args):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([str(harness.BINARY), *args], stdout=full, stderr=subprocess.PIPE,
                              env=harness.base_env(world, {}), timeout=60, check=False)
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_version():
    done = run_cli("--version")
    assert done.returncode == 0
    assert re.search(r"\b\d+\.\d+\.\d+\b", done.stdout)


@pytest.mark.parametrize("args", [["no-such-command"], ["--no-such-option"], ["explain"],
                                  ["explain", "not-an-ip"], ["db"], ["db", "init"],
                                  ["explain", BR, "--no-such-option"]])
def test_wrong_arguments(args):
    done = run_cli(*args)
    assert done.returncode not in (0, None) and done.returncode > 0
    assert done.stderr.strip()


# The configuration

UINTS = [row for row in options() if row[0] == "UINT"]


@pytest.mark.parametrize("command", ["run", "check"])
def test_wrong_values_are_all_named(world, command):
    env = {variable: "nonsense" for _, _, variable, *_ in UINTS}
    env.update(EDGEPROXY_LISTEN_ADDR="localhost", EDGEPROXY_TRUSTED_PROXIES="10.0.0.0/33",
               EDGEPROXY_RELAY_MODE="teleport", DEBUG="perhaps", EDGEPROXY_REGION="r" * 33)
    done = run_cli(command, env=env, db=world)
    assert done.returncode == 1
    for variable, value in env.items():
        line, = [line for line in done.stderr.splitlines() + done.stdout.splitlines()
                 if f"{variable}={value}" in line]
        assert "allowed" in line
    for _, _, variable, _, least, most in UINTS:
        assert re.search(rf"{variable}=nonsense.*\b{least}\.\.{most}\b", done.stderr + done.stdout)


@pytest.mark.parametrize("row", UINTS, ids=[row[2] for row in UINTS])
def test_out_of_range(world, row):
    _, _, variable, _, least, most = row
    beyond = [str(int(most) + 1), "99999999999999999999999", "-1", "1.5", "0x10", ""]
    if int(least) > 0:
        beyond.append(str(int(least) - 1))
    for value in beyond:
        done = run_cli(env={variable: value}, db=world)
        assert done.returncode == 1, value
        assert variable in done.stderr and f"{least}..{most}" in done.stderr


def test_an_unknown_variable_is_a_warning(world, start):
    checked = run_cli("check", env={"EDGEPROXY_WORKER": "2"}, db=world)
    assert re.search(r"EDGEPROXY_WORKER\b.*EDGEPROXY_WORKERS", checked.stdout + checked.stderr)
    proxy = start(EDGEPROXY_CONECT_TIMEOUT_MS=5)
    line, = [line for line in proxy.log.lines if "EDGEPROXY_CONECT_TIMEOUT_MS" in line]
    assert "EDGEPROXY_CONNECT_TIMEOUT_MS" in line


def test_an_address_that_is_taken_stops_the_start(world, peer):
    taken = peer(Silent)
    done = run_cli(env={"EDGEPROXY_LISTEN_ADDR": join_addr(taken.addr)}, db=world)
    assert done.returncode == 1
    assert join_addr(taken.addr) in done.stderr
    assert "in use" in done.stderr.lower()


# check

def test_check_of_what_is_right(world):
    done = run_cli("check", db=world)
    assert done.returncode == 0, done.stdout + done.stderr


def test_check_names_every_bad_row(world):
    world.set("sa-1", port=70000)
    world.set("us-1", weight=-1)
    world.override("10.0.0.0/33", country="BR")
    done = run_cli("check", db=world, env={"EDGEPROXY_WORKERS": "many"})
    assert done.returncode == 1
    said = done.stdout + done.stderr
    for word in ("sa-1", "port", "70000", "us-1", "weight", "-1", "10.0.0.0/33",
                 "EDGEPROXY_WORKERS"):
        assert word in said


@pytest.mark.parametrize("make", [
    lambda path: None,
    lambda path: path.write_bytes(b"garbage" * 1000),
    lambda path: sqlite3.connect(path).execute("CREATE TABLE other (a)").connection.close(),
], ids=["missing", "garbage", "no-table"])
def test_check_of_a_bad_database(world, make):
    world.path.unlink()
    make(world.path)
    done = run_cli("check", db=world)
    assert done.returncode == 1
    assert str(world.path) in done.stdout + done.stderr or "backends" in done.stdout + done.stderr


def test_check_of_a_bad_geo_database(world):
    for name in ("broken-truncated.mmdb", "missing.mmdb"):
        done = run_cli("check", db=world, env={"EDGEPROXY_GEOIP_PATH": ROOT / "tests/data" / name})
        assert done.returncode == 1
        assert name in done.stdout + done.stderr


def test_check_finds_what_a_start_would(world, tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    wrong = [
        {"EDGEPROXY_TCP_CONGESTION": "nonesuch"},
        {"EDGEPROXY_BACKEND_TCP_CONGESTION": "nonesuch"},
        {"EDGEPROXY_ACCESS_LOG": f"file:{tmp_path}/missing/log"},
        {"EDGEPROXY_ACCESS_LOG": f"file:{tmp_path}"},
        {"EDGEPROXY_CONTROL_SOCKET": str(plain)},
        {"EDGEPROXY_METRICS_LISTEN_ADDR": f"unix:{plain}", "EDGEPROXY_METRICS_ENABLED": "1"},
        {"EDGEPROXY_METRICS_LISTEN_ADDR": "127.0.0.1:7", "EDGEPROXY_METRICS_ENABLED": "1",
         "EDGEPROXY_LISTEN_ADDR": ":7"},
        {"EDGEPROXY_API_LISTEN_ADDR": "127.0.0.1:7", "EDGEPROXY_API_ENABLED": "1",
         "EDGEPROXY_METRICS_LISTEN_ADDR": "127.0.0.1:7", "EDGEPROXY_METRICS_ENABLED": "1"},
    ]
    for env in wrong:
        checked = run_cli("check", db=world, env=env)
        assert checked.returncode == 1, env
        variable, value = next(iter(env.items()))
        assert re.search(rf"problem +EDGEPROXY_\w+={re.escape(value)}: ", checked.stdout), env
        assert variable in checked.stdout
        assert run_cli(db=world, env=env).returncode == 1, env
    right = {"EDGEPROXY_ACCESS_LOG": f"file:{plain}", "EDGEPROXY_CONTROL_SOCKET": f"{tmp_path}/c",
             "EDGEPROXY_API_ENABLED": "1", "EDGEPROXY_METRICS_ENABLED": "1"}
    assert run_cli("check", db=world, env=right).returncode == 0
    assert [path.name for path in tmp_path.iterdir() if path.name in ("c", "missing")] == []


def test_check_drives_no_terminal(world):
    done = run_cli("check", db=world, env={"EDGEPROXY_APP": "a\n\x1b[31mb"})
    assert done.returncode == 1
    assert "app a??[31mb" in done.stdout
    assert "\x1b" not in done.stdout


# db init

def test_db_init(tmp_path):
    path = tmp_path / "new.db"
    done = run_cli("db", "init", path)
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT id, app, region, wg_ip, port, healthy, weight, soft_limit, "
                          "hard_limit, deleted FROM backends ORDER BY id").fetchall() == [
            ("eu-node-1", "myapp", "eu", "10.50.3.1", 8080, 1, 2, 50, 100, 0),
            ("sa-node-1", "myapp", "sa", "10.50.1.1", 8080, 1, 2, 50, 100, 0),
            ("us-node-1", "myapp", "us", "10.50.2.1", 8080, 1, 2, 50, 100, 0)]

    class Made:
        pass
    Made.path = path
    assert run_cli("check", db=Made).returncode == 0
    explained = json.loads(run_cli("explain", BR, "--json", db=Made).stdout)
    assert explained["winner"] == "sa-node-1"


def test_db_init_overwrites_nothing(tmp_path):
    path = tmp_path / "precious"
    path.write_text("precious")
    done = run_cli("db", "init", path)
    assert done.returncode == 1
    assert path.read_text() == "precious"
    assert str(path) in done.stderr
    done = run_cli("db", "init", tmp_path / "no" / "such" / "folder.db")
    assert done.returncode == 1 and done.stderr.strip()


# explain

def test_explain_in_text(world):
    world.set("eu-1", healthy=0)
    world.override("12.0.0.0/8", country="JP")
    done = run_cli("explain", BR, db=world)
    assert done.returncode == 0
    for word in (BR, "BR", "Brazil", "database", "sa-1", "us-1", "eu-1", "ap-1", "unhealthy"):
        assert word in done.stdout, word
    assert "override" in run_cli("explain", US, db=world).stdout


@pytest.mark.parametrize("src, pop, winner", [
    (BR, "us", "sa-1"), (US, "sa", "us-1"), (DE, "sa", "eu-1"), (UNKNOWN[0], "ap", "ap-1"),
    (UNKNOWN[1], "us", "us-1")])
def test_explain_in_json(world, src, pop, winner):
    done = run_cli("explain", src, "--json", "--region", pop, db=world)
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["winner"] == winner and told["local_region"] == pop
    assert [b["id"] for b in told["backends"]][0] == winner
    assert len(told["backends"]) == 4
    scores = {b["id"]: b["region_score"] for b in told["backends"]}
    assert scores[winner] == min(scores.values())


def test_explain_says_what_the_proxy_does(db, start, peer):
    """The same function: whoever asks first learns what the client will meet."""
    for region in ("sa", "us", "eu"):
        for country, state in (("BR", None), ("AR", "drain"), (None, "maint"), ("DE", None)):
            id = f"{region}-{country}-{state}"
            db.add(id, peer(Identity, id), region=region, country=country, state=state)
    db.override("10.0.0.0/8", country="AR")
    db.country_region("US", "eu")
    proxy = start(EDGEPROXY_BINDING_TTL_SECS=0)
    for src in (BR, US, DE, "10.1.1.1", *UNKNOWN):
        told = json.loads(run_cli("explain", src, "--json", db=db).stdout)
        best = {b["id"] for b in told["backends"] if b.get("share", 0) > 0}
        assert proxy.label(src) in best, src


def test_explain_for_one_app(world, tmp_path):
    world.add("red", ("127.0.0.1", 9009), app="red", region="ap")
    told = json.loads(run_cli("explain", BR, "--app", "red", "--json", db=world).stdout)
    assert told["winner"] == "red"
    other = RoutingDb(tmp_path / "other.db")
    other.add("elsewhere", ("127.0.0.1", 9010))
    told = json.loads(run_cli("explain", BR, "--db", other.path, "--json", db=world).stdout)
    assert told["winner"] == "elsewhere"


def test_explain_when_nobody_takes_clients(world):
    world.run("UPDATE backends SET healthy = 0")
    done = run_cli("explain", BR, "--json", db=world)
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["winner"] is None
    assert {b["excluded"] for b in told["backends"]} == {"unhealthy"}


# healthcheck

def test_healthcheck(world, start, port):
    listen = port()
    env = {"EDGEPROXY_LISTEN_ADDR": listen}
    assert run_cli("healthcheck", env=env, db=world).returncode == 1
    proxy = start(**env)
    assert run_cli("healthcheck", env=env, db=world).returncode == 0
    assert run_cli("healthcheck", env={**env, "EDGEPROXY_TRUSTED_PROXIES": ""},
                   db=world).returncode == 0
    proxy.stop()
    assert run_cli("healthcheck", env=env, db=world).returncode == 1


def test_healthcheck_of_all_addresses(world, start, port):
    """0.0.0.0 and [::] are asked through loopback."""
    for host in ("0.0.0.0", "::") if has_ipv6() else ("0.0.0.0",):
        env = {"EDGEPROXY_LISTEN_ADDR": port(host)}
        start(**env)
        assert run_cli("healthcheck", env=env, db=world).returncode == 0


def test_output_that_nobody_reads(world):
    """A closed standard output is an error, not a crash."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run([str(harness.BINARY), "--help"], stdout=write_end,
                              stderr=subprocess.PIPE, env={}, check=False)
    finally:
        os.close(write_end)
    assert not harness.TROUBLE.search(done.stderr.decode())
