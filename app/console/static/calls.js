// The upstream calls of a request: what each was for, to whom it went, and how it ended.

import { h, named } from "./dom.js";
import { DASH, usd } from "./format.js";

export function callList(calls) {
  if (!calls?.length) return DASH;
  return h("span", { class: "calls" }, calls.map((each) =>
    h("span", { class: each.error ? "call wrong" : "call", title: each.cost_usd ? usd(each.cost_usd) : null },
      `${each.role} `, named(each.model), each.error ? ` ${each.error.replaceAll("_", " ")}` : "")));
}
