"""What the documents say of options, reasons, events and columns is what the program has."""

import re

import prometheus
from harness import ROOT

DOCS = ROOT / "docs"
SRC = ROOT / "src"
OPTION = re.compile(
    r'OPTION\(\s*(\w+),\s*\w+,\s*"(\w+)",\s*"([^"]*)",\s*(\d+),\s*(\d+),\s*"([^"]*)"', re.S)


def table_rows(text, columns):
    """The cells of each row with so many columns whose first cell is code."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == columns:
            yield cells


def test_every_option_is_documented_as_it_is():
    documented = {cells[0].strip("`"): cells for cells in
                  table_rows((DOCS / "configuration.md").read_text(), 4)}
    options = OPTION.findall((SRC / "config" / "options.def").read_text().split("*/", 1)[1])
    assert sorted(documented) == sorted(variable for _, variable, *_ in options)
    for kind, variable, default, least, most, unit in options:
        _, said_default, allowed, _ = documented[variable]
        assert said_default == (f"`{default}`" if default else "empty"), variable
        if kind == "UINT":
            assert allowed == f"{least}..{most} {unit}".strip(), variable
        if kind == "STRING":
            assert allowed.startswith(f"{least}..{most} bytes"), variable


def test_every_reason_is_documented():
    reasons = re.findall(r'CLOSE\(\w+, "([^"]+)", "([^"]+)"\)',
                         (SRC / "proxy" / "close_reason.def").read_text())
    text = (DOCS / "logs.md").read_text()
    assert len(reasons) > 10
    for word, meaning in reasons:
        assert f"| `{word}` | {meaning} |" in text


def test_every_event_is_documented():
    text = (DOCS / "logs.md").read_text()
    events = set()
    for source in SRC.glob("*/*.c"):
        for call in re.findall(r"(?:log_begin\w*|log_\w*failure)\(([^;{]*)\);", source.read_text()):
            events.update(re.findall(r'"([a-z]+_?[a-z_]*)"', call))
    assert {"session", "table_loaded", "ready"} <= events
    assert sorted(event for event in events if f"`{event}`" not in text) == []


def test_every_key_of_an_event_is_documented():
    """Of the lines that are written in one piece, and whose row names its keys by itself."""
    rows = {}
    for cells in table_rows((DOCS / "logs.md").read_text(), 3):
        for event in re.findall(r"`([a-z_]+)`", cells[0]):
            rows[event] = cells[2]
    line = re.compile(r'log_begin\(&?\w+,[^,]*?,\s*"([a-z_]+)"\);(.*?)log_end', re.S)
    missing, seen = [], 0
    for source in SRC.glob("*/*.c"):
        for event, body in line.findall(source.read_text()):
            keys = set(re.findall(r'log_[a-z]+\(&?\w+,\s*"([a-z_]+)"', body))
            keys |= {"error"} if "log_errno(" in body else set()
            row = rows.get(event, "the same")
            if "the same" in row or source.name == "log.c":
                continue
            seen += 1
            missing += [(event, key) for key in keys - {"advice", "effect"} if f"`{key}`" not in row]
    assert seen > 30
    assert missing == []


def test_every_column_is_documented():
    text = (DOCS / "routing.md").read_text()
    columns = re.findall(r'^\w+_COLUMN\(\w+, "(\w+)"',
                         (SRC / "control" / "columns.def").read_text(), re.M)
    assert len(columns) > 15
    assert [column for column in columns if f"`{column}`" not in text] == []


def test_every_metric_is_documented_as_it_is():
    documented = {cells[0].strip("`"): cells[1:] for cells in
                  table_rows((DOCS / "metrics.md").read_text(), 4)}
    expected = {name: [kind, ", ".join(f"`{label}`" for label in labels), help]
                for name, (kind, _, labels, help) in prometheus.rows().items()}
    assert len(expected) > 50
    assert documented == expected


def test_no_link_is_broken():
    for page in [*ROOT.glob("*.md"), *DOCS.glob("*.md"), ROOT / "data" / "geo" / "README.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
