// The sliding weight: which model is chosen where, without asking the gateway again.

import { $, h, hue } from "./dom.js";

// The range at position t, with its model, from the ranges that /v1/route tells. Those of no width hold at the very
// ends; where two ranges meet the choice is a tie, which the cheaper model wins.
export function rangeAt(ranges, t) {
  const found = t >= 1 ? ranges.at(-1) : ranges.find((each) => t <= each.to_cost_quality);
  return found ?? ranges.at(-1) ?? null;
}

export class Knob {
  constructor(onSlide) {
    this.input = $("knob");
    this.ranges = [];
    this.touched = false;
    this.input.addEventListener("input", () => {
      this.touched = true;
      this.show();
      onSlide();
    });
    this.show();
  }

  get t() {
    return Number(this.input.value);
  }

  // Move to where the policy stands, unless somebody moved it.
  suggest(t) {
    if (!this.touched && t !== null) this.input.value = String(t);
    this.show();
  }

  release() {
    this.touched = false;
  }

  setRanges(ranges) {
    this.ranges = ranges;
    $("bands").replaceChildren(...ranges.map((each) => {
      const width = each.to_cost_quality - each.from_cost_quality;
      return h("div", { class: "band", "--h": hue(each.model), "--w": width, title: each.model,
        hidden: width <= 0 }, h("span", { hidden: width < 0.16 }, each.model));
    }));
    this.show();
  }

  get range() {
    return rangeAt(this.ranges, this.t);
  }

  get model() {
    return this.range?.model ?? null;
  }

  show() {
    const text = this.t.toFixed(2);
    $("knob-value").value = text;
    this.input.setAttribute("aria-valuetext", this.model ? `${text}: ${this.model}` : text);
    // The mark in the header carries the same weight.
    $("mark-weight").style.transform = `translate(${26 + this.t * 30}px, 0)`;
    [...$("bands").children].forEach((band, i) =>
      band.classList.toggle("on", this.ranges[i].model === this.model));
  }
}
