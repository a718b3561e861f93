// The page: which view is shown, the theme, and what was typed into the access dialog.

import { $ } from "./dom.js";
import { json, secrets } from "./api.js";
import { Playground } from "./playground.js";
import { Live } from "./live.js";
import { Curve } from "./curve.js";

const views = {
  playground: new Playground((error) => askFor("key", error)),
  live: new Live((error) => askFor("token", error)),
  curve: new Curve((error) => askFor("token", error)),
};
let current = null;
let needs = { admin_token: false, key: false };

function go() {
  const wanted = location.hash.slice(1);
  const name = wanted in views ? wanted : "playground";
  if (wanted === "main") return;
  if (current !== name) views[current]?.close?.();
  current = name;
  for (const id of Object.keys(views)) $(id).hidden = id !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${name[0].toUpperCase()}${name.slice(1)} · Steelyard console`;
  if (missing(name)) askFor(name === "playground" ? "key" : "token");
  else views[name].open();
}

const missing = (name) => (name === "playground" ? needs.key && !secrets.get("key")
  : needs.admin_token && !secrets.get("token"));

// What was typed before and did not open it is said in the dialog, which covers the page.
function askFor(secret, error = null) {
  const dialog = $("access");
  $("access-problem").textContent = error && secrets.get(secret) ? `${error.title}: ${error.message}` : "";
  if (!dialog.open) dialog.showModal();
  $(`access-${secret}`).focus();
}

function wireAccess() {
  $("access-open").addEventListener("click", () => askFor(needs.key ? "key" : "token"));
  $("access-cancel").addEventListener("click", () => $("access").close());
  $("access-form").addEventListener("submit", () => {
    for (const secret of ["token", "key"]) {
      const input = $(`access-${secret}`);
      if (input.value.trim()) secrets.set(secret, input.value.trim());
      input.value = "";
    }
    views.playground.reset();
    views[current].open();
  });
}

const THEMES = ["system", "light", "dark"];

function wireTheme() {
  const show = () => {
    $("theme").textContent = `Theme: ${document.documentElement.dataset.theme ?? "system"}`;
  };
  $("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "system") + 1) % THEMES.length];
    if (next === "system") {
      delete root.dataset.theme;
      localStorage.removeItem("steelyard-theme");
    } else {
      root.dataset.theme = next;
      localStorage.setItem("steelyard-theme", next);
    }
    show();
  });
  show();
}

async function start() {
  wireTheme();
  wireAccess();
  needs = await json("api/access").catch(() => needs);
  $("access-open").hidden = !needs.admin_token && !needs.key;
  $("access-token-box").hidden = !needs.admin_token;
  $("access-key-box").hidden = !needs.key;
  window.addEventListener("hashchange", go);
  go();
}

start();
