// Numbers as people read them; what is not known is a dash.

export const DASH = "–";
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

export function usd(value, digits = 3) {
  if (!known(value)) return DASH;
  if (value === 0) return "$0";
  const sign = value < 0 ? "−" : "";
  const size = Math.abs(value);
  if (size >= 100) return `${sign}$${Math.round(size).toLocaleString("en")}`;
  if (size >= 1) return `${sign}$${size.toFixed(2)}`;
  const decimals = Math.min(12, digits - 1 - Math.floor(Math.log10(size)));
  return `${sign}$${trim(size.toFixed(decimals))}`;
}

// As decades of an axis: $0.001, $1, $100.
export function usdTick(value) {
  return value >= 1 ? `$${value.toLocaleString("en")}`
    : `$${value.toFixed(Math.max(0, Math.round(-Math.log10(value))))}`;
}

function trim(text) {
  return text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
}

export const quality = (value) => (known(value) ? value.toFixed(2) : DASH);

export const percent = (value, digits = 0) =>
  (known(value) ? `${(100 * value).toFixed(digits).replace("-", "−")} %` : DASH);

export const count = (value) => (known(value) ? Math.round(value).toLocaleString("en") : DASH);

export function seconds(value) {
  if (!known(value)) return DASH;
  if (value < 0.001) return `${Math.max(1, Math.round(value * 1e6))} µs`;
  if (value < 0.01) return `${(value * 1e3).toFixed(1)} ms`;
  return value < 1 ? `${Math.round(value * 1e3)} ms` : `${value.toFixed(2)} s`;
}

// A median and what nine of ten stay below, given in milliseconds.
export const span = (middle, upper) =>
  (known(middle) ? `${seconds(middle / 1e3)} (≤ ${seconds(upper / 1e3)})` : "");

// How an actual value compares with what was predicted.
export function against(actual, predicted) {
  if (!known(actual) || !known(predicted) || predicted <= 0) return "";
  const ratio = actual / predicted;
  if (ratio > 0.95 && ratio < 1.05) return "as predicted";
  return ratio >= 2 || ratio <= 0.5
    ? `${ratio >= 10 ? Math.round(ratio) : ratio.toPrecision(ratio < 0.1 ? 1 : 2)} × predicted`
    : `${ratio > 1 ? "+" : "−"}${Math.abs(100 * (ratio - 1)).toFixed(0)} %`;
}

const REASONS = {
  knob: "the knob", threshold: "the policy’s threshold", pinned: "asked for by name",
  only_eligible: "the only one that may", min_quality_unmet: "nobody reaches the minimum; the best",
  latency_unmet: "nobody is in time; the fastest",
  fallback: "stepped in for another", sticky: "kept for the conversation",
  decision_model: "the level’s model",
  workflow: "several were asked", best_effort: "the best tier in time", budget: "what the budget pays for",
  router_timeout: "the router was too slow; the default", router_error: "the router failed; the default",
};

export const reason = (code) => (code ? REASONS[code] ?? code : DASH);

const EVIDENCE = { prior: "published results", anchors: "answers to anchors", outcomes: "outcomes" };

// What a prediction rests on; empty where there is none.
export const evidence = (code) => (code ? EVIDENCE[code] ?? code : "");

export function clock(epochS) {
  return new Date(epochS * 1000).toLocaleTimeString("en-GB");
}
