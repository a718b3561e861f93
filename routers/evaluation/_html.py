"""The page of a report: data goes in as JSON, the charts are drawn by the page itself."""

PAGE = r"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Routing quality</title>
<style>
:root {
  color-scheme: light dark;
  --bg: #f7f7f5; --card: #ffffff; --ink: #1c1c1a; --soft: #62625d; --line: #e2e1dc;
  --grid: #eceae5; --accent: #1f5fbf; --good: #1b7f4b; --bad: #b3372b;
  --s0: #1f5fbf; --s1: #c2570c; --s2: #0f8a6d; --s3: #a03a8c; --s4: #7a6a00;
  --b0: #6b7280; --b1: #9a6b3f; --b2: #4f7f86; --b3: #8a5a6e; --b4: #71814a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #161615; --card: #1f1f1d; --ink: #eceae4; --soft: #a3a199; --line: #34332f;
    --grid: #2a2926; --accent: #79aaf2; --good: #5fc992; --bad: #f08a7e;
    --s0: #79aaf2; --s1: #f0954f; --s2: #4cc7a6; --s3: #d98bc9; --s4: #d4bf4f;
    --b0: #9ca3af; --b1: #c79a6d; --b2: #82b4bb; --b3: #bd8ea2; --b4: #a6b77c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--bg); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 1180px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 17px; margin: 0 0 2px; }
p { margin: 0; }
.soft { color: var(--soft); font-size: 13.5px; }
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 18px 20px; margin-top: 18px;
}
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px;
  margin-top: 18px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 12px 16px; }
.tile b { display: block; font-size: 25px; font-weight: 650; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; }
.tile.good b { color: var(--good); } .tile.bad b { color: var(--bad); }
.two { display: grid; grid-template-columns: 3fr 2fr; gap: 18px; }
.two .card { min-width: 0; }
@media (max-width: 900px) { .two { grid-template-columns: 1fr; } }
.legend { display: flex; flex-wrap: wrap; gap: 6px; margin: 10px 0 4px; }
.legend button, .switch {
  font: inherit; font-size: 13px; color: var(--ink); background: none; cursor: pointer;
  border: 1px solid var(--line); border-radius: 999px; padding: 2px 10px 2px 7px;
  display: inline-flex; align-items: center; gap: 6px;
}
.legend button[aria-pressed="false"] { opacity: .42; text-decoration: line-through; }
.legend button:focus-visible, .switch:focus-visible { outline: 2px solid var(--accent); }
.switch { padding: 2px 10px; float: right; }
svg { display: block; width: 100%; height: auto; touch-action: none; }
svg text { fill: var(--soft); font-size: 12px; font-family: inherit; stroke: var(--card);
  stroke-width: 3px; paint-order: stroke; font-variant-numeric: tabular-nums; }
svg .axis { stroke: var(--line); } svg .grid { stroke: var(--grid); }
.box { position: relative; }
.tip {
  position: absolute; pointer-events: none; background: var(--ink); color: var(--card);
  border-radius: 7px; padding: 7px 10px; font-size: 12.5px; line-height: 1.45; max-width: 260px;
  display: none; z-index: 2; font-variant-numeric: tabular-nums;
}
.scroll { overflow-x: auto; margin-top: 10px; }
table { border-collapse: collapse; font-size: 13px; width: 100%;
  font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 6px 10px; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0;
  background: var(--card); }
th { color: var(--soft); font-weight: 550; cursor: help; }
tr.artifact td { font-weight: 600; } tr.bound td { color: var(--soft); }
ul { margin: 8px 0 0; padding-left: 20px; }
</style>
</head>
<body>
<main>
<h1>Routing quality</h1>
<p class="soft" id="about"></p>
<div class="tiles" id="tiles"></div>
<div class="two">
  <section class="card">
    <button class="switch" id="scale" type="button"></button>
    <h2>Quality over cost</h2>
    <p class="soft">Hulls of what was realised on these queries; dots are single models.
      Point at a line for its values, click a name to show or hide it.</p>
    <div class="legend" id="legend"></div>
    <div class="box" id="curve"></div>
  </section>
  <section class="card">
    <h2>What the knob promises and keeps</h2>
    <p class="soft">Share of the quality gap recovered at each position, with 95 % intervals;
      on the dashed line the promise is kept.</p>
    <div class="legend" id="knob-legend"></div>
    <div class="box" id="knob"></div>
  </section>
</div>
<section class="card">
  <h2>All numbers</h2>
  <p class="soft">Point at a heading for its meaning.</p>
  <div class="scroll"><table id="numbers"></table></div>
</section>
<section class="card" id="notes-card"><h2>Notes</h2><ul id="notes" class="soft"></ul></section>
</main>
<script>
"use strict";
const data = /*DATA*/null;
const report = data.report, NS = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);
const make = (tag, text, parent, cls) => {
  const e = document.createElement(tag);
  if (text != null) e.textContent = text;
  if (cls) e.className = cls;
  if (parent) parent.append(e);
  return e;
};
const draw = (tag, attributes, parent, text) => {
  const e = document.createElementNS(NS, tag);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  if (text != null) e.textContent = text;
  parent.append(e);
  return e;
};
const usd = (x) => "$" + (x >= 100 ? x.toFixed(0) : x.toPrecision(3).replace(/\.?0+$/, ""));
const pct = (x) => Math.round(100 * x) + " %";
const best = report.best_single;

// Colours: artifacts first and strong, baselines muted, bounds dotted.
let a = 0, b = 0;
const series = report.routers.filter((r) => r.curve.hull.length > 1 || r.kind === "artifact")
  .map((r) => ({
    ...r, on: r.name !== "oracle", // it dwarfs what can be reached
    color: r.kind === "artifact" ? `var(--s${a++ % 5})` : `var(--b${b++ % 5})`,
    dash: r.kind === "artifact" ? "" : r.kind === "baseline" ? "6 4" : "1.5 4",
    width: r.kind === "artifact" ? 2.6 : 1.8,
  }));

// --- head ---
const names = (files) => files.map((f) => f.file).join(", ");
$("about").textContent =
  `${report.n_queries.toLocaleString("en")} held-out queries of ${names(report.data)}, ` +
  `${report.models.length} models` +
  (report.train.length ? `; baselines fitted on ${names(report.train)}` : "") +
  `. Best single model: ${best.model} (chosen on ${best.chosen_on}), quality ` +
  `${best.quality.toFixed(3)}, ${usd(best.usd_per_1000)} per 1000 queries. Intervals: ` +
  `${report.n_draws} resamplings of the queries. Steelyard ${report.steelyard_version}, ` +
  `${report.created_at}.`;
const tile = (value, label, mood) => {
  const t = make("div", null, $("tiles"), "tile " + (mood || ""));
  make("b", value, t);
  make("span", label, t, "soft");
};
const artifacts = series.filter((s) => s.kind === "artifact");
const winner = artifacts.reduce((x, y) => (y.aiq && (!x.aiq || y.aiq.value > x.aiq.value) ? y : x));
if (winner.aiq) {
  const zero = winner.aiq_over_zero, more = artifacts.length > 1 ? winner.name + ": " : "";
  tile(winner.aiq.value.toFixed(3), `${more}area under quality over cost (AIQ), ` +
    `95 % [${winner.aiq.low.toFixed(3)}, ${winner.aiq.high.toFixed(3)}]`);
  tile((zero.value >= 0 ? "+" : "") + zero.value.toFixed(3),
    `over mixing single models, 95 % [${zero.low.toFixed(3)}, ${zero.high.toFixed(3)}]`,
    zero.low > 0 ? "good" : zero.high < 0 ? "bad" : "");
}
const match = winner.match_cost_share.value;
tile(match == null ? "never" : pct(match),
  match == null ? "reaches the best single model's quality"
    : "of the best single model's cost reaches its quality",
  match != null && match < 1 ? "good" : "bad");
if (winner.ece != null) tile(winner.ece.toFixed(3), "calibration error of predicted quality (ECE)");
if (winner.knob_error != null)
  tile(winner.knob_error.toFixed(3), "largest distance of the knob's promise and its keeping");

// --- charts ---
const ticks = (low, high, n) => {
  const raw = (high - low) / n, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((k) => k * power).find((s) => s >= raw);
  const out = [];
  for (let t = Math.ceil(low / step) * step; t <= high + 1e-12; t += step) out.push(t);
  return out;
};
const logTicks = (low, high) => {
  const out = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++)
    for (const k of [1, 2, 5]) {
      const t = k * 10 ** p;
      if (t >= low && t <= high) out.push(t);
    }
  return out.length > 9 ? out.filter((t) => /^1/.test(t.toExponential())) : out;
};
const label = (svg, x, y, text, anchor, extra) =>
  draw("text", { x, y, "text-anchor": anchor || "middle", ...extra }, svg, text);

const costs = report.models.map((m) => m.usd_per_1000).filter((c) => c > 0);
let log = Math.max(...costs) / Math.min(...costs) > 30;

function curves() {
  const W = 680, H = 440, L = 52, R = 18, T = 14, B = 46, box = $("curve");
  box.replaceChildren();
  const tip = make("div", null, box, "tip");
  const svg = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img",
    "aria-label": "Quality over cost of every router" }, box);
  const shown = series.filter((s) => s.on);
  const all = shown.flatMap((s) => s.curve.hull)
    .concat(report.models.map((m) => [m.usd_per_1000, m.quality]));
  let below = 0, x0 = Math.min(...all.map((p) => p[0])), x1 = Math.max(...all.map((p) => p[0]));
  // From what routers reach: single models far below would flatten everything else.
  const fair = shown.filter((s) => s.kind !== "bound").flatMap((s) => s.curve.hull);
  let y0 = Math.min(...(fair.length ? fair : all).map((p) => p[1]));
  let y1 = Math.max(...all.map((p) => p[1]));
  if (log) { x0 = Math.max(x0, x1 / 1e6) / 1.15; x1 *= 1.15; } else { x0 = 0; x1 *= 1.04; }
  const pad = Math.max(y1 - y0, 0.02) * 0.06;
  y0 = Math.max(0, y0 - pad); y1 = Math.min(1, y1 + pad);
  const f = log ? Math.log : (v) => v;
  const X = (v) => L + (f(Math.max(v, x0)) - f(x0)) / (f(x1) - f(x0)) * (W - L - R);
  const Y = (v) => H - B - (v - y0) / (y1 - y0) * (H - T - B);
  for (const t of ticks(y0, y1, 6)) {
    draw("line", { x1: L, x2: W - R, y1: Y(t), y2: Y(t), class: "grid" }, svg);
    label(svg, L - 8, Y(t) + 4, t.toFixed(2), "end");
  }
  for (const t of log ? logTicks(x0, x1) : ticks(x0, x1, 6)) {
    draw("line", { x1: X(t), x2: X(t), y1: T, y2: H - B, class: "grid" }, svg);
    label(svg, X(t), H - B + 18, usd(t));
  }
  draw("line", { x1: L, x2: W - R, y1: H - B, y2: H - B, class: "axis" }, svg);
  label(svg, (L + W - R) / 2, H - 6, "US dollars per 1000 queries" + (log ? " (log scale)" : ""));
  label(svg, 0, 0, "mean quality", "middle",
    { transform: `translate(13 ${H / 2 - 16}) rotate(-90)` });
  const spots = [];
  draw("line", { x1: L, x2: W - R, y1: Y(best.quality), y2: Y(best.quality),
    stroke: "var(--soft)", "stroke-dasharray": "2 3", "stroke-width": 1 }, svg);
  for (const m of report.models) {
    if (m.quality < y0) { below++; continue; }
    draw("circle", { cx: X(m.usd_per_1000), cy: Y(m.quality), r: 4, fill: "var(--card)",
      stroke: "var(--soft)", "stroke-width": 1.6 }, svg);
    spots.push({ x: X(m.usd_per_1000), y: Y(m.quality), name: m.model,
      p: [m.usd_per_1000, m.quality] });
  }
  if (below) label(svg, W - R - 4, H - B - 7, `${below} single models are below`, "end");
  draw("rect", { x: 0, y: 0, width: W, height: H - B },
    draw("clipPath", { id: "inside" }, draw("defs", {}, svg)));
  for (const s of [...shown].reverse()) {
    const end = s.curve.hull[s.curve.hull.length - 1];
    // Beyond its dearest point a router keeps its quality.
    const path = s.curve.hull.map((p) => `${X(p[0]).toFixed(1)},${Y(p[1]).toFixed(1)}`).join(" ");
    draw("polyline", { points: path, fill: "none", stroke: s.color, "stroke-width": s.width,
      "clip-path": "url(#inside)",
      "stroke-dasharray": s.dash, "stroke-linejoin": "round", "stroke-linecap": "round" }, svg);
    if (s.kind === "artifact")
      draw("circle", { cx: X(end[0]), cy: Y(end[1]), r: 3.6, fill: s.color }, svg);
    const hullX = s.curve.hull;
    for (let i = 0; i < hullX.length; i++) {
      const here = hullX[i], next = hullX[i + 1] || here;
      const n = Math.max(1, Math.ceil((X(next[0]) - X(here[0])) / 6));
      for (let k = 0; k < n; k++) {
        const x = X(here[0]) + (X(next[0]) - X(here[0])) * k / n;
        const c = log ? Math.exp(f(x0) + (x - L) / (W - L - R) * (f(x1) - f(x0)))
          : x0 + (x - L) / (W - L - R) * (x1 - x0);
        const part = next[0] > here[0] ? Math.max(0, (c - here[0]) / (next[0] - here[0])) : 0;
        const q = here[1] + (next[1] - here[1]) * part;
        spots.push({ x, y: Y(q), name: s.name, p: [k ? c : here[0], q], color: s.color });
      }
    }
  }
  label(svg, L + 6, Y(best.quality) - 5, "best single model", "start");
  const dot = draw("circle", { r: 5, fill: "none", "stroke-width": 2, visibility: "hidden" }, svg);
  hover(svg, tip, spots, W, (s) => {
    dot.setAttribute("visibility", s ? "visible" : "hidden");
    if (!s) return;
    dot.setAttribute("cx", s.x); dot.setAttribute("cy", s.y);
    dot.setAttribute("stroke", s.color || "var(--ink)");
    tip.replaceChildren();
    make("b", s.name, tip);
    make("div", `quality ${s.p[1].toFixed(3)}`, tip);
    const share = pct(s.p[0] / best.usd_per_1000);
    make("div", `${usd(s.p[0])} per 1000 (${share} of the best single)`, tip);
  });
}

function hover(svg, tip, spots, W, show) {
  svg.onpointermove = (event) => {
    const r = svg.getBoundingClientRect(), k = W / r.width;
    const x = (event.clientX - r.left) * k, y = (event.clientY - r.top) * k;
    let near = null, least = 28 * 28;
    for (const s of spots) {
      const d = (s.x - x) ** 2 + (s.y - y) ** 2;
      if (d < least) { least = d; near = s; }
    }
    show(near);
    tip.style.display = near ? "block" : "none";
    if (near) {
      const left = near.x / k, wide = tip.offsetWidth, full = left + wide + 24 > r.width;
      tip.style.left = (full ? Math.max(0, left - wide - 14) : left + 14) + "px";
      tip.style.top = Math.max(0, near.y / k - tip.offsetHeight - 10) + "px";
    }
  };
  svg.onpointerleave = () => { show(null); tip.style.display = "none"; };
}

function knobs() {
  const W = 440, H = 440, L = 48, R = 14, T = 14, B = 46, box = $("knob");
  box.replaceChildren();
  const tip = make("div", null, box, "tip");
  const svg = draw("svg", { viewBox: `0 0 ${W} ${H}`, role: "img",
    "aria-label": "Share of the quality gap promised and kept" }, box);
  const shown = artifacts.filter((s) => s.on && s.knob);
  const kept = shown.flatMap((s) => s.knob.flatMap((k) => Object.values(k.share_of_gap)))
    .filter((v) => v != null);
  const y0 = Math.max(-1, Math.min(0, ...kept)), y1 = Math.min(2, Math.max(1, ...kept));
  const X = (v) => L + v * (W - L - R), Y = (v) => H - B - (v - y0) / (y1 - y0) * (H - T - B);
  for (const t of ticks(y0, y1, 6)) {
    draw("line", { x1: L, x2: W - R, y1: Y(t), y2: Y(t), class: "grid" }, svg);
    label(svg, L - 8, Y(t) + 4, t.toFixed(1), "end");
  }
  for (const t of [0, 0.2, 0.4, 0.6, 0.8, 1]) {
    draw("line", { x1: X(t), x2: X(t), y1: T, y2: H - B, class: "grid" }, svg);
    label(svg, X(t), H - B + 18, t.toFixed(1));
  }
  label(svg, (L + W - R) / 2, H - 6, "promised: position of the knob");
  label(svg, 0, 0, "kept: share of the gap", "middle",
    { transform: `translate(13 ${H / 2 - 16}) rotate(-90)` });
  draw("line", { x1: X(0), y1: Y(0), x2: X(1), y2: Y(1), stroke: "var(--soft)",
    "stroke-dasharray": "5 4" }, svg);
  const spots = [];
  shown.forEach((s, i) => {
    const shift = (i - (shown.length - 1) / 2) * 4;
    const points = s.knob.filter((k) => k.share_of_gap.value != null);
    for (const k of points) {
      const { low, high } = k.share_of_gap, x = X(k.cost_quality) + shift;
      if (low != null && high != null && k.cost_quality > 0 && k.cost_quality < 1)
        draw("line", { x1: x, x2: x, y1: Y(Math.max(low, y0)), y2: Y(Math.min(high, y1)),
          stroke: s.color, "stroke-width": 1.6, opacity: .5 }, svg);
    }
    const path = points.map((k) => `${X(k.cost_quality) + shift},${Y(k.share_of_gap.value)}`);
    draw("polyline", { points: path.join(" "), fill: "none", stroke: s.color,
      "stroke-width": 2 }, svg);
    for (const k of points) {
      const x = X(k.cost_quality) + shift, y = Y(k.share_of_gap.value);
      draw("circle", { cx: x, cy: y, r: 3.8, fill: s.color }, svg);
      spots.push({ x, y, name: s.name, k });
    }
  });
  hover(svg, tip, spots, W, (s) => {
    if (!s) return;
    const { value, low, high } = s.k.share_of_gap;
    tip.replaceChildren();
    make("b", s.name, tip);
    make("div", `promised ${s.k.cost_quality.toFixed(1)}, kept ${value.toFixed(3)}` +
      (low == null ? "" : ` [${low.toFixed(3)}, ${high.toFixed(3)}]`), tip);
    make("div", `quality ${s.k.quality.toFixed(3)}, ${usd(s.k.usd_per_1000)} per 1000`, tip);
  });
}

function key(box, list) {
  for (const s of list) {
    const button = make("button", null, $(box));
    button.type = "button";
    button.setAttribute("aria-pressed", s.on);
    const svg = draw("svg", { viewBox: "0 0 22 8", style: "width:22px;height:8px" }, button);
    draw("line", { x1: 1, x2: 21, y1: 4, y2: 4, stroke: s.color, "stroke-width": s.width,
      "stroke-dasharray": s.dash }, svg);
    make("span", s.name, button);
    button.title = s.note || "";
    button.onclick = () => { s.on = !s.on; render(); };
  }
}

function render() {
  $("legend").replaceChildren(); $("knob-legend").replaceChildren();
  key("legend", series);
  if (artifacts.length > 1) key("knob-legend", artifacts);
  $("scale").textContent = log ? "linear cost" : "log cost";
  curves(); knobs();
}
$("scale").onclick = () => { log = !log; render(); };

// --- table and notes ---
const head = make("tr", null, make("thead", null, $("numbers")));
for (const c of data.columns) make("th", c.name, head).title = c.meaning;
const body = make("tbody", null, $("numbers"));
data.cells.forEach((row, i) => {
  const tr = make("tr", null, body, report.routers[i].kind);
  tr.title = report.routers[i].note || "";
  for (const cell of row) make("td", cell, tr);
});
const notes = [...report.notes, `APGR and CPT are about ${report.pair.strong} (strong) and ` +
  `${report.pair.weak} (weak).`,
  "Where a column says best or match, the setting is chosen on the evaluated queries: " +
  "such numbers are optimistic."];
for (const note of notes) make("li", note, $("notes"));
render();
</script>
</body>
</html>
"""
