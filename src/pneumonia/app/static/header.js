// What the head of every page says and does: which model answers, looked up again so that a swap is seen; signing out.

import * as api from "./api.js";
import {alarm, announce, find} from "./dom.js";

const LOOK_AGAIN_MS = 15_000;

export function watch() {
  show();
  setInterval(refresh, LOOK_AGAIN_MS);
  document.addEventListener("visibilitychange", refresh);
  find("sign-out")?.addEventListener("click", api.signOut);
}

export async function refresh() {
  if (document.hidden) return;
  try {
    const panel = await api.modelPanel();
    const before = find("model").dataset.version;
    find("model").outerHTML = panel; // written and escaped by the server's template
    show();
    if (before !== find("model").dataset.version) announce(`The model has changed: ${find("model").dataset.version} answers now.`);
  } catch (problem) {
    alarm(`Which model answers is not known: ${problem.message}`);
  }
}

function show() {
  find("version").textContent = find("model").dataset.version;
  find("phantom").hidden = find("model").dataset.phantom !== "true";
}
