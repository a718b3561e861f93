// One prompt: weighed as it is typed, sent when asked for.

import { $, dot, h, named, rankModels, table } from "./dom.js";
import { ApiError, events, json, send } from "./api.js";
import { callList } from "./calls.js";
import { EXAMPLES } from "./examples.js";
import { against, count, evidence, quality, reason, seconds, span, usd } from "./format.js";
import { Knob } from "./knob.js";
import { Scatter } from "./scatter.js";
import { stages } from "./stages.js";

const DEBOUNCE_MS = 250;
const LEVELS = ["trivial", "easy", "moderate", "demanding", "very demanding"];

export class Playground {
  constructor(onLocked) {
    this.onLocked = onLocked;
    this.scatter = new Scatter();
    this.knob = new Knob(() => this.slid());
    this.routed = null;
    this.timer = null;
    $("examples").replaceChildren(...EXAMPLES.map(([name, prompt]) => this.example(name, prompt)));
    $("prompt").addEventListener("input", () => {
      this.pressed(null);
      this.soon();
    });
    $("max-cost").addEventListener("input", () => this.soon());
    $("policy").addEventListener("change", () => {
      this.knob.release();
      this.weigh();
    });
    $("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      this.answer();
    });
    $("prompt").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("ask").requestSubmit();
    });
    $("stop").addEventListener("click", () => this.streaming?.abort());
    this.compare(null);
  }

  async open() {
    if (this.opened) return;
    try {
      const { data } = await json("../v1/models", { secret: "key" });
      const names = data.map((each) => each.id)
        .filter((name) => name === "auto" || name.startsWith("auto:"));
      const selected = $("policy").value;
      $("policy").replaceChildren(...(names.length ? names : ["auto"]).map((name) =>
        h("option", { value: name }, name === "auto" ? "the default" : name.slice(5))));
      if (names.includes(selected)) $("policy").value = selected;
      this.opened = true;
      this.complain(null);
      if ($("prompt").value.trim()) this.weigh();
    } catch (error) {
      this.complain(error);
    }
  }

  // A prompt to click on: it is weighed at once, and nothing is sent.
  example(name, prompt) {
    const button = h("button", { type: "button", class: "chip", title: prompt, "aria-pressed": "false" }, name);
    button.addEventListener("click", () => {
      $("prompt").value = prompt;
      this.pressed(button);
      this.weigh();
    });
    return button;
  }

  pressed(chip) {
    for (const each of $("examples").children) each.setAttribute("aria-pressed", String(each === chip));
  }

  reset() {
    this.opened = false;
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.weigh(), DEBOUNCE_MS);
  }

  // The most that the request may cost; NaN where what was typed is no amount.
  get maxCost() {
    const text = $("max-cost").value.trim().replace(/^\$/, "");
    if (!text) return null;
    return /^\d*\.?\d+(e-?\d+)?$/i.test(text) ? Number(text) : NaN;
  }

  body(extra = {}) {
    const routing = { affinity: "off" };
    if (this.knob.touched) routing.cost_quality = this.knob.t;
    if (this.maxCost !== null) routing.max_cost = this.maxCost;
    return {
      model: $("policy").value,
      messages: [{ role: "user", content: $("prompt").value }],
      stream: true, routing, ...extra,
    };
  }

  valid() {
    const bad = Number.isNaN(this.maxCost);
    $("max-cost-problem").textContent = bad ? "Write an amount such as 0.002, or nothing." : "";
    $("max-cost").toggleAttribute("aria-invalid", bad);
    return !bad;
  }

  // Ask for the decision; the answer holds for every position of the knob.
  async weigh() {
    clearTimeout(this.timer);
    this.weighing?.abort();
    if (!$("prompt").value.trim()) {
      this.weighed(null);
      this.complain(null);
      return;
    }
    if (!this.valid()) return;
    this.weighing = new AbortController();
    const { signal } = this.weighing;
    const body = this.body();
    // The knob changes nothing of what is asked here, and a policy's own position is worth knowing.
    delete body.routing.cost_quality;
    try {
      const routed = await json("../v1/route", { secret: "key", body, signal });
      this.complain(null);
      this.weighed(routed);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.weighed(null);
      this.complain(error);
    }
  }

  weighed(routed) {
    this.routed = routed;
    const candidates = [...(routed?.candidates ?? [])].sort((a, b) =>
      (a.predicted_cost_usd ?? Infinity) - (b.predicted_cost_usd ?? Infinity));
    rankModels(candidates.map((each) => each.model));
    this.scatter.draw(candidates);
    $("asks").replaceChildren(...asked(routed));
    this.knob.setRanges(routed?.counterfactual ?? []);
    this.knob.suggest(routed?.cost_quality ?? null);
    table($("candidates"), "What is predicted of each candidate", [
      ["Model", (each) => named(each.model)],
      ["Quality", (each) => `${quality(each.predicted_quality)} ± ${quality(each.quality_uncertainty)}`, true],
      ["Output tokens", (each) => count(each.predicted_output_tokens), true],
      ["Cost", (each) => usd(each.predicted_cost_usd), true],
      ...(candidates.some((each) => each.goal_penalty != null)
        ? [["Goals take", (each) => quality(each.goal_penalty), true]] : []),
      ...(candidates.some((each) => each.surcharge_usd)
        ? [["Surcharge", (each) => usd(each.surcharge_usd), true]] : []),
      ...(candidates.some((each) => each.predicted_latency_ms != null)
        ? [["First token (≤ p90)", (each) => span(each.predicted_ttft_ms, each.upper_ttft_ms), true],
          ["Whole answer (≤ p90)", (each) => span(each.predicted_latency_ms, each.upper_latency_ms), true]] : []),
      ["Evidence", (each) => evidence(each.evidence)],
      ["Excluded because", (each) => (each.eligible ? "" : each.exclusion_detail ?? each.exclusion)],
    ], candidates, "Nothing is predicted yet.");
    this.slid();
  }

  // The knob moved, or the ranges under it did: no request is needed to say who is chosen now.
  slid() {
    const routed = this.routed;
    const steps = Boolean(routed?.counterfactual.length);
    const untouched = routed && (!this.knob.touched || !steps);
    const model = untouched ? routed.decision.model : this.knob.model;
    this.scatter.choose(routed ? model : null);
    this.chosen = routed ? model : null;
    $("verdict").replaceChildren(...this.verdict(routed, model, untouched));
    $("why").textContent = sentence((untouched ? routed.why : this.knob.range?.why) ?? "");
  }

  verdict(routed, model, untouched) {
    if (!routed) return ["The choice appears here once there is a prompt."];
    const each = routed.candidates.find((candidate) => candidate.model === model);
    const parts = [dot(model), h("strong", {}, model)];
    if (each?.predicted_cost_usd != null) {
      parts.push(` about ${usd(each.predicted_cost_usd)}, quality ${quality(each.predicted_quality)}`);
    }
    if (untouched && routed.decision.reason !== "knob") parts.push(`, ${reason(routed.decision.reason)}`);
    if (each?.predicted_latency_ms != null) parts.push(h("span", { class: "times" }, times(each, routed.queue)));
    return parts;
  }

  async answer() {
    if (this.streaming) return;
    if (!$("prompt").value.trim()) {
      this.complain(new ApiError("Type a prompt first.", { status: 400 }));
      $("prompt").focus();
      return;
    }
    if (!this.valid()) return;
    this.complain(null);
    this.streaming = new AbortController();
    const { signal } = this.streaming;
    this.busy(true);
    const text = h("p", { class: "text" });
    $("answer").replaceChildren(text);
    const facts = { started: performance.now(), routed: this.routed };
    this.compare(facts);
    try {
      const body = this.body({ stream_options: { include_usage: true } });
      body.routing.explain = "full";
      const response = await send("../v1/chat/completions", { secret: "key", body, signal });
      const header = (name) => response.headers.get(`x-route-${name}`);
      Object.assign(facts, { model: header("model"), reason: header("reason"),
        quality: number(header("predicted-quality")), predictedUsd: number(header("predicted-cost-usd")),
        predictedFirstS: number(header("predicted-ttft-ms")) / 1e3 || null,
        predictedTotalS: number(header("predicted-latency-ms")) / 1e3 || null,
        overheadS: number(header("overhead-ms")) / 1e3 });
      this.compare(facts);
      for await (const event of events(response)) this.heard(event, facts, text);
    } catch (error) {
      if (error.name !== "AbortError") this.complain(error);
      else text.append(h("span", { class: "soft" }, " (stopped)"));
      if (!text.textContent) text.append(h("span", { class: "soft" }, "No answer came."));
    } finally {
      facts.totalS = (performance.now() - facts.started) / 1e3;
      this.compare(facts);
      this.busy(false);
      this.streaming = null;
    }
  }

  heard(event, facts, text) {
    const delta = event.choices?.[0]?.delta?.content;
    if (delta) {
      if (facts.firstS === undefined) {
        facts.firstS = (performance.now() - facts.started) / 1e3;
        this.compare(facts);
      }
      const box = $("answer");
      const following = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
      text.append(delta);
      if (following) box.scrollTop = box.scrollHeight;
    }
    if (event.steelyard) {
      facts.calls = event.steelyard.calls;
      facts.workflow = event.steelyard.workflow;
    }
    if (event.usage) facts.usage = event.usage;
  }

  busy(on) {
    $("send").disabled = on;
    $("send").textContent = on ? "Answering" : "Send";
    $("stop").hidden = !on;
    $("answer").setAttribute("aria-busy", String(on));
  }

  compare(facts) {
    const drawn = stages(facts?.workflow, facts?.calls);
    $("stages").hidden = !drawn.length;
    $("stages").replaceChildren(...drawn);
    const found = facts?.routed?.candidates.find((each) => each.model === facts.model) ?? {};
    const predictedUsd = facts?.predictedUsd ?? found.predicted_cost_usd;
    const usage = facts?.usage;
    const rows = [
      ["Model", this.foretold(facts), facts?.model ? named(facts.model) : "–", ""],
      ["Why", "", facts ? reason(facts.reason) : "–", ""],
      ["Calls", "", facts?.workflow?.rounds.length ? `${facts.calls.length}, drawn below` : callList(facts?.calls), ""],
      ["Quality", quality(facts?.quality), "not labelled", ""],
      ["Input tokens", count(found.input_tokens), count(usage?.prompt_tokens), against(usage?.prompt_tokens, found.input_tokens)],
      ["Output tokens", count(found.predicted_output_tokens), count(usage?.completion_tokens),
        against(usage?.completion_tokens, found.predicted_output_tokens)],
      ["Cost", usd(predictedUsd), usd(usage?.cost_usd), against(usage?.cost_usd, predictedUsd)],
      ["First token", seconds(facts?.predictedFirstS), seconds(facts?.firstS), against(facts?.firstS, facts?.predictedFirstS)],
      ["Whole answer", seconds(facts?.predictedTotalS), seconds(facts?.totalS), against(facts?.totalS, facts?.predictedTotalS)],
      ["Gateway itself", "", seconds(facts?.overheadS), ""],
    ];
    table($("comparison"), "What was predicted and what happened", [
      ["", ([name]) => name], ["Predicted", ([, predicted]) => predicted, true],
      ["Actual", ([, , actual, note]) => h("span", {}, actual, " ", h("span", { class: "note" }, note)), true],
    ], rows);
  }

  foretold(facts) {
    if (!facts?.routed) return "–";
    facts.foretold ??= this.chosen;
    return facts.foretold ? named(facts.foretold) : "–";
  }

  complain(error) {
    const box = $("playground-error");
    box.hidden = !error;
    if (!error) return;
    show(box, error);
    if (error.status === 401) this.onLocked(error);
  }
}

// When a candidate is expected to answer, and what of it is the wait for a place.
function times(each, queue) {
  const waits = queue?.expected_wait_ms ? `, of which ${span(queue.expected_wait_ms, queue.upper_wait_ms)} wait for a place` : "";
  return `first token ${span(each.predicted_ttft_ms, each.upper_ttft_ms)}, `
    + `whole ${span(each.predicted_latency_ms, each.upper_latency_ms)}${waits}`;
}

const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}.` : "");

// What the prompt asks for: its kind, and how demanding it is, in words and on a scale of five.
function asked(routed) {
  const told = routed?.request;
  const known = evidence(routed?.evidence);
  const source = known ? h("span", { class: "soft source" }, `known by ${known}`) : "";
  if (!told) return [h("span", { class: "soft" }, routed ? "This router does not say what a prompt asks for."
    : "What the prompt asks for is told here."), source];
  const level = LEVELS.indexOf(told.level);
  const kind = told.kind ?? told.domain;
  return [h("span", { class: "level", "aria-hidden": "true" }, LEVELS.map((_, i) => h("i", { class: i <= level ? "on" : null }))),
    h("span", {}, h("strong", {}, told.level), kind ? `, ${kind}` : ""), source];
}

const number = (text) => (text === null ? null : Number(text));

export function show(box, error) {
  const known = error instanceof ApiError;
  const lines = known ? error.details : [];
  box.hidden = false;
  box.replaceChildren(h("strong", {}, known ? error.title : "The page failed"),
    h("p", {}, error.message), lines.length ? h("ul", {}, lines.map((line) => h("li", {}, line))) : "");
}
