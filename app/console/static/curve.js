// What a policy can promise: its curve beside its baselines, and what its knob kept.

import { $, h, hue, named, rankModels, s, table } from "./dom.js";
import { axes, decadeTicks, decades, fineTicks, frame, linear, logarithmic, onResize, path, placeLabels, steps } from "./chart.js";
import { json } from "./api.js";
import { count, percent, quality, usd, usdTick } from "./format.js";
import { show } from "./playground.js";

const ROLES = { cheapest: "the cheapest", dearest: "the dearest", best: "the best single one" };

export class Curve {
  constructor(onLocked) {
    this.onLocked = onLocked;
    $("curve-policy").addEventListener("change", () => this.draw());
    onResize($("frontier"), () => this.draw());
  }

  async open() {
    try {
      const answer = await json("api/curve", { secret: "token" });
      const chosen = $("curve-policy").value || answer.default_policy;
      this.policies = new Map(answer.policies.map((each) => [each.policy, each]));
      $("curve-policy").replaceChildren(...answer.policies.map((each) =>
        h("option", { value: each.policy }, each.policy)));
      if (this.policies.has(chosen)) $("curve-policy").value = chosen;
      $("curve-error").hidden = true;
      this.draw();
    } catch (error) {
      show($("curve-error"), error);
      $("finding").textContent = "";
      if (error.status === 401) this.onLocked(error);
    }
  }

  draw() {
    const each = this.policies?.get($("curve-policy").value);
    if (!each) {
      if (this.policies) $("finding").textContent = "No policy is configured.";
      return;
    }
    rankModels([...each.singles].sort((a, b) => a.usd_per_1000 - b.usd_per_1000).map(({ model }) => model));
    const now = at(each.knob, each.cost_quality);
    $("finding").textContent = finding(each, now);
    drawFrontier(each, now);
    drawPromise(each);
    drawReliability(each);
    for (const empty of document.querySelectorAll("#curve .plot .empty")) empty.hidden = each.verified || !each.singles.length;
    this.numbers(each);
  }

  numbers(each) {
    table($("singles"), "Each candidate alone", [
      ["Always", (one) => named(one.model)],
      ["Quality", (one) => quality(one.quality), true],
      ["USD per 1000", (one) => usd(one.usd_per_1000), true],
      ["", (one) => one.roles.map((role) => ROLES[role]).join(", ")],
    ], each.singles, each.problem ?? "There are no candidates.");
    const facts = [
      ["Artifact", `${each.artifact} (${each.strategy})`],
      each.verified ? ["Calibrated on", `${count(each.n_queries)} prompts it had not learned from`]
        : ["Spread over", `${count(each.n_queries)} prompts without outcomes`],
      ["Furthest from the promise", percent(each.knob_error, 1)],
      ["Calibration error", each.calibration_error === null ? "–" : each.calibration_error.toFixed(3)],
      ["Outcomes known", percent(each.share_tried)],
    ];
    $("artifact").replaceChildren(...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
  }
}

// The point of the knob at t, between the positions that were measured.
function at(knob, t) {
  if (t === null || !knob.length) return null;
  const i = Math.min(knob.findIndex((each) => each.cost_quality >= t - 1e-9), knob.length - 1);
  const [a, b] = [knob[Math.max(i - 1, 0)], knob[i]];
  const part = a === b ? 1 : (t - a.cost_quality) / (b.cost_quality - a.cost_quality);
  const mix = (from, to) => from + (to - from) * part;
  return { usd: Math.exp(mix(Math.log(a.usd_per_1000), Math.log(b.usd_per_1000))),
    quality: mix(a.quality.value, b.quality.value),
    share: a.share && b.share ? mix(a.share.value, b.share.value) : null };
}

function finding(each, now) {
  if (each.problem) return `Nothing can be drawn: ${each.problem}.`;
  const best = each.singles.find((one) => one.roles.includes("best"));
  if (!now) return "This policy decides by a threshold, so it has no point on the knob.";
  const reaches = each.verified ? "reaches" : "is predicted, from published results alone, to reach";
  return `At its knob of ${each.cost_quality.toFixed(2)} this policy ${reaches} quality ${quality(now.quality)} `
    + `for ${usd(now.usd)} per 1000 requests: ${percent(now.quality / best.quality)} of the quality of always `
    + `${best.model}, at ${percent(now.usd / best.usd_per_1000, now.usd / best.usd_per_1000 < 0.1 ? 1 : 0)} of its cost.`
    + (each.verified ? "" : " No outcome has verified it yet.");
}

function drawFrontier(each, now) {
  const svg = $("frontier");
  if (!each.singles.length) return svg.replaceChildren();
  const box = frame(svg);
  const all = [...each.singles.map((one) => [one.usd_per_1000, one.quality]), ...each.curve];
  const domain = decades(all.map(([cost]) => cost));
  const qualities = all.map(([, q]) => q);
  const [low, high] = [Math.floor(Math.min(...qualities) * 10) / 10, Math.ceil(Math.max(...qualities) * 10) / 10];
  const x = logarithmic(domain, [box.left, box.right]);
  const y = linear([low, high], [box.bottom, box.top]);
  const points = each.singles.map((one) => ({ ...one, x: x(one.usd_per_1000), y: y(one.quality), text: one.model }));
  const labels = placeLabels(points, box);
  svg.replaceChildren(
    axes(box, { scale: x, ticks: decadeTicks(domain), fine: fineTicks(domain), format: usdTick, label: "USD per 1000 requests" },
      { scale: y, ticks: steps(low, high, Math.round((high - low) * 10)), format: (v) => v.toFixed(1), label: "mean quality" }),
    s("path", { class: "mix", d: path(mixture(each.mix, x, y)) }),
    s("path", { class: "routed", d: path(each.curve.map(([cost, q]) => [x(cost), y(q)])) }),
    ...points.map((one, i) => s("g", { class: "point", "--h": hue(one.model), transform: `translate(${one.x} ${one.y})` },
      s("title", {}, `always ${one.model}: quality ${quality(one.quality)}, ${usd(one.usd_per_1000)} per 1000`),
      s("circle", { r: 5.5 }), s("text", { class: "label", x: labels[i].dx, y: labels[i].dy, "text-anchor": labels[i].anchor }, one.model))),
    ...(now ? [weight(x(now.usd), y(now.quality))] : []));
  svg.setAttribute("aria-label", `Quality against cost of ${each.policy}, beside ${each.singles.length} single models`);
}

// A mixture is straight in cost, so it bends on a logarithmic axis.
function mixture(hull, x, y) {
  return hull.flatMap(([cost, q], i) => {
    if (!i) return [[x(cost), y(q)]];
    const [c0, q0] = hull[i - 1];
    return steps(0, 1, 24).slice(1).map((part) => [x(c0 + (cost - c0) * part), y(q0 + (q - q0) * part)]);
  });
}

function weight(x, y) {
  return s("g", { class: "now", transform: `translate(${x} ${y})` }, s("title", {}, "this policy"),
    s("path", { d: "M0 0v6M-4.5 6h9l3.5 15h-16z" }), s("circle", { r: 4 }));
}

function drawPromise(each) {
  const svg = $("promise");
  const box = frame(svg);
  const shown = each.knob.filter((point) => point.share);
  const x = linear([0, 1], [box.left, box.right]);
  const y = linear([0, 1], [box.bottom, box.top]);
  const clamp = (value) => Math.min(1.04, Math.max(-0.04, value));
  const here = at(each.knob, each.cost_quality);
  svg.replaceChildren(
    axes(box, { scale: x, ticks: steps(0, 1, 5), format: (v) => v.toFixed(1), label: "promised: the knob" },
      { scale: y, ticks: steps(0, 1, 5), format: (v) => v.toFixed(1), label: "kept: share of the quality gap" }),
    s("path", { class: "diagonal", d: path([[x(0), y(0)], [x(1), y(1)]]) }),
    ...shown.map((point) => s("g", { class: "kept", transform: `translate(${x(point.cost_quality)} 0)` },
      s("title", {}, `promised ${percent(point.cost_quality)}, kept ${percent(point.share.value)} (${percent(point.share.low)} to ${percent(point.share.high)})`),
      s("line", { y1: y(clamp(point.share.low ?? point.share.value)), y2: y(clamp(point.share.high ?? point.share.value)) }),
      s("circle", { r: 3.5, cy: y(clamp(point.share.value)) }))),
    ...(here && here.share !== null ? [weight(x(each.cost_quality), y(clamp(here.share)))] : []));
  svg.setAttribute("aria-label", each.knob_error === null ? "No outcome says yet what is kept"
    : `Promised and kept share of the quality gap; the furthest apart are ${percent(each.knob_error, 1)}`);
}

function drawReliability(each) {
  const box = frame($("reliability"));
  const x = linear([0, 1], [box.left, box.right]);
  const y = linear([0, 1], [box.bottom, box.top]);
  $("reliability").replaceChildren(
    axes(box, { scale: x, ticks: steps(0, 1, 5), format: (v) => v.toFixed(1), label: "predicted" },
      { scale: y, ticks: steps(0, 1, 5), format: (v) => v.toFixed(1), label: "realised" }),
    s("path", { class: "diagonal", d: path([[x(0), y(0)], [x(1), y(1)]]) }),
    s("path", { class: "routed", d: path(each.reliability.map((bin) => [x(bin.predicted), y(bin.realised)])) }),
    ...each.reliability.map((bin) => s("circle", { class: "bin", r: 4, cx: x(bin.predicted), cy: y(bin.realised) },
      s("title", {}, `predicted ${quality(bin.predicted)}, realised ${quality(bin.realised)} (${count(bin.n)} outcomes)`))));
  $("reliability").setAttribute("aria-label", "Predicted against realised quality in ten groups");
}
