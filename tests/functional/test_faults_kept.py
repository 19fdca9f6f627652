"""What was seen of backends (checks, agents, ejections, drains) goes on in a process that takes over,
and after a restart: nobody begins by trying again what is known to be broken."""

import pytest

from harness import BR, until
from peers import Identity
from test_health import BAD, FAST, OK, Checked, Speaks, down, up
from test_outliers import FIRST, LONG, SHORT, Asleep, serve
from test_upgrade import generations  # noqa: F401 (a fixture)

NEVER = 3600000  # in milliseconds, the longest: no check that a test could see


@pytest.fixture(params=["upgrade", "restart"])
def life(request, generations, start, port, tmp_path):  # noqa: F811
    """life(...) starts a proxy; next() on what it returns is the one that follows it."""
    (tmp_path / "state").mkdir()

    def make(**env):
        env = {"EDGEPROXY_BINDING_TTL_SECS": 0, "EDGEPROXY_STATE_DIR": tmp_path / "state",
               "EDGEPROXY_STATE_SAVE_SECS": 0, **env}
        if request.param == "upgrade":
            return Upgraded(generations(**env))
        # Bindings are of an address, so a restart listens on the same one.
        return Restarted(start, {**env, "EDGEPROXY_LISTEN_ADDR": port()})
    return make


class Upgraded:
    def __init__(self, generations):
        self.generations = generations
        self.proxy = generations.proxy
        self.mark = 0

    def next(self):
        self.mark = self.proxy.mark()
        self.generations.upgrade()
        return self.proxy.wait_event("took_over", since=self.mark)

    def label(self, client=BR):
        return self.proxy.label(client, to=self.generations.addr)


class Restarted:
    def __init__(self, start, env):
        self.start, self.env = start, env
        self.proxy = start(**env)
        self.mark = 0

    def next(self):
        self.proxy.stop()
        self.proxy = self.start(**self.env)
        return self.proxy.wait_event("state_loaded")

    def label(self, client=BR):
        return self.proxy.label(client)


def pair(db, peer):
    """Two backends; clients prefer a, which is in their own country."""
    db.add("a", peer(Identity, "a"), country="BR")
    db.add("b", peer(Identity, "b"))


def check_every(db, ms):
    db.run("UPDATE health_checks SET inter_ms = ?, downinter_ms = ?, fastinter_ms = ?", ms, ms, ms)


def test_down_stays_down_until_rise(db, peer, life):
    pair(db, peer)
    checked = peer(Checked, BAD)
    db.check("backend:a", "http", port=checked.addr[1], **FAST)
    life = life()
    down(life.proxy)
    # What follows cannot be the work of a check that the next process makes.
    check_every(db, NEVER)
    assert life.next()["faults"] == "1"
    for _ in range(5):
        assert life.label() == "b"
    assert not life.proxy.log.find("health_down", since=life.mark)
    assert not life.proxy.log.find("health_up")

    checked.answer = OK
    check_every(db, 100)
    assert up(life.proxy)["attempts"] == "2"
    assert life.label() == "a"


def test_what_is_not_checked_any_more_is_not_down(db, peer, life):
    pair(db, peer)
    checked = peer(Checked, BAD)
    db.check("backend:a", "http", port=checked.addr[1], **FAST)
    life = life()
    down(life.proxy)
    if isinstance(life, Restarted):
        life.proxy.stop()
    db.run("DELETE FROM health_checks")
    life.next()
    assert life.label() == "a"


def test_a_backend_that_has_moved_begins_anew(db, peer, start, tmp_path):
    pair(db, peer)
    checked = peer(Checked, BAD)
    db.check("backend:a", "http", port=checked.addr[1], **FAST)
    (tmp_path / "state").mkdir()
    env = dict(EDGEPROXY_BINDING_TTL_SECS=0, EDGEPROXY_STATE_DIR=tmp_path / "state")
    proxy = start(**env)
    down(proxy)
    proxy.stop()
    check_every(db, NEVER)
    db.set("a", port=peer(Identity, "moved").addr[1])
    proxy = start(**env)
    assert proxy.wait_event("state_loaded")["faults"] == "0"
    assert proxy.label(BR) == "moved"


def test_after_a_kill(db, peer, start, tmp_path):
    """A fault is a change that is worth a save, also where no client has come."""
    pair(db, peer)
    checked = peer(Checked, BAD)
    db.check("backend:a", "http", port=checked.addr[1], **FAST)
    (tmp_path / "state").mkdir()
    env = dict(EDGEPROXY_BINDING_TTL_SECS=0, EDGEPROXY_STATE_DIR=tmp_path / "state",
               EDGEPROXY_STATE_SAVE_SECS=1, EDGEPROXY_LOG_LEVEL="debug")
    proxy = start(**env)
    down(proxy)
    proxy.wait_event("state_saved", since=proxy.mark())
    proxy.process.kill()
    proxy.wait_exit()
    check_every(db, NEVER)
    proxy = start(**env)
    assert proxy.wait_event("state_loaded")["faults"] == "1"
    assert proxy.label(BR) == "b"


@pytest.mark.parametrize("what", ["weight", "grace"])
def test_after_a_kill_also_what_is_no_fault(db, peer, start, tmp_path, what):
    """A weight that an agent told, or a drain, is worth a save where nothing else happens."""
    pair(db, peer)
    agent = peer(Speaks, b"100%\n")
    db.check("backend:a", "none", agent_port=agent.addr[1], agent_inter_ms=100)
    (tmp_path / "state").mkdir()
    env = dict(EDGEPROXY_STATE_DIR=tmp_path / "state", EDGEPROXY_STATE_SAVE_SECS=1,
               EDGEPROXY_LOG_LEVEL="debug", EDGEPROXY_DRAIN_GRACE_SECS=1)
    proxy = start(**env)
    mark = proxy.mark()
    if what == "weight":
        agent.line = b"0%\n"
        proxy.wait_event("agent_changed", lambda e: e["weight_percent"] == "0")
    else:
        db.set("a", state="drain")
        proxy.wait_event("table_loaded", since=mark)
    saved = proxy.wait_event("state_saved", since=mark)
    assert saved["bindings"] == "0"
    proxy.process.kill()
    proxy.wait_exit()
    agent.line = b""
    proxy = start(**env)
    assert proxy.wait_event("state_loaded")["faults"] == "0"
    if what == "weight":
        assert proxy.label(BR) == "b"


def test_one_that_was_up_takes_as_many_failures_as_before(db, peer, generations):  # noqa: F811
    """An upgrade is nobody's first sight."""
    pair(db, peer)
    checked = peer(Checked, OK)
    db.check("backend:a", "http", port=checked.addr[1], **FAST)
    g = generations()
    until(lambda: len(checked.requests) >= 2, "two checks")
    mark = g.proxy.mark()
    check_every(db, NEVER)
    g.proxy.wait_event("table_loaded", since=mark)
    g.upgrade()
    checked.answer = BAD  # seen by the new process only
    mark = g.proxy.mark()
    check_every(db, 100)
    line = g.proxy.wait_event("health_down", since=mark)
    assert line["attempts"] == "2"


def test_what_an_agent_said_goes_on_being_true(db, peer, life):
    pair(db, peer)
    agent = peer(Speaks, b"maint\n")
    db.check("backend:a", "none", agent_port=agent.addr[1], agent_inter_ms=100)
    life = life()
    life.proxy.wait_event("agent_changed")
    agent.line = b""
    assert life.next()["faults"] == "1"
    assert life.label() == "b"
    life.proxy.wait_event("agent_silent", since=life.mark)
    assert life.label() == "b"
    agent.line = b"ready\n"
    life.proxy.wait_event("agent_changed", lambda e: e["state"] == "ready", since=life.mark)
    assert life.label() == "a"


def broken(db, peer):
    backend = Asleep(peer, "first")
    db.add("first", backend, **FIRST)
    db.add("second", peer(Identity, "second"))
    return backend


def test_ejected_stays_ejected(db, peer, life):
    broken(db, peer)
    life = life(**LONG)
    serve(life.proxy, 3)
    life.proxy.wait_event("backend_ejected")
    life.proxy.wait_session(count=3)
    assert life.next()["faults"] == "1"
    mark = life.proxy.mark()
    for _ in range(10):
        assert life.label() == "second"
    until(lambda: len(life.proxy.log.find("session", since=mark)) >= 10, "all are in the log")
    assert not life.proxy.log.find("connect_failed", since=mark)


def test_an_ejection_ends_with_its_trial(db, peer, life):
    backend = broken(db, peer)
    life = life(**SHORT)
    serve(life.proxy, 3)
    life.proxy.wait_event("backend_ejected")
    life.next()
    # Longer each time, also across processes.
    until(lambda: life.label() == "second" and life.proxy.log.find(
        "backend_ejected", lambda e: e["why"] == "trial-failed", since=life.mark), "a trial")
    backend.mend()
    until(lambda: life.label() == "first", "a trial that succeeds")
    life.proxy.wait_event("backend_returned", since=life.mark)
    ejections = [e["ejections"] for e in life.proxy.log.find("backend_ejected", since=life.mark)]
    assert int(ejections[0]) >= 2


def test_nobody_is_ejected_where_nobody_may_be(db, peer, start, tmp_path):
    backend = broken(db, peer)
    (tmp_path / "state").mkdir()
    env = dict(LONG, EDGEPROXY_STATE_DIR=tmp_path / "state")
    proxy = start(**env)
    serve(proxy, 3)
    proxy.wait_event("backend_ejected")
    proxy.stop()
    backend.mend()
    proxy = start(**{**env, "EDGEPROXY_OUTLIER_CONSECUTIVE_FAILURES": 0,
                     "EDGEPROXY_OUTLIER_SUCCESS_RATE_STDEV_FACTOR": 0})
    assert proxy.wait_event("state_loaded")["faults"] == "0"
    serve(proxy, 3, "first")


def test_panic_is_known_before_the_first_client(db, peer, life):
    """All are down: the next process serves as this one does, from its first client on."""
    pair(db, peer)
    checked = peer(Checked, BAD)
    db.check("app:myapp", "http", port=checked.addr[1], **FAST)
    life = life()
    down(life.proxy, "a")
    down(life.proxy, "b")
    life.proxy.wait_event("panic_entered")
    check_every(db, NEVER)
    assert life.next()["faults"] == "2"
    assert life.label() == "a"
    assert not life.proxy.sessions(lambda e: e["reason"] == "no-backend")


def test_a_grace_does_not_begin_again(db, peer, life):
    pair(db, peer)
    life = life(EDGEPROXY_BINDING_TTL_SECS=600, EDGEPROXY_DRAIN_GRACE_SECS=1)
    clients = [BR, BR + "1"]
    assert [life.label(c) for c in clients] == ["a", "a"]
    db.set("a", state="drain")
    until(lambda: life.label(clients[0]) == "b", "the end of the grace")
    life.next()
    assert life.label(clients[1]) == "b"
