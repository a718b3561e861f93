// Scales, axes and labels that do not cover each other.

import { s } from "./dom.js";

export function linear([from, to], [left, right]) {
  return (value) => left + ((value - from) / (to - from)) * (right - left);
}

export function logarithmic([from, to], range) {
  const scale = linear([Math.log10(from), Math.log10(to)], range);
  return (value) => scale(Math.log10(value));
}

// The plot's rectangle for the size that a chart has on the page: text never shrinks with it.
export function frame(svg, margin = {}) {
  const [width, height] = [svg.clientWidth || 620, svg.clientHeight || 400];
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const { left = 44, right = 18, top = 34, bottom = 54 } = margin;
  return { left, right: width - right, top, bottom: height - bottom };
}

// Draw again when the width changes, not for every pixel on the way.
export function onResize(svg, draw) {
  let width = 0;
  let waiting = 0;
  new ResizeObserver(() => {
    if (!svg.clientWidth || svg.clientWidth === width) return;
    width = svg.clientWidth;
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(draw);
  }).observe(svg);
}

// Whole decades around positive values, so that the axis seldom moves.
export function decades(values) {
  const logs = values.filter((value) => value > 0).map(Math.log10);
  if (!logs.length) return [1e-4, 1e-2];
  const from = Math.floor(Math.min(...logs) - 0.08);
  return [10 ** from, 10 ** Math.max(Math.ceil(Math.max(...logs) + 0.12), from + 1)];
}

export function decadeTicks([from, to]) {
  const ticks = [];
  for (let e = Math.round(Math.log10(from)); e <= Math.round(Math.log10(to)); e += 1) ticks.push(10 ** e);
  return ticks;
}

export const steps = (from, to, n) =>
  Array.from({ length: n + 1 }, (_, i) => from + ((to - from) * i) / n);

// Draw the frame: `x` and `y` are {scale, ticks, format, label}; minor ticks of decades are `fine`.
export function axes(box, x, y) {
  const { left, right, top, bottom } = box;
  const group = s("g", { class: "axes" });
  for (const value of y.ticks) {
    const at = y.scale(value);
    group.append(s("line", { class: "grid", x1: left, x2: right, y1: at, y2: at }),
      s("text", { class: "tick", x: left - 8, y: at + 4, "text-anchor": "end" }, y.format(value)));
  }
  for (const value of x.fine ?? []) {
    const at = x.scale(value);
    group.append(s("line", { class: "fine", x1: at, x2: at, y1: bottom, y2: bottom + 3 }));
  }
  for (const value of x.ticks) {
    const at = x.scale(value);
    group.append(s("line", { class: "grid", x1: at, x2: at, y1: top, y2: bottom }),
      s("text", { class: "tick", x: at, y: bottom + 20, "text-anchor": "middle" }, x.format(value)));
  }
  group.append(s("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }),
    s("text", { class: "name", x: (left + right) / 2, y: bottom + 42, "text-anchor": "middle" }, x.label),
    s("text", { class: "name", x: left, y: top - 12, "text-anchor": "start" }, y.label));
  return group;
}

export function fineTicks([from, to]) {
  const ticks = [];
  for (let decade = from; decade < to * 0.999; decade *= 10) {
    for (let i = 2; i < 10; i += 1) ticks.push(decade * i);
  }
  return ticks;
}

export const path = (points) =>
  points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

// Between a point and its label: the ring of the choice has to fit.
const GAP = 17;

// Find a place for each label beside its point: right or left, then ever further up and down; off
// the line, a list of [x, y], where that can be had, which would strike through it.
export function placeLabels(points, box, line = []) {
  const placed = points.map(({ x, y }) => ({ x: x - 9, y: y - 9, w: 18, h: 18 }));
  return points.map(({ x, y, text }, own) => {
    const w = text.length * 7.1 + 6;
    const sides = x + GAP + w > box.right ? ["end", "start"] : ["start", "end"];
    const free = [0, -14, 14, -26, 26, -38, 38, -50, 50].flatMap((dy) => sides.map((anchor) => (
      { anchor, dy, x: anchor === "start" ? x + GAP : x - GAP - w, y: y + dy - 8, w, h: 16 })))
      .filter((at) => at.x >= box.left - 4 && at.x + w <= box.right + 30
        && at.y >= box.top - 6 && at.y + 16 <= box.bottom
        && !placed.some((other, i) => i !== own && overlap(at, other)));
    const at = free.find((each) => !crosses(line, each)) ?? free[0] ?? { anchor: sides[0], dy: 0 };
    if (free.length) placed.push(at);
    return { anchor: at.anchor, dx: at.anchor === "start" ? GAP : -GAP, dy: at.dy + 4 };
  });
}

// Whether a line runs through a rectangle; looked at every few pixels.
function crosses(line, { x, y, w, h }) {
  return line.slice(1).some(([x2, y2], i) => {
    const [x1, y1] = line[i];
    const n = Math.ceil(Math.hypot(x2 - x1, y2 - y1) / 4);
    return Array.from({ length: n + 1 }, (_, k) => k / Math.max(n, 1)).some((t) => {
      const [px, py] = [x1 + t * (x2 - x1), y1 + t * (y2 - y1)];
      return px > x && px < x + w && py > y && py < y + h;
    });
  });
}

const overlap = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
