// How several calls came to one answer: what was called, in rounds from left to right, and what was
// said of each answer.

import { h, named } from "./dom.js";
import { count, quality, seconds, usd } from "./format.js";

const ROLES = { answer: "answers", draft: "drafts", judge: "judges", planner: "plans", helper: "helps", guard: "guards" };
const CEILINGS = {
  calls: "no further call was allowed", cost: "a further call could have cost too much",
  time: "there was no time for a further call", bytes: "an answer was too long to be held back",
  budget: "no budget paid for a further call",
};

export function stages(workflow, calls) {
  if (!workflow) return [];
  if (!workflow.rounds.length) {
    return workflow.skipped ? [note(`One choice answers: ${words(workflow.skipped)}.`)] : [];
  }
  const made = queues(calls ?? [], (each) => each.model);
  const said = queues(workflow.judged, (each) => each.model);
  const rounds = workflow.rounds.map((models, i) => h("li", { class: "round" },
    h("span", { class: "soft" }, `Round ${i + 1}`),
    models.map((model) => stage(model, next(made, model), said))));
  const ends = [workflow.accepted_by && `accepted by ${words(workflow.accepted_by)}`,
    workflow.ceiling && CEILINGS[workflow.ceiling],
    workflow.held_ms && `held back for ${seconds(workflow.held_ms / 1e3)}`].filter(Boolean);
  return [h("ol", { class: "stages", "aria-label": `Stages of the ${words(workflow.kind)}` }, rounds),
    note(`${capital(words(workflow.kind))}: ${ends.join("; ")}.`)];
}

function stage(model, call, said) {
  const role = call?.role ?? "draft";
  const verdict = role === "draft" ? next(said, model) : null;
  const failed = call?.error && call.error !== "draft_rejected";
  const serves = verdict ? verdict.accepted : role === "answer" && !failed;
  const state = failed ? "failed" : serves ? "taken" : verdict ? "turned-down" : "asked";
  const facts = [verdict?.predicted_quality != null && `quality ${quality(verdict.predicted_quality)} expected`,
    verdict?.output_tokens != null && `${count(verdict.output_tokens)} ${verdict.output_tokens === 1 ? "token" : "tokens"}`,
    (verdict?.cost_usd ?? call?.cost_usd) != null && usd(verdict?.cost_usd ?? call?.cost_usd),
    verdict?.ms != null && seconds(verdict.ms / 1e3)].filter(Boolean);
  return h("div", { class: `stage ${state}` },
    h("div", {}, named(model), h("span", { class: "soft" }, ` ${ROLES[role] ?? role}`)),
    facts.length ? h("div", { class: "soft" }, facts.join(" · ")) : null,
    outcome(state, verdict, call) ? h("div", { class: "said" }, outcome(state, verdict, call)) : null);
}

function outcome(state, verdict, call) {
  if (state === "failed") return `failed: ${words(call.error)}`;
  if (!verdict) return state === "taken" ? "answers directly" : "";
  return `${verdict.accepted ? "taken" : "not taken"} by ${words(verdict.by)}${verdict.why ? `: ${verdict.why}` : ""}`;
}

function queues(items, key) {
  const found = new Map();
  for (const each of items) found.set(key(each), [...(found.get(key(each)) ?? []), each]);
  return found;
}

const next = (found, model) => found.get(model)?.shift() ?? null;
const words = (text) => text.replaceAll(/[_-]/g, " ");
const capital = (text) => text[0].toUpperCase() + text.slice(1);
const note = (text) => h("p", { class: "soft" }, text);
