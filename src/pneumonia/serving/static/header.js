// The header of every page: the model in use, polled to show a replacement, and signing out.

import * as api from "./api.js";
import {alarm, announce, find} from "./dom.js";

const POLL_MS = 15_000;

export function watch() {
  show();
  setInterval(refresh, POLL_MS);
  document.addEventListener("visibilitychange", refresh);
  find("sign-out")?.addEventListener("click", api.signOut);
}

export async function refresh() {
  if (document.hidden) return;
  try {
    const panel = await api.modelPanel();
    const before = find("model").dataset.version;
    find("model").outerHTML = panel; // rendered and escaped by the server
    show();
    if (before !== find("model").dataset.version) announce(`Model changed to ${find("model").dataset.version}.`);
  } catch (problem) {
    alarm(`The model in use could not be determined: ${problem.message}`);
  }
}

function show() {
  find("version").textContent = find("model").dataset.version;
  find("phantom").hidden = find("model").dataset.phantom !== "true";
}
