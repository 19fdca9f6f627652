#!/usr/bin/env python3
"""Builds edgeProxy in one or more variants and runs every test of each.

A variant is a compiler with its checks, built in build/test-VARIANT. Of each, the unit tests and
the corpus replays run directly (meson names them, TAP counts their cases), then pytest drives the
binary over tests/functional, and the fault suite plays its short form (TAP too). Output is shown
for what failed, and all that failed is named again at the end. The last line is "N passed, N failed",
and the exit status is 0 only when something passed and nothing failed.

Nothing here knows package names (./dev does) or how a test works.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
CPUS = len(os.sched_getaffinity(0))
SANITIZED_TIMEOUT = 4  # a sanitized test may take so many times longer
FUNCTIONAL_LIMIT_S = 2400
FUNCTIONAL_TEST_LIMIT_S = 300  # of one test, and of the tests that it may run in a namespace
CHAOS_LIMIT_S = 900
FUNCTIONAL_AT_ONCE = CPUS + 1  # a functional test mostly waits, for a timeout that it is about
FUNCTIONAL_FAILURES = 20  # more tell nothing new, and each may have waited for its patience to end
REASON_LINES_MAX = 20  # of one failure, where all of them are named at the end
GIST_MAX = 120  # characters of a reason beside its name

RUNTIME = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


@dataclasses.dataclass(frozen=True)
class Variant:
    name: str
    cc: str
    options: tuple
    marker: str = ""  # pytest -m, unless all is asked for; "": every functional test
    relay: str = "auto"  # the relay mode wherever a test does not ask for another
    tested: bool = True  # False: it must build without a warning, and serve the demo and the bench

    @property
    def sanitized(self):
        return any("b_sanitize" in option for option in self.options)


# gcc warns wrongly in sanitized code; the other variants are strict.
SANITIZER = ("--buildtype=debugoptimized", "-Dwerror=false",
             "-Dc_args=-fno-omit-frame-pointer -fno-sanitize-recover=all")
VARIANTS = {
    v.name: v
    for v in (
        Variant("gcc-debug", "gcc", ("--buildtype=debugoptimized", "-Dwerror=true"), relay="copy"),
        Variant("asan", "gcc", (*SANITIZER, "-Db_sanitize=address,undefined")),
        Variant("tsan", "gcc", (*SANITIZER, "-Db_sanitize=thread"), "concurrency"),
        Variant("clang-debug", "clang", ("--buildtype=debug", "-Dwerror=true"), relay="splice"),
        Variant("release", "gcc", ("--buildtype=release", "-Dwerror=true"), tested=False),
    )
}
QUICK = ["gcc-debug"]
NORMAL = ["gcc-debug", "asan", "tsan"]


@dataclasses.dataclass(frozen=True)
class Count:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other):
        return Count(self.passed + other.passed, self.failed + other.failed,
                     self.skipped + other.skipped)

    def __str__(self):
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


PASS = Count(passed=1)
FAIL = Count(failed=1)


told_at_the_end = []  # (what, why) of all that failed, in the order in which it was seen


def say(text=""):
    print(text, flush=True)


def failed(what, why):
    """To be named at the end: what was printed at its time is far away."""
    told_at_the_end.append((what, why.strip()))


def progress(text):
    """The latest line of something long, in place, for those who watch."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\033[K{text[:width]}", end="", flush=True)


def logged(label, command, log, env=None):
    """Runs command with its output in the file log. True: it ended well."""
    began = time.monotonic()
    with open(log, "w", encoding="utf-8", errors="replace") as out:
        child = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace",
        )
        for line in child.stdout:
            out.write(line)
            progress(f"{label}: {line.rstrip()}")
    progress("")
    if child.wait() == 0:
        say(f"{label}: {time.monotonic() - began:.0f} s")
        return True
    say(f"{label}: FAILED ({' '.join(map(str, command))})")
    output = log.read_text(encoding="utf-8", errors="replace")
    say(output[-20000:])
    failed(label, output)
    return False


# ---- building ----


def configure(folder, cc, options):
    """A folder set up for these very options and this place of the checkout; others start anew."""
    wanted = json.dumps([str(ROOT), cc, *options])
    stamp = folder / "set-up-as"
    if (folder / "build.ninja").exists() and stamp.exists() and stamp.read_text() == wanted:
        return True
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    env = dict(os.environ, CC=cc)
    if not logged(f"{folder.name}: configure", ["meson", "setup", folder, *options],
                  folder.with_suffix(".log"), env):
        return False
    stamp.write_text(wanted)
    return True


def build(variant, folder):
    options = variant.options if variant.tested else (*variant.options, "-Dtests=false")
    return configure(folder, variant.cc, options) and logged(
        f"{folder.name}: compile", ["meson", "compile", "-C", folder], folder.with_suffix(".log"))


def judged(count, status):
    """A run that says that all is well and exits with an error is not believed."""
    return count + FAIL if status != 0 and count.failed == 0 else count


# ---- unit tests and corpus replays ----


def count_tap(output, status):
    """Counts the cases of TAP output. Cases of the plan that a dead test left untold have failed."""
    results = re.findall(r"^(ok|not ok)\b(.*)$", output, re.MULTILINE)
    skipped = sum(bool(re.search(r"#\s*skip", rest, re.IGNORECASE)) for _, rest in results)
    bad = sum(verdict == "not ok" for verdict, _ in results)
    planned = sum(int(n) for n in re.findall(r"^1\.\.(\d+)", output, re.MULTILINE))
    untold = max(0, planned - len(results))
    return judged(Count(len(results) - skipped - bad, bad + untold, skipped), status)


def tap_reason(output):
    """Of TAP output what did not pass."""
    return re.sub(r"^ok\b.*\n", "", output, flags=re.MULTILINE)


def run_test(test, prefix, env, timeout):
    """One test program: its name, count, seconds and output."""
    began = time.monotonic()
    try:
        done = subprocess.run(
            [*prefix, *test["cmd"]], env={**env, **test["env"]}, timeout=timeout, text=True,
            errors="replace", cwd=test.get("workdir") or ROOT, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        output, status = done.stdout, done.returncode
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode(errors="replace") + f"\nno end after {timeout} s"
        status = -1
    if test["protocol"] == "tap":
        count = count_tap(output, status)
    else:
        count = PASS if status == 0 else FAIL
    return test["name"], count, time.monotonic() - began, f"{output}\nexit status {status}"


def unit_tests(variant, folder, prefix, env, word):
    listed = subprocess.run(["meson", "introspect", "--tests", folder], check=True, text=True,
                            stdout=subprocess.PIPE).stdout
    tests = [test for test in json.loads(listed) if word in test["name"]]
    total = Count()
    with concurrent.futures.ThreadPoolExecutor(CPUS) as pool:
        runs = []
        for test in tests:
            timeout = test["timeout"] * (SANITIZED_TIMEOUT if variant.sanitized else 1)
            runs.append(pool.submit(run_test, test, prefix, env, timeout))
        for run in concurrent.futures.as_completed(runs):
            name, count, seconds, output = run.result()
            total += count
            say(f"{variant.name}: {name}: {count} ({seconds:.1f} s)")
            if count.failed:
                say(output)
                failed(f"{variant.name}: {name}", tap_reason(output))
    return total


# ---- functional tests ----


def functional_tests(variant, folder, prefix, env, word, marker):
    report = folder / "functional.xml"
    report.unlink(missing_ok=True)
    # The binary that pytest starts inherits what the prefix sets.
    command = [*prefix, sys.executable, "-m", "pytest", "tests/functional", "-v", "--tb=short", "-p",
               "no:cacheprovider", f"--junitxml={report}", f"--maxfail={FUNCTIONAL_FAILURES}",
               f"--timeout={FUNCTIONAL_TEST_LIMIT_S}", f"--numprocesses={FUNCTIONAL_AT_ONCE}"]
    command += ["-m", marker] if marker else []
    command += ["-k", word] if word else []
    say(f"{variant.name}: functional")
    pytest = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL,
                              env={**env, "EDGEPROXY_BIN": str(folder / "edgeproxy")})
    try:
        status = pytest.wait(FUNCTIONAL_LIMIT_S)
    except subprocess.TimeoutExpired:
        why = f"no end after {FUNCTIONAL_LIMIT_S} s"
        say(f"{variant.name}: functional: {why}")
        failed(f"{variant.name}: functional", why)
        pytest.send_signal(signal.SIGINT)  # it still stops what it has started
        status = pytest.wait()
    if status == 5:  # nothing matched the word or marker
        return Count()
    try:
        suites = xml.etree.ElementTree.parse(report).getroot().iter("testsuite")
    except (OSError, xml.etree.ElementTree.ParseError) as error:
        failed(f"{variant.name}: functional", str(error))
        return FAIL
    count = Count()
    for suite in suites:
        for case in suite.iter("testcase"):
            for trouble in (*case.iter("failure"), *case.iter("error")):
                failed(f"{variant.name}: {case.get('classname')}::{case.get('name')}", trouble.text or "")
        tests, failures, errors, skipped = (
            int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped"))
        bad = min(tests, failures + errors)
        count += Count(tests - bad - skipped, bad, skipped)
    return judged(count, status)


# ---- fault suite ----


def chaos_tests(variant, folder, env, word):
    """The short form of the fault suite. The thread sanitizer bears nothing between it and libc,
    and holds the threads that Python is kept busy with too far back: it is left out there."""
    if variant.name == "tsan":
        return Count()
    command = [sys.executable, "tests/chaos/chaos.py", "--short", f"--build={folder}", f"--word={word}"]
    _, count, seconds, output = run_test(
        {"name": "chaos", "cmd": command, "env": {"EDGEPROXY_BIN": str(folder / "edgeproxy")},
         "protocol": "tap"}, [], env, CHAOS_LIMIT_S)
    say(f"{variant.name}: chaos: {count} ({seconds:.1f} s)")
    say(output if count.failed else next(
        (line for line in output.splitlines() if line.startswith("connections tried")), ""))
    if count.failed:
        failed(f"{variant.name}: chaos", tap_reason(output))
    return count


# ---- variants ----


def tsan_prefix(folder, env):
    """What a TSan program must be started with here. Its shadow memory does not fit where the
    kernel randomises addresses widely (vm.mmap_rnd_bits above 28): then that is turned off."""
    probe = folder / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-fsanitize=thread", probe, "-o", folder / "probe"], check=True)
    for prefix in ([], ["setarch", "-R"]):
        runs = [subprocess.run([*prefix, folder / "probe"], env=env, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL).returncode for _ in range(10)]
        if not any(runs):
            return prefix
    return None


def scripts(variant, folder):
    """What people run with the release build must not rot."""
    binary = folder / "edgeproxy"
    commands = {
        "demo": ["tests/demo/demo.py", f"--bin={binary}"],
        "startup": ["tests/bench/startup.py", f"--binary={binary}", "--starts=3"],
    }
    good = [logged(f"{variant.name}: {name}", [sys.executable, *command], folder / f"{name}.log")
            for name, command in commands.items()]
    return Count(passed=sum(good), failed=len(good) - sum(good))


def run_variant(variant, arguments):
    folder = BUILD / f"test-{variant.name}"
    env = {k: v for k, v in os.environ.items() if not k.startswith("EDGEPROXY_") or "_TEST_" in k}
    env.update(RUNTIME)
    env.setdefault("EDGEPROXY_TEST_EVERYWHERE", f"EDGEPROXY_RELAY_MODE={variant.relay}")
    if not build(variant, folder):
        return {"build": FAIL}
    if not variant.tested:
        return {"build": PASS, "scripts": scripts(variant, folder)}
    prefix = tsan_prefix(folder, env) if variant.name == "tsan" else []
    if prefix is None:
        say("tsan: programs do not start here; as root: sysctl vm.mmap_rnd_bits=28")
        return {"start": FAIL}
    return {
        "unit": unit_tests(variant, folder, prefix, env, arguments.word),
        "functional": functional_tests(variant, folder, prefix, env, arguments.word,
                                       "" if arguments.all else variant.marker),
        "chaos": chaos_tests(variant, folder, env, arguments.word),
    }


def run_lint():
    output = ""
    lint = subprocess.Popen([sys.executable, "tests/lint.py"], cwd=ROOT, text=True,
                            errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)
    for line in lint.stdout:
        print(f"lint: {line}", end="", flush=True)
        output += line
    count = count_tap(output, lint.wait())
    if count.failed:
        failed("lint", tap_reason(output))
    return {"checks": count}


def print_table(results):
    form = "{:<14}{:<14}{:>8}{:>8}{:>9}{:>9}"
    say("\n" + form.format("variant", "part", "passed", "failed", "skipped", "seconds"))
    for name, (rows, seconds) in results.items():
        shown = name, f"{seconds:.0f}"  # once, in the first row
        for part, count in rows.items():
            say(form.format(shown[0], part, count.passed, count.failed, count.skipped, shown[1]))
            shown = "", ""


def tell_failures():
    """First all the names, a line each, then the reasons: who is shown only a part, as by a page of
    a CI, still sees what failed."""
    if told_at_the_end:
        say()
    for what, why in told_at_the_end:
        gist = re.search(r"^E +(.*)", why, re.MULTILINE)  # what pytest says went wrong
        say(f"FAILED {what}" + (f": {gist[1][:GIST_MAX]}" if gist else ""))
    for what, why in told_at_the_end:
        say("\n".join([f"\nwhy {what}:", *why.splitlines()[-REASON_LINES_MAX:]]))


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./dev test", description=__doc__.split("\n", 1)[0])
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    scope.add_argument("--all", action="store_true", help="every variant, and lint")
    scope.add_argument("--variant", action="append", choices=list(VARIANTS), help="only this one")
    parser.add_argument("-k", dest="word", default="", help="only tests with this in their name")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    names = arguments.variant or (
        QUICK if arguments.quick else list(VARIANTS) if arguments.all else NORMAL)
    jobs = [(name, lambda v=VARIANTS[name]: run_variant(v, arguments)) for name in names]
    if arguments.all:
        jobs.insert(0, ("lint", run_lint))
    results = {}
    total = Count()
    for name, job in jobs:
        began = time.monotonic()
        rows = job()
        results[name] = rows, time.monotonic() - began
        total = sum(rows.values(), total)
    print_table(results)
    tell_failures()
    say(f"\n{total}")
    sys.exit(0 if total.passed > 0 and total.failed == 0 else 1)


if __name__ == "__main__":
    main()
