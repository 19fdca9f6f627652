"""The micro-benchmarks of the parts that decide, and the size of the binary."""

import json
import pathlib
import subprocess
import tempfile

import stats

EMBEDDED = pathlib.Path("data/geo/country.mmdb")


def measure(program, quick):
    """{name: {"least", "median", "most", "unit"}}"""
    done = subprocess.run([program, *(["--quick"] if quick else [])], stdout=subprocess.PIPE,
                          check=True, timeout=300)
    rows = (json.loads(line) for line in done.stdout.splitlines())
    return {row.pop("name"): row for row in rows}


def binary_bytes(binary, root):
    """Stripped, and of that what is not the embedded database."""
    with tempfile.NamedTemporaryFile() as copy:
        subprocess.run(["strip", "-o", copy.name, binary], check=True)
        stripped = pathlib.Path(copy.name).stat().st_size
    return {"stripped": stripped, "without_geo": stripped - (root / EMBEDDED).stat().st_size}


def row_text(row):
    return (f"{stats.figure(row['median'])} ({stats.figure(row['least'])}–"
            f"{stats.figure(row['most'])}) {row['unit']}")


def show(rows, say):
    say("Micro-benchmarks")
    for name, row in rows.items():
        say(f"  {name:<58} {row_text(row)}")
