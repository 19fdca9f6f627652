"""Backends that misbehave, beside healthy ones."""

import backends
from harness import until
from stage import scenario

IMPATIENT = dict(EDGEPROXY_CONNECT_TIMEOUT_MS=150, EDGEPROXY_CONNECT_BUDGET_MS=60000)


@scenario
def before_the_first_byte(stage):
    """refuse, hang at connect, reset at accept, reset at the request: everybody is served"""
    stage.honest(2)
    for kind in (backends.Refusing, backends.Blackhole, backends.ResetOnAccept,
                 backends.ResetOnRequest):
        stage.broken(kind)
    proxy = stage.start(**IMPATIENT)
    with stage.crowd(proxy.addr) as crowd:
        crowd.until_more(stage.rounds(150, 1500))
    tries = len(proxy.log.find("connect_failed"))
    assert tries > 0, "no backend was ever tried in vain"
    stage.note(f"{tries} tries failed and were made good")


@scenario
def only_one_is_up(stage):
    """all but one refuse or reset, with ejections and panic as by default: everybody is served"""
    stage.honest(1)
    for _ in range(4):
        stage.broken(backends.Refusing)
        stage.broken(backends.ResetOnRequest)
    proxy = stage.start(EDGEPROXY_OUTLIER_CONSECUTIVE_FAILURES="unset", **IMPATIENT)
    with stage.crowd(proxy.addr) as crowd:
        crowd.until_more(stage.rounds(100, 1000))


@scenario
def midway(stage):
    """reset, end early, hang and lie in the middle; half-close and trickle, which are no faults"""
    ledger = stage.ledger
    stage.honest(1)
    stage.honest(1, end_first=True)
    stage.honest(1, step=900, gap_secs=0.002)
    for kind in (backends.ResetMidway, backends.EndsMidway, backends.Hangs, backends.Liar):
        stage.broken(kind, ledger, stage.rng_for(kind.__name__))
    proxy = stage.start(EDGEPROXY_SERVER_TIMEOUT_MS=700, EDGEPROXY_SERVER_FIN_TIMEOUT_MS=700)
    with stage.crowd(proxy.addr, threads=10, down=(1, 60_000)) as crowd:
        crowd.until_more(stage.rounds(120, 1200))
        until(lambda: len(ledger.reasons) >= 4 or ledger.broken, "each of the four faults")
    stage.note(", ".join(f"{what} {count}" for what, count in sorted(ledger.reasons.items())))


@scenario
def a_backend_dies(stage):
    """dies in the middle, again and again; the others' transfers are not touched"""
    stage.honest(2)
    proxy = stage.start(**IMPATIENT)
    with stage.crowd(proxy.addr, threads=8) as crowd:
        for number in range(stage.rounds(3, 20)):
            mortal = stage.peer(backends.Mortal, stage.ledger, stage.rng_for(f"mortal {number}"))
            stage.db.add(f"mortal-{number}", mortal)
            until(lambda: mortal.open >= 2 or stage.ledger.broken, "clients of the one that dies")
            mortal.stop_listening()
            mortal.dead.set()
            crowd.until_more(60)
            stage.db.remove(f"mortal-{number}")
            crowd.until_more(5)
