"""deploy/prometheus and deploy/grafana: they ask for metrics that there are, in a language that
Prometheus knows, and each alert can fire."""

import json
import re

import pytest

from harness import ROOT
from prometheus import PROMTOOL, promtool, rows, series_names

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "edgeproxy.rules.yml"
TESTS = PROMETHEUS / "edgeproxy.test.yml"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "edgeproxy.json").read_text())
METRIC = re.compile(r"\b(?:edgeproxy|process)_[a-z_]+\b(?!\.)")

needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="not installed: promtool")


def graphs():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries():
    """Every expression of the dashboard."""
    for panel in graphs():
        for target in panel["targets"]:
            yield target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["expr"]


def expressions(text):
    """Those of a file of rules."""
    found = re.findall(r"^ +expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)", text, re.M)
    return [" ".join((folded or plain).split()) for folded, plain in found]


def metrics_in(expression):
    """The names in it, without what stands in quotes."""
    return set(METRIC.findall(re.sub(r'"[^"]*"', '""', expression)))


def test_every_metric_asked_for_is_there():
    known = series_names()
    exprs = [*queries(), *expressions(RULES.read_text()),
             *(v["definition"] for v in DASHBOARD["templating"]["list"] if v["type"] == "query")]
    assert len(exprs) > 60
    for expr in exprs:
        assert metrics_in(expr) <= known or "up{" in expr, expr
        assert metrics_in(expr) or "up{" in expr, expr
    for name in re.findall(r"series: '(\w+)", TESTS.read_text()):
        assert name in known | {"up"}, name


def test_labels_asked_for_are_there():
    """by (…) and label=… name labels that the metrics of the expression have, or that Prometheus adds."""
    labels_of = {name + end: set(labels) | {"le", "instance", "job"}
                 for name, (_, _, labels, _) in rows().items()
                 for end in ("", "_bucket", "_sum", "_count")}
    for expr in [*queries(), *expressions(RULES.read_text())]:
        if "up{" in expr:
            continue
        have = set.union(*(labels_of[name] for name in metrics_in(expr)))
        asked = {label for group in re.findall(r"by \(([^)]*)\)", expr)
                 for label in re.split(r",\s*", group)}
        asked |= set(re.findall(r"[{,]\s*(\w+)(?:=~|!~|!=|=)", expr))
        assert asked <= have, expr


def test_every_metric_is_in_the_dashboard():
    shown = set().union(*(metrics_in(expr) for expr in queries()))
    shown = {re.sub(r"_bucket$", "", name) for name in shown}
    left_out = {"edgeproxy_build_info", "edgeproxy_metrics_aggregated",
                "process_virtual_memory_bytes"}
    assert set(rows()) - shown - left_out == set()


def test_the_dashboard_fits_together():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                 for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
    for panel in graphs():
        for target in [panel, *panel["targets"]]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert "datasource" in names
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(DASHBOARD)))
    assert used == names
    assert {panel["type"] for panel in graphs()} == {"timeseries", "stat", "heatmap"}


@needs_promtool
def test_queries_of_the_dashboard_are_promql(tmp_path):
    lines = ["groups:", "- name: dashboard", "  rules:"]
    for number, expr in enumerate(queries()):
        expr = expr.replace("$__rate_interval", "1m")
        lines += [f"  - record: q{number}", f"    expr: {json.dumps(expr)}"]
    (tmp_path / "rules.yml").write_text("\n".join(lines) + "\n")
    done = promtool("check", "rules", str(tmp_path / "rules.yml"))
    assert done.returncode == 0, done.stderr


@needs_promtool
def test_rules_are_right():
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr
    done = promtool("check", "config", "--syntax-only", str(PROMETHEUS / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_alerts_fire_when_they_should():
    done = promtool("test", "rules", str(TESTS))
    assert done.returncode == 0, done.stdout + done.stderr
    alerts = re.findall(r"alert: (\w+)", RULES.read_text())
    assert alerts and len(set(alerts)) == len(alerts)
    for alert in alerts:
        assert f'alertname="{alert}"' in TESTS.read_text(), alert
    for reason in re.findall(r'reason=~"([^"]*)"', RULES.read_text())[0].split("|"):
        assert f'"{reason}"' in (ROOT / "src/proxy/close_reason.def").read_text(), reason


@needs_promtool
@pytest.mark.parametrize("change", [("> 0.01\n        for: 5m", "> 0.02\n        for: 5m"),
                                    ("60 * 86400", "61 * 86400"), ("== 0\n", "== 1\n"),
                                    ("> 0.9", "> 0.8")])
def test_a_wrong_rule_is_found(tmp_path, change):
    text = RULES.read_text()
    assert change[0] in text
    (tmp_path / RULES.name).write_text(text.replace(*change))
    (tmp_path / TESTS.name).write_text(TESTS.read_text())
    assert promtool("test", "rules", str(tmp_path / TESTS.name)).returncode != 0
