// The map: what lies where, and how clients, arcs and backends are drawn on it. Everything is drawn
// anew from each snapshot, keyed by what it stands for, so that nothing flickers.

const SVG = "http://www.w3.org/2000/svg";
const ARCS_DRAWN = 120;
const DOTS_DRAWN = 40;
const ELSEWHERE_SLOTS = 6;
const $ = (id) => document.getElementById(id);

// Units of the picture for one pixel, nearly: markers and words keep their size on any screen.
function scale() {
  const width = $("world").getBoundingClientRect().width || ATLAS.width;
  return Math.min(2.6, Math.max(0.5, ATLAS.width / width));
}

function svg(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

// Draws one child for each item, keeping those that are there already.
function keyed(parent, items, keyOf, make, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let child = old.get(key);
    if (child) old.delete(key);
    else {
      child = make(item);
      child.dataset.key = key;
    }
    update(child, item);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const child of old.values()) child.remove();
}

// What is shown of words and names: nothing that is not text.
function countryName(code) {
  if (!code) return "unknown country";
  return ATLAS.countries[code] ? ATLAS.countries[code][2] : code;
}

function regionAnchor(region) {
  let name = (region || "").toLowerCase().replace(/_/g, "-");
  while (name) {
    for (const one of [name, name.replace(/\d+$/, ""), name.replace(/-?\d+$/, "")])
      if (Object.hasOwn(ATLAS.regions, one)) return ATLAS.regions[one];
    const country = name.toUpperCase();
    if (Object.hasOwn(ATLAS.countries, country)) return ATLAS.countries[country];
    const dash = name.lastIndexOf("-");
    if (dash < 0) return null;
    name = name.slice(0, dash);
  }
  return null;
}

// Places that the map does not have get a slot in a box of their own.
class Elsewhere {
  constructor() {
    this.names = [];
  }

  slot(name) {
    let i = this.names.indexOf(name);
    if (i < 0) {
      if (this.names.length < ELSEWHERE_SLOTS) this.names.push(name);
      else this.names[ELSEWHERE_SLOTS - 1] = "others";
      i = this.names.indexOf(name) < 0 ? ELSEWHERE_SLOTS - 1 : this.names.indexOf(name);
    }
    return [20 * scale(), ATLAS.height - (16 + i * 24) * scale()];
  }

  draw(group) {
    group.replaceChildren();
    if (!this.names.length) return;
    const high = this.names.length * 24 + 6;
    group.setAttribute("transform", `translate(0 ${ATLAS.height}) scale(${scale().toFixed(3)})`);
    const title = svg("text", { x: 6, y: -high - 5, class: "title" });
    title.textContent = "not on the map";
    group.append(svg("rect", { x: 2, y: -high - 1, width: 124, height: high, rx: 8 }), title);
    this.names.forEach((name, i) => {
      const label = svg("text", { x: 36, y: -12 - i * 24 });
      label.textContent = name.length > 14 ? name.slice(0, 13) + "…" : name;
      group.append(label);
    });
  }
}

// Where a backend is: its country's middle, else its region's anchor.
function placeOf(backend, elsewhere) {
  const country = ATLAS.countries[backend.country];
  if (country) return { key: "c:" + backend.country, name: countryName(backend.country), at: country };
  const anchor = regionAnchor(backend.region);
  if (anchor) return { key: "r:" + backend.region, name: "region " + backend.region, at: anchor };
  const name = backend.region || "no region";
  return { key: "e:" + name, name: "region " + name, at: elsewhere.slot(name) };
}

function countryAt(code, elsewhere) {
  return ATLAS.countries[code] || elsewhere.slot(code || "unknown");
}

// From a to b, bowed upwards; a loop where both are one place.
function arcPath(a, b) {
  const dx = b[0] - a[0], dy = b[1] - a[1];
  const length = Math.hypot(dx, dy);
  if (length < 6) {
    const k = scale();
    return `M${a[0]} ${a[1]}c${(-24 * k).toFixed(1)} ${(-34 * k).toFixed(1)} ${(24 * k).toFixed(1)} ${(-34 * k).toFixed(1)} 0 0`;
  }
  const bow = Math.min(120, length * 0.28);
  const side = dx < 0 ? 1 : -1;
  const x = (a[0] + b[0]) / 2 + side * (-dy / length) * bow;
  const y = (a[1] + b[1]) / 2 + side * (dx / length) * bow;
  return `M${a[0]} ${a[1]}Q${x.toFixed(1)} ${y.toFixed(1)} ${b[0]} ${b[1]}`;
}

// Arcs to backends of one place are one line.
function mergedArcs(arcs, elsewhere) {
  const merged = new Map();
  for (const arc of arcs) {
    const place = placeOf(arc, elsewhere);
    const key = `${arc.from}>${place.key}>${arc.region_score}`;
    const one = merged.get(key);
    if (one) one.clients += arc.clients;
    else merged.set(key, { key, from: arc.from, place, score: arc.region_score, clients: arc.clients });
  }
  return [...merged.values()].sort((a, b) => b.clients - a.clients).slice(0, ARCS_DRAWN);
}

const SCORES = ["the client's region", "this POP's region", "farther"];

function drawArcs(group, arcs, elsewhere) {
  const most = Math.max(1, ...arcs.map((a) => a.clients));
  const items = [];
  const k = scale();
  arcs.forEach((arc, i) => {
    items.push({ ...arc, kind: "arc" });
    if (i < DOTS_DRAWN) items.push({ ...arc, kind: "dot" });
  });
  keyed(group, items, (a) => a.kind + a.key,
    (a) => svg("path", { class: a.kind, "data-score": a.score, ...(a.kind === "dot" ? { pathLength: 100 } : {}) }),
    (path, a) => {
      const width = (1.2 + 3 * Math.sqrt(a.clients / most)) * k;
      const d = arcPath(countryAt(a.from, elsewhere), a.place.at);
      if (path.getAttribute("d") !== d) path.setAttribute("d", d);
      path.setAttribute("stroke-opacity", (0.4 + 0.6 * Math.sqrt(a.clients / most)).toFixed(2));
      path.setAttribute("stroke-width", (a.kind === "dot" ? width + 2 * k : width).toFixed(2));
      path.dataset.tip = `${countryName(a.from)} → ${a.place.name}\n${count(a.clients)} clients, ${SCORES[a.score]}`;
    });
}

function drawClients(group, countries, elsewhere) {
  const most = Math.max(1, ...countries.map((c) => c.clients));
  const k = scale();
  keyed(group, countries, (c) => c.country || "-", () => svg("circle", { class: "client" }), (dot, c) => {
    const at = countryAt(c.country, elsewhere);
    dot.setAttribute("cx", at[0]);
    dot.setAttribute("cy", at[1]);
    dot.setAttribute("r", ((3 + 12 * Math.sqrt(c.clients / most)) * k).toFixed(1));
    dot.dataset.tip = `${countryName(c.country)}\n${count(c.clients)} clients in ${count(state.window)} s`;
  });
  const busy = new Set(countries.map((c) => c.country));
  for (const path of $("land").children) path.classList.toggle("busy", busy.has(path.dataset.country));
}

function drawPlaces(group, backends, pop, elsewhere) {
  const places = new Map();
  for (const b of backends) {
    const place = placeOf(b, elsewhere);
    const one = places.get(place.key) || { ...place, backends: [] };
    one.backends.push(b);
    places.set(place.key, one);
  }
  const items = [...places.values()];
  if (pop !== null) items.push({ key: "pop", pop, at: regionAnchor(pop) || elsewhere.slot(pop || "this POP") });
  keyed(group, items, (p) => p.key, (p) => {
    const g = svg("g", {});
    if (p.key === "pop")
      g.append(svg("circle", { class: "pop", r: 12 }), svg("circle", { class: "pop-core", r: 1.6 }), svg("text", { x: 15, y: 4, class: "small" }));
    else g.append(svg("rect", { class: "place", x: -7, y: -7, width: 14, height: 14, rx: 4 }), svg("text", { class: "count", y: 3.2 }));
    return g;
  }, (g, p) => {
    g.setAttribute("transform", `translate(${p.at[0]} ${p.at[1]}) scale(${scale().toFixed(3)})`);
    if (p.key === "pop") {
      g.children[2].textContent = "POP " + p.pop;
      g.dataset.tip = `This POP: region ${p.pop}`;
      return;
    }
    const up = p.backends.filter((b) => b.status === "up").length;
    g.children[0].setAttribute("class", "place" + (up === 0 ? " none" : up < p.backends.length ? " some" : ""));
    g.children[1].textContent = up === 0 ? "×" : p.backends.length > 1 ? p.backends.length : "";
    const ids = p.backends.slice(0, 8).map((b) => `${b.id}: ${b.status}, ${count(b.connections)} connections`);
    if (p.backends.length > 8) ids.push(`and ${count(p.backends.length - 8)} more`);
    g.dataset.tip = `${p.name}\n${ids.join("\n")}`;
  });
}

// The route that the explain box found; stays until the next question.
function drawAnswer(from, backend) {
  for (const old of document.querySelectorAll(".answer")) old.remove();
  if (!backend) return;
  const path = svg("path", { class: "arc answer", d: arcPath(countryAt(from, new Elsewhere()), placeOf(backend, new Elsewhere()).at) });
  $("places").before(path);
}

function drawMap(s) {
  const elsewhere = new Elsewhere();
  $("world").style.setProperty("--k", scale().toFixed(3));
  const arcs = mergedArcs(s.arcs, elsewhere);
  drawArcs($("arcs"), arcs, elsewhere);
  drawClients($("clients"), s.countries, elsewhere);
  drawPlaces($("places"), s.backends, s.region, elsewhere);
  elsewhere.draw($("elsewhere"));
  const top = s.countries.slice(0, 5).map((c) => `${countryName(c.country)} ${c.clients}`).join(", ");
  const text = `${s.backends_total} backends; clients in the last ${s.window_secs} seconds: ${top || "none"}. The lists and the table below say the same.`;
  if ($("map-text").textContent !== text) $("map-text").textContent = text;
}

function showTip(event) {
  const target = event.target.closest("[data-tip]") ||
    (event.target.dataset && event.target.dataset.country ? event.target : null);
  const tip = $("tip");
  if (!target) {
    tip.hidden = true;
    return;
  }
  const box = tip.parentElement.getBoundingClientRect();
  tip.textContent = target.dataset.tip || countryName(target.dataset.country);
  tip.hidden = false;
  const x = Math.min(event.clientX - box.left + 14, box.width - tip.offsetWidth - 4);
  const y = event.clientY - box.top + 16;
  tip.style.left = Math.max(0, x) + "px";
  tip.style.top = (y + tip.offsetHeight > box.height ? y - tip.offsetHeight - 24 : y) + "px";
}
