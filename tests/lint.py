#!/usr/bin/env python3
"""Checks that need no run of the program: format, static analysis, layers. Prints TAP.

Each check is a function that yields one line a finding; none is a pass.
"""

import concurrent.futures
import os
import pathlib
import py_compile
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CPUS = len(os.sched_getaffinity(0))

# What each folder of src may include beside itself. Layers never look up, and those that stand
# side by side (proxy, health and control; registry and recorder) never see each other. A folder
# that is not named may see all.
_DATA = {"base", "net", "geo", "route", "config", "observe"}
MAY_INCLUDE = {
    "base": set(),
    "net": {"base"},
    "config": {"base", "net"},
    "geo": {"base", "net"},
    "observe": {"base", "net"},
    "route": {"base", "net", "geo"},
    "proxy": _DATA,
    "control": _DATA,
    "health": _DATA,
    "explain": {"base", "net", "geo", "route"},
    "http": {"base", "net", "config", "route"},
    "registry": {"base", "net", "config", "geo", "route", "control", "http"},
    "recorder": {"base", "net", "geo", "route", "proxy"},
    "api": _DATA | {"control", "proxy", "explain", "http", "registry", "recorder"},
    "daemon": _DATA | {"control", "proxy", "health", "api"},
    "plan": {"base", "net", "geo", "route"},
    "cli": _DATA | {"control", "explain", "http", "api", "plan"},
}


def files(*patterns):
    """Paths below ROOT, relative to it; build folders are not looked into."""
    return sorted(p.relative_to(ROOT) for pattern in patterns for p in ROOT.glob(pattern))


def output_of(command):
    """The lines that a failed command wrote; [] for one that ended well."""
    done = subprocess.run(command, cwd=ROOT, text=True, errors="replace", stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.splitlines() or ["failed silently"] if done.returncode else []


def each(command, paths):
    """command with each path, as many at a time as there are CPUs."""
    with concurrent.futures.ThreadPoolExecutor(CPUS) as pool:
        for lines in pool.map(lambda path: output_of([*command, path]), paths):
            yield from lines


def includes(path):
    """[(line number, what it includes)] of a source, the system's headers left out."""
    lines = enumerate((ROOT / path).read_text().splitlines(), 1)
    found = ((number, re.match(r'\s*#\s*include\s*"([^"]+)"', line)) for number, line in lines)
    return [(number, match.group(1)) for number, match in found if match]


def layers():
    """includes go downwards, and name a file by its path from src"""
    for path in files("src/**/*.[chd]*"):
        folder = path.parts[1] if len(path.parts) > 2 else ""
        for number, target in includes(path):
            other = target.split("/")[0]
            if "/" not in target or not (ROOT / "src" / target).exists():
                yield f"{path}:{number}: {target} is no path from src"
            elif other not in MAY_INCLUDE.get(folder, {other}) | {folder}:
                yield f"{path}:{number}: {folder} may not include {target}"


def circles():
    """no source includes, by whatever way, one that includes it (a source is a .c with its .h)"""
    below = {}
    for path in files("src/**/*.[ch]"):
        below.setdefault(str(path.relative_to("src").with_suffix("")), set()).update(
            target[:-2] for _, target in includes(path) if target.endswith(".h"))
    done = set()

    def walk(source, way):
        if source in way:
            yield " -> ".join(way[way.index(source):] + [source])
        elif source not in done:
            for target in sorted(below.get(source, set()) - {source}):
                yield from walk(target, way + [source])
            done.add(source)

    for source in sorted(below):
        yield from walk(source, [])


def listed():
    """meson.build names every source and test"""
    builds = files("meson.build", "tests/**/meson.build")
    named = "".join((ROOT / path).read_text() for path in builds)
    for path in files("src/**/*.c"):
        if f"'{path}'" not in named:
            yield f"{path} is not built"
    for path in files("tests/unit/**/*_test.c"):
        name = path.name.removesuffix("_test.c")
        row = re.search(rf"'{path.parent.name}': {{[^}}]*}}", named)
        if not row or f"'{name}'" not in row.group():
            yield f"{path} is not built"


def headers():
    """each header compiles alone"""
    command = ["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-Isrc",
               "-fsyntax-only", "-x", "c", os.devnull, "-include"]
    yield from each(command, files("src/**/*.h"))


def format_c():
    """clang-format"""
    sources = files("src/**/*.[ch]", "tests/**/*.[ch]")
    lines = output_of(["clang-format", "--dry-run", "-Werror", *sources])
    for path in sorted({line.split(":")[0] for line in lines if ": error: " in line}):
        yield f"{path}: clang-format -i {path}"


def tidy():
    """clang-tidy"""
    folder = ROOT / "build" / "lint"
    if (folder / "build.ninja").exists():
        failed = output_of(["ninja", "-C", folder, "build.ninja"])  # sources may have come or gone
    else:
        failed = output_of(["env", "CC=clang", "meson", "setup", folder, "-Dtests=false"])
    if not failed:
        failed = output_of(["ninja", "-C", folder, "page_build.h"])  # sources include it
    yield from failed
    if not failed:
        for line in each(["clang-tidy", "--quiet", "-p", folder], files("src/**/*.c")):
            if not re.fullmatch(r"\d+ warnings? generated\.", line):  # those of system headers
                yield re.sub(r"^(.*/)?\.\./\.\./src/", "src/", line)


def shell():
    """shellcheck"""
    scripts = files("dev", ".ci/run", "examples/*.sh", "tests/**/*.sh", "deploy/**/*.sh")
    yield from output_of(["shellcheck", *scripts])


def python():
    """python syntax"""
    with tempfile.TemporaryDirectory() as folder:
        for path in files("tests/**/*.py"):
            try:
                py_compile.compile(str(ROOT / path), os.path.join(folder, "x.pyc"), doraise=True)
            except py_compile.PyCompileError as error:
                yield str(error)


CHECKS = (layers, circles, listed, headers, format_c, shell, python, tidy)


def main():
    failed = False
    print(f"1..{len(CHECKS)}", flush=True)
    for number, check in enumerate(CHECKS, 1):
        findings = list(check())
        failed |= bool(findings)
        print(f"{'not ok' if findings else 'ok'} {number} - {check.__doc__}", flush=True)
        for line in findings:
            print(f"# {line}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
