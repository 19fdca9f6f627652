"""A machine that runs out of things, and whose wall clock is stepped."""

import time

from harness import until
from stage import scenario

PATIENT = dict(EDGEPROXY_CONNECT_BUDGET_MS=60000)


@scenario
def no_descriptors(stage):
    """the limit of open files falls to what is open, and rises again: clients wait, none is lost"""
    stage.honest(3)
    proxy = stage.start(**PATIENT)
    addr = proxy.addr
    with stage.crowd(addr, threads=10) as crowd:
        for _ in range(stage.rounds(5, 40)):
            proxy.leave_fds(stage.rng.randint(0, 6))
            began = time.monotonic()
            held = stage.rng.uniform(0.1, 0.4)
            until(lambda: time.monotonic() - began > held, "a while without descriptors")
            proxy.unlimit_fds()
            crowd.until_more(10)
    stage.note(f"accept_paused {len(proxy.log.find('accept_paused'))} times")


def shimmed(stage, **env):
    shim = stage.shim()
    stage.honest(3)
    proxy = stage.start(**{**PATIENT, **shim.env, **env})
    shim.check()
    return shim, proxy


@scenario
def short_calls(stage):
    """recv, send and splice come up short or say EAGAIN: not a byte is lost, doubled or swapped"""
    for mode in ("copy", "splice", "auto"):
        shim, proxy = shimmed(stage, EDGEPROXY_RELAY_MODE=mode)
        for call in ("recv", "send", "splice"):
            shim.rate(call, scant=0.4)
        with stage.crowd(proxy.addr, up=(0, 300_000), down=(1, 600_000)) as crowd:
            crowd.until_more(stage.rounds(40, 400))
        shim.calm()
        stage.note(f"{mode}: came up short: "
                   + ", ".join(f"{call} {count[1]}" for call, count in shim.done().items()))


@scenario
def no_sockets(stage):
    """accept4, socket and pipe2 fail with EMFILE, ENFILE, ENOBUFS, ENOMEM: none is lost"""
    shim, proxy = shimmed(stage)
    shim.rate("accept4", fail=0.3)
    shim.rate("socket", fail=0.2)
    shim.rate("pipe2", fail=0.5)
    with stage.crowd(proxy.addr) as crowd:
        crowd.until_more(stage.rounds(60, 600))
    shim.calm()
    stage.note("failed: " + ", ".join(f"{call} {count[0]}" for call, count in shim.done().items()))


@scenario
def no_memory(stage):
    """malloc, epoll_ctl, recv, send and splice fail with ENOMEM: only those that it hits may end"""
    ledger = stage.ledger
    ledger.wants = {"resources", "client-gone", "client-reset", "server-reset", "connect-failed"}
    shim, proxy = shimmed(stage)
    for call, rate in (("malloc", 0.02), ("epoll_ctl", 0.02), ("recv", 0.01), ("send", 0.01),
                       ("splice", 0.01)):
        shim.rate(call, fail=rate)
    with stage.crowd(proxy.addr) as crowd:
        for _ in range(stage.rounds(4, 30)):
            crowd.until_more(40)
            stage.db.set("good-0", weight=stage.rng.randint(1, 9))  # a reload without memory
    shim.calm()
    stage.idle()
    faults = sum(count[0] for count in shim.done().values())
    ledger.settle(stage.sessions())
    ledger.wants = set()
    assert ledger.faulted <= faults, f"{ledger.faulted} clients ended by {faults} faults"
    before = ledger.completed
    with stage.crowd(proxy.addr) as crowd:
        crowd.until_more(20)
    assert ledger.completed > before
    stage.note(f"{faults} calls failed ("
               + ", ".join(f"{call} {count[0]}" for call, count in shim.done().items())
               + f"), {ledger.faulted} clients ended by them")
    if shim.sanitizer:
        stage.note("malloc is the sanitizer's here and does not fail")


@scenario
def wall_clock_steps(stage):
    """days forth and back, to 1970 and beyond: timeouts, bindings and checks do not notice"""
    hour, day = 3600, 86400
    shim, proxy = shimmed(stage, EDGEPROXY_BINDING_TTL_SECS=600, EDGEPROXY_HEALTH_CHECK="tcp",
                          EDGEPROXY_HEALTH_INTER_MS=200, EDGEPROXY_CLIENT_TIMEOUT_MS=30000,
                          EDGEPROXY_DB_RELOAD_SECS=1, EDGEPROXY_STATE_DIR=stage.folder,
                          EDGEPROXY_STATE_SAVE_SECS=1)
    steps = [hour, -hour, 400 * day, -400 * day, -(time.time() - 10), 30 * 365 * day]
    stage.rng.shuffle(steps)
    with stage.crowd(proxy.addr) as crowd:
        for step in steps[:stage.rounds(4, 6)]:
            shim.step_wall_clock(step)
            crowd.until_more(20)
            version = len(proxy.log.find("table_loaded"))
            stage.db.set("good-0", weight=stage.rng.randint(10, 10_000))
            until(lambda: len(proxy.log.find("table_loaded")) > version, "a new table", timeout=15)
    for event in ("thread_stalled", "health_down", "state_ignored", "backend_ejected"):
        assert not proxy.log.find(event), proxy.log.find(event)[:3]
    proxy.stop()
    assert proxy.log.find("stopped"), "its last line is missing"
