// The last requests of one worker, refreshed while somebody looks.

import { $, h, hue, named, rankModels, s, table } from "./dom.js";
import { json } from "./api.js";
import { callList } from "./calls.js";
import { clock, count, DASH, percent, quality, reason, seconds, usd } from "./format.js";
import { show } from "./playground.js";

const EVERY_MS = 2000;
const FORGET_S = 60;
const STATES = { closed: "healthy", open: "resting", half_open: "being probed" };

export class Live {
  constructor(onLocked) {
    this.onLocked = onLocked;
    this.workers = new Map();
    this.paused = false;
    $("worker").addEventListener("change", () => this.show(Number($("worker").value)));
    $("pause").addEventListener("click", () => this.pause(!this.paused));
  }

  open() {
    this.looking = true;
    this.refresh();
  }

  close() {
    this.looking = false;
    clearTimeout(this.timer);
  }

  pause(on) {
    this.paused = on;
    $("pause").setAttribute("aria-pressed", String(on));
    $("pause").textContent = on ? "Resume" : "Pause";
    if (on) clearTimeout(this.timer);
    else this.refresh();
  }

  async refresh() {
    clearTimeout(this.timer);
    try {
      this.take(await json("api/live", { secret: "token" }));
      $("live-error").hidden = true;
    } catch (error) {
      show($("live-error"), error);
      if (error.status === 401) {
        this.onLocked(error);
        return;
      }
    }
    if (this.looking && !this.paused) this.timer = setTimeout(() => this.refresh(), EVERY_MS);
  }

  // Any worker may answer, and each remembers its own requests: one of them is shown until another
  // is chosen, or it has not been heard of for a while.
  take(live) {
    rankModels(live.models_by_price);
    this.workers.set(live.process_id, live);
    const now = live.now;
    for (const [id, each] of this.workers) if (now - each.now > FORGET_S) this.workers.delete(id);
    const ids = [...this.workers.keys()].sort((a, b) => a - b);
    const several = ids.length > 1;
    for (const element of [$("worker"), $("worker-label")]) element.hidden = !several;
    if (ids.join() !== this.offered) {
      this.offered = ids.join();  // the list does not close while somebody chooses
      $("worker").replaceChildren(...ids.map((id) => h("option", { value: id }, `process ${id}`)));
    }
    this.show(this.workers.has(this.shown) ? this.shown : live.process_id);
  }

  show(processId) {
    this.shown = processId;
    $("worker").value = String(processId);
    this.draw(this.workers.get(processId));
  }

  draw(live) {
    const several = this.workers.size > 1
      ? ` ${this.workers.size} workers answer in turn, and each remembers its own.` : "";
    $("live-note").textContent = `The last ${live.window.n} of ${count(live.n_seen)} requests of this worker `
      + `(process ${live.process_id}, up ${upFor(live.now - live.started_at)}), without their text.${several}`;
    $("tiles").replaceChildren(...tiles(live));
    drawRibbon(live.recent);
    $("traffic").replaceChildren(...live.traffic.map((each) => h("div", { class: "share" },
      named(each.model), h("span", { class: "meter", "--h": hue(each.model), "--w": each.share },
        h("i", {})), h("span", { class: "num" }, `${percent(each.share)}`),
      h("span", { class: "num soft" }, `${count(each.n)} · ${usd(each.cost_usd)}`))));
    table($("decisions"), "The last decisions, newest first", [
      ["Time", (each) => clock(each.at)],
      ["Model", (each) => named(each.model)],
      ["Why", (each) => (each.error ? h("span", { class: "wrong" }, each.error.replaceAll("_", " ")) : reason(each.reason))],
      ["Policy", (each) => each.policy],
      ["Calls", (each) => callList(each.calls)],
      ["Quality", (each) => quality(each.predicted_quality), true],
      ["Predicted", (each) => usd(each.predicted_cost_usd), true],
      ["Cost", (each) => usd(each.cost_usd), true],
      ["Expected", (each) => seconds(each.predicted_latency_s), true],
      ["Took", (each) => seconds(each.duration_s), true],
    ], live.recent, "No request has ended yet. Send one from the playground.");
    table($("upstreams"), "Health of every deployment", [
      ["Model", (each) => named(each.model)],
      ["Upstream", (each) => each.upstream],
      ["State", (each) => state(each)],
      ["Trust", (each) => each.trust],
      ["Open calls", (each) => count(each.in_flight), true],
      ["Limit used", (each) => (each.quota_used === null ? DASH : percent(each.quota_used)), true],
    ], live.upstreams, "There are no upstreams.");
  }
}

function tiles(live) {
  const { window: seen, savings } = live;
  const ratio = seen.predicted_cost_usd > 0 ? seen.compared_cost_usd / seen.predicted_cost_usd : null;
  return [
    tile("Requests", count(live.n_seen), [
      seen.requests_per_minute ? `${rate(seen.requests_per_minute)} per minute` : "none yet",
      `${count(seen.errors)} failed, ${count(seen.fallbacks)} by fallback`]),
    tile("Spent", usd(seen.cost_usd), [
      ratio === null ? "nothing predicted yet" : `${ratio.toPrecision(3)} × what was predicted`,
      seen.unpriced ? `${count(seen.unpriced)} answers of unknown price` : `on ${count(seen.n)} requests`]),
    savings ? tile("Saved", percent(savings.share), [
      savings.low === null ? "too few requests for an interval" : `95 % interval ${percent(savings.low)} to ${percent(savings.high)}`,
      `${usd(savings.strongest_usd - savings.actual_usd)} against always ${savings.strongest.join(", ")}`,
      `predicted quality ${quality(savings.quality)} instead of ${quality(savings.strongest_quality)}`], savings)
      : tile("Saved", DASH, ["against always the strongest", "needs routed requests"]),
    tile("Overhead", seconds(seen.overhead_p50_s), [
      `99 % within ${seconds(seen.overhead_p99_s)}`, `first token after ${seconds(seen.time_to_first_token_p50_s)}`]),
  ];
}

function tile(name, value, lines, interval) {
  return h("div", { class: "tile" }, h("h2", {}, name), h("p", { class: "big" }, value),
    interval && interval.low !== null ? h("span", { class: "interval", "aria-hidden": "true",
      "--from": clamp(interval.low), "--to": clamp(interval.high), "--at": clamp(interval.share) },
      h("i", {}), h("b", {})) : null,
    lines.map((line) => h("p", { class: "soft" }, line)));
}

const rate = (value) => (value < 10 ? value.toFixed(1) : count(value));

const clamp = (value) => Math.min(1, Math.max(0, value));

function drawRibbon(recent) {
  const newestLast = [...recent].reverse();
  const width = 1000 / 60;
  const start = 1000 - newestLast.length * width;
  $("ribbon").replaceChildren(...newestLast.map((each, i) => s("rect", {
    class: each.error || !each.model ? "failed" : "pip", "--h": each.model ? hue(each.model) : null,
    x: start + i * width + 1.5, y: 2, width: width - 3, height: 40, rx: 2 })));
  $("ribbon").setAttribute("aria-label", `The models of the last ${newestLast.length} requests`);
}

function state(each) {
  const resting = each.throttled_s > 0;
  const text = resting ? `throttled for ${seconds(each.throttled_s)}` : STATES[each.state] ?? each.state;
  const level = each.state === "closed" && !resting ? "well" : "trouble";
  return h("span", { class: `state ${level}` }, h("i", { "aria-hidden": "true" }), text);
}

function upFor(value) {
  if (value < 90) return `${Math.round(value)} s`;
  return value < 5400 ? `${Math.round(value / 60)} min` : `${(value / 3600).toFixed(1)} h`;
}
