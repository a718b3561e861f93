"""The charts of a report's page, in the language of browsers."""

CHARTS = r"""// --- charts ---
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
  const dots = [...spots];
  if (below) label(svg, W - R - 4, H - B - 7, below > 1
    ? `${below} single models are below` : "one single model is below", "end");
  draw("rect", { x: 0, y: 0, width: W, height: H - B },
    draw("clipPath", { id: "inside" }, draw("defs", {}, svg)));
  for (const s of [...shown].reverse()) {
    const end = s.curve.hull[s.curve.hull.length - 1];
    // Beyond its dearest point a router keeps its quality.
    const path = s.curve.hull.map((p) => `${X(p[0]).toFixed(1)},${Y(p[1]).toFixed(1)}`).join(" ");
    draw("polyline", { points: path, fill: "none", stroke: s.color, "stroke-width": s.width,
      "clip-path": "url(#inside)",
      "stroke-dasharray": s.dash, "stroke-linejoin": "round", "stroke-linecap": "round" }, svg);
    if (s.kind === "artifact" && end)
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
  const y = Y(best.quality) - 5;
  label(svg, L + 6, y, "best single model", "start");
  nameDots(svg, dots, W - R, spots.slice(dots.length), [[L + 6, y - 11, L + 110, y + 3],
    ...(below ? [[W - R - 160, H - B - 18, W - R, H - B - 4]] : [])]);
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

// Beside the dots, as many as do not run into one another; off the lines where there is room.
function nameDots(svg, dots, right, lines, labels) {
  const taken = dots.map((d) => [d.x - 5, d.y - 5, d.x + 5, d.y + 5]).concat(labels);
  const marks = lines.map((s) => [s.x, s.y, s.x, s.y]);
  for (const d of [...dots].sort((p, q) => q.p[1] - p.p[1])) {
    const text = d.name.split("/").pop(), wide = text.length * 5.9;
    const boxes = [[8, 14], [-8 - wide, 14], [8, -7], [-8 - wide, -7], [-wide, 28]]
      .map(([dx, dy]) => [d.x + dx, d.y + dy - 10, d.x + dx + wide, d.y + dy + 2])
      .filter((box) => box[0] >= 55 && box[2] <= right);
    const clear = (box, others) =>
      others.every((t) => box[0] > t[2] || box[2] < t[0] || box[1] > t[3] || box[3] < t[1]);
    const free = boxes.filter((box) => clear(box, taken));
    const box = free.find((each) => clear(each, marks)) || free[0];
    if (!box) continue;
    label(svg, box[0], box[1] + 10, text, "start", { class: "name" });
    taken.push(box);
  }
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
"""
