// The page: takes snapshots of /api/v1/live and shows them; asks /api/v1/explain; with a token,
// changes the state of backends. Whatever comes from the API is shown as text, never as markup.

const SPARK_POINTS = 60;
const LOST_AFTER_MS = 5000;
const AGAIN_MS = 5000;
const REFRESH_MS = 10000;
const EXPLAIN_ROWS = 8;
const state = {
  window: 60, snapshot: null, token: "", addresses: new Map(), sort: "id", down: false,
  sparks: {}, source: null, heard: 0, again: 0,
};

// ---- how things are written ----

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const count = (n) => whole.format(n);
const rate = (n) => n === null || n === undefined ? "–" : n < 10 ? tenth.format(n) : whole.format(n);

function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) {
    n /= 1000;
    i++;
  }
  return `${n < 10 ? tenth.format(n) : whole.format(n)} ${units[i]}/s`;
}

function micros(us) {
  if (us === null) return "–";
  return us < 1000 ? `${us} µs` : `${tenth.format(us / 1000)} ms`;
}

function span(secs) {
  if (secs < 120) return `${secs} s`;
  if (secs < 7200) return `${Math.floor(secs / 60)} min`;
  if (secs < 172800) return `${Math.floor(secs / 3600)} h`;
  return `${Math.floor(secs / 86400)} days`;
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function make(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// ---- numbers ----

function spark(id, value) {
  const points = state.sparks[id] ||= [];
  points.push(value ?? 0);
  if (points.length > SPARK_POINTS) points.shift();
  const most = Math.max(...points) || 1;
  const path = points.map((p, i) => `${((i + SPARK_POINTS - points.length) / (SPARK_POINTS - 1) * 100).toFixed(1)} ${(22 - p / most * 19).toFixed(1)}`);
  $(id).parentElement.querySelector(".spark path").setAttribute("d", path.length > 1 ? "M" + path.join("L") : "");
}

function showNumbers(s) {
  const r = s.rates || {};
  set($("process"), `POP ${s.region || "?"} · ${s.version} · up ${span(s.uptime_secs)}${s.stopping ? " · stopping" : ""}`);
  document.title = `edgeProxy ${s.region || ""}`;
  for (const [id, value, text] of [
    ["stat-sessions", s.sessions, count(s.sessions)], ["stat-clients", r.clients, rate(r.clients)],
    ["stat-sent", r.bytes_sent, bytes(r.bytes_sent)], ["stat-received", r.bytes_received, bytes(r.bytes_received)],
  ]) {
    set($(id), text);
    spark(id, value);
  }
  const up = s.statuses.up || 0;
  set($("stat-up"), `${count(up)} of ${count(s.backends_total)}`);
  set($("note-up"), Object.entries(s.statuses).filter(([word]) => word !== "up").map(([word, n]) => `${count(n)} ${word}`).join(", "));
  set($("stat-waiting"), count(s.waiting));
  set($("note-waiting"), r.connect_failures ? `${rate(r.connect_failures)} failed connects a second` : "");
  const alarm = $("alarm");
  alarm.hidden = s.panic.length === 0 && !s.stopping;
  set(alarm, s.stopping ? "This process is stopping: it accepts no more clients."
    : s.panic.length ? `Panic: too few backends are sound, so faults are ignored (${s.panic.map((app) => app || "all apps").join(", ")}).` : "");
}

function showScores(s) {
  const sums = [0, 0, 0];
  for (const arc of s.arcs) sums[arc.region_score] += arc.clients;
  const total = sums[0] + sums[1] + sums[2];
  for (const item of document.querySelectorAll("#legend [data-score]")) {
    const n = sums[Number(item.dataset.score)];
    set(item.querySelector("b"), total ? `${tenth.format(n / total * 100)} %` : "–");
  }
  set($("map-note"), `${count(total + s.arcs_rest)} clients in the last ${s.window_secs} s${s.unseen ? `, ${count(s.unseen)} were not recorded since the start` : ""}`);
}

function showCountries(s) {
  const most = Math.max(1, ...s.countries.map((c) => c.clients));
  keyed($("country-list"), s.countries, (c) => c.country || "-", (c) => {
    const item = make("li");
    const bar = make("progress");
    bar.setAttribute("aria-hidden", "true");
    item.append(make("span", "", countryName(c.country)), make("b"), bar);
    return item;
  }, (item, c) => {
    set(item.children[1], count(c.clients));
    item.children[2].max = most;
    item.children[2].value = c.clients;
  });
  set($("country-rest"), s.countries.length === 0 ? `No clients in the last ${s.window_secs} seconds.`
    : s.countries_rest ? `and ${count(s.countries_rest)} clients of other countries` : "");
}

function showChanges(s) {
  const items = s.transitions.length ? s.transitions : [null];
  keyed($("change-list"), items, (t) => t ? `${t.at_ms} ${t.backend} ${t.to}` : "none", (t) => {
    const item = make("li");
    if (!t) {
      item.className = "note";
      item.textContent = "None since the start.";
      return item;
    }
    const when = new Date(t.at_ms);
    const time = make("time", "", when.toLocaleTimeString([], { hour12: false }));
    time.dateTime = when.toISOString();
    item.append(time, make("b", "", t.backend), ` ${t.from} → ${t.to}`);
    return item;
  }, () => {});
}

// ---- the table ----

const CALM = ["drain", "maint", "agent-drain", "agent-maint", "weight-0"];

function shown(s) {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const value = {
    load: (b) => b.connections / b.soft_limit, connects: (b) => b.connects || 0, rtt_us: (b) => b.rtt_us || 0,
  }[state.sort] || ((b) => (state.sort === "region" ? `${b.region} ${b.country}` : b[state.sort]) || "");
  const rows = s.backends.filter((b) => {
    const text = `${b.id} ${b.app} ${b.region} ${b.country || ""} ${b.status}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  rows.sort((a, b) => {
    const x = value(a), y = value(b);
    const order = x < y ? -1 : x > y ? 1 : a.id < b.id ? -1 : 1;
    return state.down ? -order : order;
  });
  return rows;
}

function makeRow(b) {
  const row = make("tr");
  const id = make("td", "id", b.id);
  const load = make("td", "span");
  const inner = make("div", "load");
  const bar = make("progress");
  bar.setAttribute("aria-hidden", "true");
  inner.append(bar, make("small"));
  load.append(inner);
  const status = make("td");
  status.append(make("span", "state"));
  const operate = make("td", "with-token");
  for (const [action, label] of [["drain", "Drain"], ["maint", "Maintenance"], ["ready", "Ready"]]) {
    const button = make("button", "", label);
    button.type = "button";
    button.dataset.action = action;
    button.setAttribute("aria-label", `${label}: ${b.id}`);
    operate.append(button);
  }
  row.append(id, make("td", "app"), make("td", "app"), status, load, make("td", "num"), make("td", "num"), make("td", "with-token"), operate);
  row.children[5].dataset.label = "new a second:";
  row.children[6].dataset.label = "connect time:";
  return row;
}

function updateRow(row, b) {
  const cells = row.children;
  const word = cells[3].firstElementChild;
  const load = cells[4].firstElementChild;
  set(cells[1], b.app || "");
  set(cells[2], [b.region, b.country].filter(Boolean).join(" · "));
  word.className = "state " + (b.status === "up" ? "up" : CALM.includes(b.status) ? "calm" : "down");
  set(word, b.ramp_percent !== null && b.status === "up" ? `up, at ${b.ramp_percent} %` : b.status);
  load.className = "load" + (b.connections >= b.hard_limit ? " full" : b.connections >= b.soft_limit ? " over" : "");
  load.children[0].max = b.hard_limit;
  load.children[0].value = b.connections;
  set(load.children[1], `${count(b.connections)} of ${count(b.hard_limit)}, soft ${count(b.soft_limit)}`);
  set(cells[5], rate(b.connects));
  set(cells[6], micros(b.rtt_us));
  set(cells[7], state.addresses.get(b.id) || "");
}

function showTable(s) {
  const rows = shown(s);
  keyed($("rows"), rows, (b) => b.id, makeRow, updateRow);
  const more = s.backends_total - s.backends.length;
  set($("backends-note"), more > 0 ? `the ${count(s.backends.length)} with the most connections for their limits; ${count(more)} more are not shown` : `${count(s.backends_total)} in the routing table`);
  $("backends-empty").hidden = rows.length > 0;
  set($("backends-empty"), s.backends.length ? "No backend matches the filter." : "The routing table has no backend.");
  keyed($("apps"), [...new Set(s.backends.map((b) => b.app))].sort().slice(0, 100), (app) => app, (app) => {
    const option = make("option");
    option.value = app;
    return option;
  }, () => {});
}

function show(s) {
  state.snapshot = s;
  state.window = s.window_secs;
  showNumbers(s);
  showScores(s);
  drawMap(s);
  showCountries(s);
  showChanges(s);
  showTable(s);
  set($("window"), String(s.window_secs));
  $("operate").hidden = !s.tokens;
}

// ---- the stream ----

function link(word, text) {
  $("link").dataset.state = word;
  set($("link"), text);
  document.body.classList.toggle("stale", word === "lost");
}

function listen() {
  clearTimeout(state.again);
  if (state.source) state.source.close();
  state.source = new EventSource("api/v1/live");
  state.source.onmessage = (event) => {
    state.heard = Date.now();
    link("live", "live");
    show(JSON.parse(event.data));
  };
  state.source.onerror = () => {
    link("lost", "connection lost, trying again");
    // A browser gives up where the answer was an error, such as "too many watch".
    if (state.source && state.source.readyState === EventSource.CLOSED) state.again = setTimeout(listen, AGAIN_MS);
  };
}

// Nobody looks: leave the place to others.
function visibility() {
  if (document.hidden) {
    clearTimeout(state.again);
    if (state.source) state.source.close();
    state.source = null;
  } else if (!state.source) listen();
}

function checkSilence() {
  if (state.source && state.heard && Date.now() - state.heard > LOST_AFTER_MS) link("lost", "connection lost, trying again");
}

// ---- requests ----

async function request(path, method = "GET") {
  const headers = state.token ? { Authorization: `Bearer ${state.token}` } : {};
  const answer = await fetch(path, { method, headers, cache: "no-store", credentials: "omit" });
  let body = null;
  try {
    body = await answer.json();
  } catch {
    // No JSON: the status says enough.
  }
  return { status: answer.status, body };
}

function problem(answer) {
  return (answer.body && answer.body.detail) || `the API answered ${answer.status}`;
}

// ---- explain ----

function fact(list, name, value) {
  if (value) list.append(make("dt", "", name), make("dd", "", value));
}

function showExplanation(e) {
  const facts = make("dl");
  const place = e.place || {};
  fact(facts, "Client", e.client);
  fact(facts, "Country", place.country ? `${place.country_name || place.country} (${place.country})` : place.special ? place.special.name : "unknown");
  fact(facts, "Region", place.region ? `${place.region}, ${place.region_source || ""}`.replace(/, $/, "") : "none");
  fact(facts, "Network", place.network);
  if (e.access && e.access.rule) fact(facts, "Access", `${e.access.action} (${e.access.rule})`);
  fact(facts, "Winner", e.winner);
  const table = make("table");
  const head = make("tr");
  for (const text of ["Backend", "Score", "Share"]) {
    const th = make("th", text === "Backend" ? "" : "num", text);
    th.scope = "col";
    head.append(th);
  }
  table.append(head);
  const candidates = e.backends || [];
  for (const b of candidates.slice(0, EXPLAIN_ROWS)) {
    const row = make("tr");
    row.append(make("td", "", b.id), make("td", "num", b.excluded ? b.excluded : tenth.format(b.score)),
      make("td", "num", b.excluded ? "" : `${tenth.format(b.share * 100)} %`));
    table.append(row);
  }
  $("explanation").replaceChildren(make("p", "why", e.why || (e.winner ? `${e.winner} wins.` : "No backend.")), facts);
  if (candidates.length) $("explanation").append(table);
  if (candidates.length > EXPLAIN_ROWS) $("explanation").append(make("p", "note", `${count(candidates.length - EXPLAIN_ROWS)} more`));
  drawAnswer(place.country, candidates.find((b) => b.id === e.winner));
}

function explainFailed(text) {
  $("explanation").replaceChildren(make("p", "error", text));
  drawAnswer(null, null);
}

async function explain(event) {
  event.preventDefault();
  const query = new URLSearchParams({ ip: $("explain-ip").value.trim() });
  if ($("explain-app").value.trim()) query.set("app", $("explain-app").value.trim());
  try {
    const answer = await request(`api/v1/explain?${query}`);
    if (answer.status === 200 && answer.body) showExplanation(answer.body);
    else if (answer.status === 401) explainFailed("The API asks for a token: give one under Operate, then ask again.");
    else if (answer.status === 404) explainFailed("This edgeProxy does not explain over HTTP. On its machine: edgeproxy explain ADDRESS");
    else explainFailed(problem(answer));
  } catch {
    explainFailed("The API could not be reached.");
  }
}

// ---- operating ----

function toast(text) {
  set($("toast"), text);
  clearTimeout(state.toast);
  state.toast = setTimeout(() => set($("toast"), ""), 6000);
}

function forget() {
  state.token = "";
  state.addresses.clear();
  document.body.classList.remove("operating");
  set($("operate"), "Operate");
}

// Addresses are for those who have a token. False: this token will not do.
async function refresh() {
  const answer = await request("api/v1/backends?limit=1000");
  if (answer.status !== 200) return answer;
  state.addresses.clear();
  for (const b of answer.body.backends)
    state.addresses.set(b.id, b.ip && b.ip.includes(":") ? `[${b.ip}]:${b.port}` : `${b.ip}:${b.port}`);
  if (state.snapshot) showTable(state.snapshot);
  return null;
}

async function useToken(event) {
  event.preventDefault();
  state.token = $("token").value.trim();
  $("token").value = "";
  let wrong;
  try {
    wrong = await refresh();
  } catch {
    wrong = { status: 0, body: { detail: "the API could not be reached" } };
  }
  if (wrong) {
    forget();
    set($("token-error"), wrong.status === 401 ? "The API does not know this token." : problem(wrong));
    return;
  }
  document.body.classList.add("operating");
  set($("operate"), "Forget the token");
  $("token-dialog").close();
}

const CONSEQUENCES = {
  drain: "It gets no new clients; those that it has stay, and may come back for a while.",
  maint: "It gets no clients at all; sessions that it has may be ended.",
  ready: "It takes new clients again, unless a check or its row says otherwise.",
};

function confirmed(id, action) {
  const dialog = $("confirm");
  set($("confirm-title"), `${action === "maint" ? "Put into maintenance" : action === "drain" ? "Drain" : "Make ready"}: ${id}`);
  set($("confirm-text"), CONSEQUENCES[action]);
  set($("confirm-yes"), action === "maint" ? "Put into maintenance" : action === "drain" ? "Drain" : "Make ready");
  dialog.showModal();
  return new Promise((resolve) => { state.decide = resolve; });
}

// Decided in the moment of the click: a dialog's "close" comes later, when another may be open.
function decide(event) {
  event.preventDefault();
  $("confirm").close();
  state.decide(event.type === "submit" && event.submitter !== null && event.submitter.value === "yes");
}

async function operate(event) {
  const button = event.target.closest("button[data-action]");
  if (!button) return;
  const id = button.closest("tr").dataset.key;
  const action = button.dataset.action;
  if (!await confirmed(id, action)) return;
  try {
    const answer = await request(`api/v1/backends/${encodeURIComponent(id)}/${action}`, "POST");
    toast(answer.status === 200 ? `${id}: ${answer.body.state}` : `${id}: ${problem(answer)}`);
  } catch {
    toast(`${id}: the API could not be reached`);
  }
}

// ---- theme ----

const THEMES = ["auto", "light", "dark"];

function useTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  set($("theme"), `Theme: ${theme}`);
}

function nextTheme() {
  const theme = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "auto") + 1) % THEMES.length];
  useTheme(theme);
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // Kept for this visit only.
  }
}

function start() {
  try {
    const kept = localStorage.getItem("theme");
    if (THEMES.includes(kept)) useTheme(kept);
  } catch {
    // As the system says.
  }
  $("theme").addEventListener("click", nextTheme);
  $("explain-form").addEventListener("submit", explain);
  $("filter").addEventListener("input", () => state.snapshot && showTable(state.snapshot));
  $("rows").addEventListener("click", operate);
  $("world").addEventListener("pointermove", showTip);
  $("world").addEventListener("pointerleave", () => { $("tip").hidden = true; });
  $("operate").addEventListener("click", () => {
    if (state.token) {
      forget();
      return;
    }
    set($("token-error"), "");
    $("token-dialog").showModal();
  });
  $("confirm").querySelector("form").addEventListener("submit", decide);
  $("confirm").addEventListener("cancel", decide);
  $("token-form").addEventListener("submit", useToken);
  $("token-cancel").addEventListener("click", () => $("token-dialog").close());
  for (const button of document.querySelectorAll("th button")) {
    button.addEventListener("click", () => {
      state.down = state.sort === button.dataset.sort ? !state.down : ["load", "connects", "rtt_us"].includes(button.dataset.sort);
      state.sort = button.dataset.sort;
      for (const th of document.querySelectorAll("th[aria-sort]")) th.removeAttribute("aria-sort");
      button.parentElement.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      if (state.snapshot) showTable(state.snapshot);
    });
  }
  window.addEventListener("resize", () => state.snapshot && drawMap(state.snapshot));
  document.addEventListener("visibilitychange", visibility);
  setInterval(checkSilence, 1000);
  setInterval(() => { if (state.token) refresh().catch(() => {}); }, REFRESH_MS);
  visibility();
}

start();
