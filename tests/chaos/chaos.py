#!/usr/bin/env python3
"""The fault suite: breaks what is around the proxy, and counts what clients lose by it.

Each scenario runs the real binary with its own backends, clients and faults, all drawn from the
seed. What is drawn is the same for the same seed; how threads and processes interleave is not.
A scenario fails when a client is lost through our fault, a byte differs, or the proxy does not come
through in good order."""

import argparse
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "functional")]

import harness  # noqa: E402
import scenarios_backends  # noqa: E402, F401
import scenarios_database  # noqa: E402, F401
import scenarios_machine  # noqa: E402, F401
import scenarios_process  # noqa: E402, F401
from shim import NotHere  # noqa: E402
from stage import SCENARIOS, Stage  # noqa: E402

COLUMNS = ("tried", "served", "limited", "faulted", "lost", "sent", "received", "compared")
USUAL_MINUTES = 4.0  # what all scenarios take together, more or less, at scale 1


def say(text=""):
    print(text, flush=True)


def size(count):
    for unit in ("B", "kB", "MB"):
        if count < 10_000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.0f} GB"


def form(name, cells):
    return f"{name:<24}" + "".join(f"{cell:>10}" for cell in cells)


def play(name, arguments, scale):
    """Runs one scenario. (its Stage, what is wrong with it or "", why it was skipped or "")."""
    stage = Stage(name, arguments.seed, arguments.short, scale, arguments.build)
    wrong, skipped = "", ""
    try:
        SCENARIOS[name](stage)
        stage.finish()
    except NotHere as reason:
        skipped = str(reason)
    except AssertionError as error:
        wrong = str(error) or traceback.format_exc()
    except Exception:  # noqa: BLE001 - a scenario that breaks has failed, and the others go on
        wrong = traceback.format_exc()
    finally:
        try:
            stage.clear()
        except Exception:  # noqa: BLE001
            wrong = wrong or traceback.format_exc()
    return stage, wrong, skipped


def judge(stage, wrong):
    problems = ([wrong] if wrong else []) + stage.ledger.problems
    if stage.ledger.lost and not problems:
        problems = ["clients were lost"]
    return problems


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./dev chaos", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seed", type=int, help="repeat what this seed draws (default: a new one)")
    parser.add_argument("--minutes", type=float, default=USUAL_MINUTES,
                        help=f"about how long (default: {USUAL_MINUTES:g})")
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), metavar="NAME",
                        help="only this one; may be repeated. " + "; ".join(
                            f"{name}: {what.__doc__.splitlines()[0]}".replace("%", "%%")
                            for name, what in SCENARIOS.items()))
    parser.add_argument("-k", "--word", default="", help="only scenarios with this in their name")
    parser.add_argument("--short", action="store_true", help="what ./dev test runs: half a minute")
    parser.add_argument("--asan", action="store_true", help="a sanitized build (done by ./dev)")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "chaos",
                        help="where the suite's own C programs are built")
    arguments = parser.parse_args()
    if arguments.seed is None:
        arguments.seed = 1 if arguments.short else random.SystemRandom().randrange(1, 1 << 32)
    return arguments


def main():
    arguments = parse_arguments()
    if not harness.BINARY.exists():
        sys.exit(f"no binary {os.path.relpath(harness.BINARY)}: build it, or set EDGEPROXY_BIN")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what it started is still ended
    say(f"seed {arguments.seed}")
    names = [name for name in arguments.only or SCENARIOS if arguments.word in name]
    say(f"1..{len(names)}")
    rows, total = [], [0] * len(COLUMNS)
    failed = 0
    for number, name in enumerate(names, 1):
        began = time.monotonic()
        stage, wrong, skipped = play(name, arguments, arguments.minutes / USUAL_MINUTES)
        problems = judge(stage, wrong)
        failed += bool(problems)
        verdict = "not ok" if problems else "ok"
        say(f"{verdict} {number} - {name} ({time.monotonic() - began:.1f} s)"
            + (f" # SKIP {skipped}" if skipped else ""))
        for note in stage.notes:
            say(f"#   {note}")
        for problem in problems[:10]:
            say("#   ! " + problem[-6000:].replace("\n", "\n#     "))
        row = stage.ledger.row()
        total = [a + b for a, b in zip(total, row)]
        rows.append((name, row))
    say()
    say(form("scenario", COLUMNS))
    for name, row in [*rows, ("all", total)]:
        say(form(name, [*row[:5], *map(size, row[5:])]))
    say(f"\nconnections tried {total[0]}, completed {total[1]}, refused by limits as configured "
        f"{total[2]}, ended by an injected fault {total[3]}, lost through our fault {total[4]}; "
        f"bytes compared {total[7]}")
    if failed:
        say(f"{failed} scenarios failed; again: ./dev chaos --seed {arguments.seed}"
            + (" --short" if arguments.short else ""))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
