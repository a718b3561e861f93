// The candidates of one prompt: quality against cost, the front, and a ring that follows the choice.

import { $, hue, s } from "./dom.js";
import { axes, decadeTicks, decades, fineTicks, frame, linear, logarithmic, onResize, path, placeLabels, steps } from "./chart.js";
import { quality, span, usd, usdTick } from "./format.js";

export class Scatter {
  constructor() {
    this.svg = $("scatter");
    this.frame = s("g");
    this.front = s("path", { class: "front" });
    this.points = s("g");
    this.ring = s("g", { class: "ring" }, s("circle", { r: 13 }));
    this.svg.append(this.frame, this.front, this.points, this.ring);
    this.groups = new Map();
    this.draw([]);
    onResize(this.svg, () => {
      this.draw(this.candidates);
      this.choose(this.chosen);
    });
  }

  draw(candidates) {
    this.candidates = candidates;
    this.box = frame(this.svg);
    const box = this.box;
    const shown = candidates.filter((each) =>
      each.predicted_quality !== null && each.predicted_cost_usd > 0);
    $("scatter-empty").hidden = shown.length > 0;
    const domain = decades(shown.flatMap((each) => [each.predicted_cost_usd]));
    const x = logarithmic(domain, [box.left, box.right]);
    const y = linear([0, 1], [box.bottom, box.top]);
    this.frame.replaceChildren(axes(box,
      { scale: x, ticks: decadeTicks(domain), fine: fineTicks(domain), format: usdTick, label: "predicted cost of this request" },
      { scale: y, ticks: steps(0, 1, 5), format: (value) => value.toFixed(1), label: "predicted quality" }));
    const front = pareto(shown.filter((each) => each.eligible));
    const line = front.map((each) => [x(each.predicted_cost_usd), y(each.predicted_quality)]);
    this.front.setAttribute("d", path(line));
    this.place(shown, x, y, line);
  }

  place(shown, x, y, line) {
    const gone = new Set(this.groups.keys());
    const points = shown.map((each) => ({
      x: x(each.predicted_cost_usd), y: y(each.predicted_quality), text: each.model }));
    const labels = placeLabels(points, this.box, line);
    this.at = new Map();
    shown.forEach((each, i) => {
      gone.delete(each.model);
      let group = this.groups.get(each.model);
      if (!group) {
        group = makePoint(each.model);
        this.groups.set(each.model, group);
        this.points.append(group);
      }
      const at = points[i];
      this.at.set(each.model, at);
      group.style.transform = `translate(${at.x}px, ${at.y}px)`;
      group.classList.toggle("out", !each.eligible);
      update(group, each, at, labels[i], x, y, this.box.right);
    });
    for (const model of gone) {
      this.groups.get(model).remove();
      this.groups.delete(model);
    }
  }

  choose(model) {
    this.chosen = model;
    const at = this.at?.get(model);
    this.ring.classList.toggle("on", Boolean(at));
    if (at) {
      this.ring.style.transform = `translate(${at.x}px, ${at.y}px)`;
      this.ring.style.setProperty("--h", hue(model));
    }
    for (const [name, group] of this.groups) group.classList.toggle("chosen", name === model);
    this.svg.dataset.chosen = model ?? "";
    this.svg.setAttribute("aria-label", this.groups.size
      ? `Predicted quality against predicted cost of ${this.groups.size} models; ${model ?? "none"} is chosen. The table below has the numbers.`
      : "No prediction yet");
  }
}

function makePoint(model) {
  return s("g", { class: "point", "--h": hue(model), "data-model": model },
    s("title"), s("line", { class: "bar" }), s("line", { class: "reach" }),
    s("circle", { r: 6 }), s("text", { class: "label" }, model));
}

const timed = (each) => (each.predicted_latency_ms == null ? ""
  : `, first token ${span(each.predicted_ttft_ms, each.upper_ttft_ms)}, whole ${span(each.predicted_latency_ms, each.upper_latency_ms)}`);

function update(group, each, at, label, x, y, edge) {
  const [title, bar, reach, , text] = group.children;
  const spread = each.quality_uncertainty ?? 0;
  title.textContent = `${each.model}: quality ${quality(each.predicted_quality)} ± ${quality(spread)}, `
    + `${usd(each.predicted_cost_usd)}${timed(each)}${each.eligible ? "" : ` (excluded: ${each.exclusion_detail ?? each.exclusion})`}`;
  set(bar, { y1: y(Math.min(1, each.predicted_quality + spread)) - at.y,
    y2: y(Math.max(0, each.predicted_quality - spread)) - at.y });
  const upper = each.upper_cost_usd > 0 ? Math.min(x(each.upper_cost_usd), edge) : at.x;
  set(reach, { x2: Math.max(0, upper - at.x) });
  set(text, { x: label.dx, y: label.dy, "text-anchor": label.anchor });
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
}

// Those that no other beats in quality at the same or a lower cost, by cost.
export function pareto(candidates) {
  const byCost = [...candidates].sort((a, b) =>
    a.predicted_cost_usd - b.predicted_cost_usd || b.predicted_quality - a.predicted_quality);
  let best = -Infinity;
  return byCost.filter((each) => {
    if (each.predicted_quality <= best) return false;
    best = each.predicted_quality;
    return true;
  });
}
