"""What a report's page does with its data, around the charts."""

BEFORE = r""""use strict";
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
const usd = (x) => x == null ? "-"
  : "$" + (x >= 100 ? x.toFixed(0) : x.toPrecision(3).replace(/\.?0+$/, ""));
const pct = (x) => Math.round(100 * x) + "\u00a0%";
const best = report.best_single;

// Colours: artifacts first and strong, baselines muted, bounds dotted.
const dashes = ["8 4", "4 3", "9 3 2 3"];
let a = 0, b = 0;
const series = report.routers.filter((r) => r.curve.hull.length > 1 || r.kind === "artifact")
  .map((r) => ({
    ...r, on: r.name !== "oracle", // it dwarfs what can be reached
    color: r.kind === "artifact" ? `var(--s${a++ % 5})` : `var(--b${b++ % 5})`,
    dash: r.kind === "artifact" ? "" : r.kind === "bound" ? "1.5 4" : dashes[(b - 1) % 3],
    width: r.kind === "artifact" ? 2.6 : 1.8,
  }));

// --- head ---
const names = (files) => files.map((f) => f.file).join(", ");
$("about").textContent =
  `${report.n_queries.toLocaleString("en")} held-out queries` +
  (report.data.length ? ` of ${names(report.data)}, ` : ", ") +
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
    `95\u00a0% [${winner.aiq.low.toFixed(3)}, ${winner.aiq.high.toFixed(3)}]`);
  tile((zero.value >= 0 ? "+" : "") + zero.value.toFixed(3),
    `over mixing single models, 95\u00a0% [${zero.low.toFixed(3)}, ${zero.high.toFixed(3)}]`,
    zero.low > 0 ? "good" : zero.high < 0 ? "bad" : "");
}
const match = winner.match_cost_share, often = (x) => (x == null ? "never" : pct(x));
if (match) tile(often(match.value), (match.value == null ? "reaches the best single model's quality"
  : "of the best single model's cost reaches its quality") +
  `, 95\u00a0% [${often(match.low)}, ${often(match.high)}]`,
  match.value == null ? "bad" : match.high != null && match.high < 1 ? "good" : "");
if (winner.ece != null) tile(winner.ece.toFixed(3), "calibration error of predicted quality (ECE)");
if (winner.knob_error != null)
  tile(winner.knob_error.toFixed(3), "largest gap between what the knob promises and keeps");
"""

AFTER = r"""function key(box, list) {
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
  for (const cell of row) {
    const [value, interval] = cell.split(/ (?=\[)/); // the interval gets a line of its own
    const td = make("td", value, tr);
    if (interval) make("small", interval, td);
  }
});
$("singles-about").textContent = "The best one in bold; what is predicted and chosen is by " +
  `${winner.name}. Point at a heading for its meaning.`;
const middle = winner.at_middle, accuracy = winner.per_model || [];
const single = $("singles"), singleHead = make("tr", null, make("thead", null, single));
for (const [name, meaning] of [["model", "Single model, by cost."],
  ["quality", "Mean quality on the evaluated queries."],
  ["USD per 1000", "Mean cost of 1000 of these queries."],
  ["input USD/M", "Price of a million input tokens."],
  ["output USD/M", "Price of a million output tokens."],
  ...(middle ? [[`share at ${middle.cost_quality}`,
    `How often ${winner.name} chooses it at this position of the knob.`]] : []),
  ["ECE", `Calibration error of ${winner.name}'s predictions of it.`],
  ["tokens ≤ p90", "Share of its answers not longer than the upper estimate; 0.90 is right."]])
  make("th", name, singleHead).title = meaning;
const singleBody = make("tbody", null, single);
const number = (x) => (x == null ? "-" : x.toFixed(3));
for (const m of [...report.models].sort((p, q) => p.usd_per_1000 - q.usd_per_1000)) {
  const tr = make("tr", null, singleBody, m.model === best.model ? "artifact" : "");
  const known = accuracy.find((each) => each.model === m.model) || {};
  const row = [m.model, number(m.quality), usd(m.usd_per_1000), usd(m.input_usd_per_mtok),
    usd(m.output_usd_per_mtok), ...(middle ? [pct(middle.shares[m.model] || 0)] : []),
    number(known.ece), number(known.upper_tokens_coverage)];
  for (const cell of row) make("td", cell, tr);
}
const notes = [...report.notes, `APGR and CPT are about ${report.pair.strong} (strong) and ` +
  `${report.pair.weak} (weak).`,
  "Where a column says best or match, the setting is chosen on the evaluated queries: " +
  "such numbers are optimistic."];
for (const note of notes) make("li", note, $("notes"));
render();
"""
