// Building elements without markup in strings: the page's policy forbids it, and text stays text.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function s(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// Fill a table: columns of [heading, cell(row), isNumber].
export function table(element, caption, columns, rows, empty) {
  const head = columns.map(([name, , number]) =>
    h("th", { scope: "col", class: number ? "num" : null }, name));
  const body = rows.map((row) => h("tr", {}, columns.map(([, cell, number], i) =>
    h(i === 0 ? "th" : "td", { scope: i === 0 ? "row" : null, class: number ? "num" : null },
      cell(row)))));
  if (!rows.length && empty) {
    body.push(h("tr", {}, h("td", { colspan: columns.length, class: "soft" }, empty)));
  }
  element.replaceChildren(h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", {}, head)), h("tbody", {}, body));
}

// A model's colour runs from steel to brass with its price. It is the same everywhere and stays,
// whatever the next prompt makes of the order, until a model comes that has none yet.
const hues = new Map();
const ranked = new Set();

export function rankModels(idsByCost) {
  if (idsByCost.every((id) => ranked.has(id))) return;
  idsByCost.forEach((id) => ranked.add(id));
  idsByCost.forEach((id, i) =>
    hues.set(id, 245 - (i / Math.max(idsByCost.length - 1, 1)) * 205));
}

export function hue(id) {
  if (!hues.has(id)) hues.set(id, (hues.size * 67 + 150) % 360);
  return hues.get(id).toFixed(1);
}

export function dot(id) {
  return h("i", { class: "dot", "--h": hue(id), "aria-hidden": "true" });
}

export function named(id) {
  return id === null ? h("span", { class: "soft" }, "none") : h("span", { class: "named" }, dot(id), id);
}
