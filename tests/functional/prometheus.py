"""Reads what /metrics answers, strictly: what Prometheus would refuse is an error here too."""

import re
import shutil
import subprocess

from harness import ROOT, http_connection

PROMTOOL = shutil.which("promtool")
ROW = re.compile(r'^METRIC\((\w+), "(\w+)", (\w+), "(\w*)",\s*"([\w,]*)",\s*"([^"]*)"\)', re.M)
SAMPLE = re.compile(r'([a-z_]+)(?:\{(.*)\})? (\d+(?:\.\d+)?)\n')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
UNESCAPED = {'\\"': '"', "\\\\": "\\", "\\n": "\n"}


def rows():
    """{name: (type, unit, labels, help)} of metrics.def."""
    text = (ROOT / "src" / "observe" / "metrics.def").read_text()
    found = ROW.findall(text)
    assert len(found) == len(re.findall(r"^METRIC\(", text, re.M))
    return {name: (kind.lower(), unit, tuple(filter(None, labels.split(","))), help)
            for _, name, kind, unit, labels, help in found}


def series_names():
    """Every name that a query may have."""
    names = set()
    for name, (kind, *_) in rows().items():
        names |= {name + end for end in ("_bucket", "_sum", "_count")} if kind == "histogram" \
            else {name}
    return names


class Exposition:
    def __init__(self, text):
        self.text = text
        self.types = {}
        self.helps = {}
        self.values = {}
        family = None
        for line in text.splitlines(keepends=True):
            if match := re.fullmatch(r"# HELP (\w+) (.+)\n", line):
                family = match[1]
                assert family not in self.helps, f"{family} comes twice"
                self.helps[family] = match[2]
            elif match := re.fullmatch(r"# TYPE (\w+) (counter|gauge|histogram)\n", line):
                assert match[1] == family and family not in self.types
                self.types[family] = match[2]
            else:
                self._sample(line, family)

    def _sample(self, line, family):
        match = SAMPLE.fullmatch(line)
        assert match, line
        name, inner, value = match.groups()
        ends = ("_bucket", "_sum", "_count") if self.types[family] == "histogram" else ("",)
        assert name in [family + end for end in ends], f"{name} among {family}"
        labels, at = {}, 0
        while inner is not None and at < len(inner):
            label = LABEL.match(inner, at)
            assert label and label[1] not in labels, line
            labels[label[1]] = re.sub(r"\\.", lambda m: UNESCAPED[m[0]], label[2])
            at = label.end()
        key = (name, frozenset(labels.items()))
        assert key not in self.values, f"{line} comes twice"
        self.values[key] = float(value)

    def __call__(self, name, **labels):
        """The value of one series; None: there is none."""
        return self.values.get((name, frozenset(labels.items())))

    def all(self, name):
        """[(labels, value)] of all series of a name."""
        return [(dict(labels), value) for (found, labels), value in self.values.items()
                if found == name]

    def sum(self, name, **labels):
        return sum(value for found, value in self.all(name)
                   if labels.items() <= found.items())


class Scraper:
    """A monitor with one connection that stays open."""

    def __init__(self, proxy, door="metrics", headers=(), since=0):
        where = proxy.wait_event("api_listening", lambda e: e["door"] == door, since=since)["addr"]
        self.headers = dict(headers)
        self.http = http_connection(where)

    def request(self, method="GET", path="/metrics"):
        self.http.request(method, path, headers=self.headers)
        response = self.http.getresponse()
        return response, response.read()

    def scrape(self):
        response, body = self.request()
        assert response.status == 200, body
        return Exposition(body.decode("utf-8", "strict"))

    def close(self):
        self.http.close()


def promtool(*args, **how):
    return subprocess.run([PROMTOOL, *args], capture_output=True, text=True, timeout=120, **how)
