#!/usr/bin/env python3
"""Makes the live page: one HTML document out of its parts and the map.

Run by meson: build.py index.html page.css page.js map.js countries-110m.json countries.tsv
regions.tsv page_build.h page.html. The map is projected here, once, so that the page only draws: an
SVG path for each country, a point for each country and region, in the units of a picture WIDTH wide.
The header holds the hashes of script and style, for the Content-Security-Policy.
"""

import base64
import hashlib
import json
import math
import pathlib
import re
import sys

WIDTH = 1000
NORTH, SOUTH = 84, -57  # what is drawn, in degrees; Antarctica is left out
HIDDEN = {"AQ"}


def natural_earth(lon, lat):
    """The Natural Earth projection (Patterson; polynomials by Savric, Jenny and others, 2011)."""
    f = math.radians(lat)
    f2 = f * f
    f4 = f2 * f2
    x = math.radians(lon) * (0.870700 - 0.131979 * f2 - 0.013791 * f4
                             + f4 * f2 * f4 * (0.003971 - 0.001529 * f2))
    y = f * (1.007226 + f2 * (0.015085 + f4 * (-0.044475 + 0.028874 * f2 - 0.005916 * f4)))
    return x, y


SCALE = WIDTH / 2 / natural_earth(180, 0)[0]
TOP = natural_earth(0, NORTH)[1]
HEIGHT = round((TOP - natural_earth(0, SOUTH)[1]) * SCALE)


def project(lon, lat):
    x, y = natural_earth(lon, lat)
    return round(WIDTH / 2 + x * SCALE, 1), round((TOP - y) * SCALE, 1)


def number(value):
    """As short as SVG allows: "-.5", not "-0.5"."""
    text = f"{value:.1f}".rstrip("0").rstrip(".")
    return re.sub(r"^(-?)0\.", r"\1.", text) if text not in ("-0", "") else "0"


def pair(x, y):
    x, y = number(x), number(y)
    return x + (y if y.startswith("-") else " " + y)


def ring_path(points):
    """A closed ring as relative moves; what rounding makes the same place is said once."""
    places = [project(*p) for p in points]
    if len(set(places)) < 3:
        return ""
    at = places[0]
    words = ["M" + pair(*at)]
    for place in places[1:-1]:
        step = (round(place[0] - at[0], 1), round(place[1] - at[1], 1))
        if step != (0, 0):
            words.append(pair(*step) if len(words) > 1 else "l" + pair(*step))
            at = place
    path = words[0]
    for word in words[1:]:
        path += word if word[0] in "l-" or path[-1] == "l" else " " + word
    return path + "z"


class Topology:
    """TopoJSON: arcs are deltas of whole numbers, shared by the countries on both sides."""

    def __init__(self, text):
        data = json.loads(text)
        (self.sx, self.sy), (self.tx, self.ty) = (data["transform"][k] for k in ("scale", "translate"))
        self.arcs = [self.degrees(arc) for arc in data["arcs"]]
        self.shapes = data["objects"]["countries"]["geometries"]

    def degrees(self, arc):
        x = y = 0
        points = []
        for dx, dy in arc:
            x, y = x + dx, y + dy
            points.append((x * self.sx + self.tx, y * self.sy + self.ty))
        return points

    def ring(self, indices):
        points = []
        for i in indices:
            arc = self.arcs[i] if i >= 0 else self.arcs[~i][::-1]
            points += arc[1:] if points else arc
        return points

    def path(self, shape):
        polygons = shape["arcs"] if shape["type"] == "MultiPolygon" else [shape["arcs"]]
        return "".join(ring_path(part) for polygon in polygons for ring in polygon
                       for part in cut_at_antimeridian(self.ring(ring)))


def cut_at_antimeridian(ring):
    """A ring that crosses it becomes one on each side; most stay as they are."""
    whole, shift = [ring[0]], 0
    for (before, _), (lon, lat) in zip(ring, ring[1:]):
        shift += 360 if lon - before < -180 else -360 if lon - before > 180 else 0
        whole.append((lon + shift, lat))
    if all(-180 <= lon <= 180 for lon, _ in whole):
        return [whole]
    parts = ([(lon + turn, lat) for lon, lat in whole] for turn in (-360, 0, 360))
    cut = (keep_side(keep_side(part, 180, -1), -180, 1) for part in parts)
    return [part for part in cut if part]


def keep_side(ring, meridian, side):
    """What of a closed ring lies to one side of a meridian (Sutherland and Hodgman, 1974)."""
    kept = []
    for (x0, y0), (x1, y1) in zip(ring, ring[1:]):
        inside0, inside1 = (x0 - meridian) * side >= 0, (x1 - meridian) * side >= 0
        if inside0 != inside1:
            kept.append((meridian, y0 + (y1 - y0) * (meridian - x0) / (x1 - x0)))
        if inside1:
            kept.append((x1, y1))
    return [*kept, kept[0]] if kept else []


def rows(text):
    return [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]


def graticule():
    """Meridians and parallels, every 30 degrees."""
    lines = [[(lon, lat) for lat in range(SOUTH, NORTH + 1, 3)] for lon in range(-180, 181, 30)]
    lines += [[(lon, lat) for lon in (-180, 180)] for lat in range(-30, 61, 30)]
    path = "".join("M" + "L".join(pair(*project(*p)) for p in line) for line in lines)
    return f'<path class="graticule" d="{path}"/>'


def draw(topology, countries):
    code_of = {numeric: code for code, numeric, *_ in countries}
    paths = []
    for shape in sorted(topology.shapes, key=lambda s: s["properties"]["name"]):
        name = shape["properties"]["name"]
        code = code_of.get(shape.get("id"), "XK" if name == "Kosovo" else "")
        if code in HIDDEN:
            continue
        data = f' data-country="{code}"' if code else ""
        paths.append(f'<path{data} d="{topology.path(shape)}"/>')
    return graticule() + '<g id="land">' + "".join(paths) + "</g>"


def atlas(countries, regions):
    """What the script knows of places."""
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "countries": {code: [*project(float(lon), min(NORTH, max(SOUTH, float(lat)))), name]
                      for code, _, lon, lat, name in countries},
        "regions": {name: project(float(lon), float(lat)) for name, lon, lat in regions},
    }


def digest(text):
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def squeeze_css(text):
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return re.sub(r"\s+", " ", text).strip()


def squeeze_js(text):
    """Comment lines and indents go; nothing that would need a parser."""
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def main(argv):
    parts, (header_path, page_path) = argv[1:-2], argv[-2:]
    page, css, js, map_js, topology, countries, regions = (
        pathlib.Path(p).read_text(encoding="utf-8") for p in parts)
    countries, regions = rows(countries), rows(regions)
    style = squeeze_css(css)
    places = json.dumps(atlas(countries, regions), ensure_ascii=False, separators=(",", ":"))
    script = f'"use strict";\nconst ATLAS = {places};\n{squeeze_js(map_js)}\n{squeeze_js(js)}\n'
    if "</" in script or "<!--" in script:
        sys.exit("the script must not hold what ends a script element")
    for mark, text in (("@VIEWBOX@", f"0 0 {WIDTH} {HEIGHT}"),
                       ("@MAP@", draw(Topology(topology), countries)),
                       ("@STYLE@", style), ("@SCRIPT@", script)):
        if page.count(mark) != 1:
            sys.exit(f"{parts[0]}: {mark} must be there once")
        page = page.replace(mark, text)
    pathlib.Path(page_path).write_text(page, encoding="utf-8")
    where = str(pathlib.Path(page_path).resolve()).replace("\\", "\\\\").replace('"', '\\"')
    pathlib.Path(header_path).write_text(
        "/* Made by src/page/build.py. */\n"
        f'#define PAGE_FILE "{where}"\n'
        f'#define PAGE_HASH "{hashlib.sha256(page.encode()).hexdigest()}"\n'
        f'#define PAGE_SCRIPT_HASH "{digest(script)}"\n'
        f'#define PAGE_STYLE_HASH "{digest(style)}"\n', encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv)
