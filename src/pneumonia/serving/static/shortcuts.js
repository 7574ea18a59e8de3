// Single-key shortcuts and the dialog that lists them and can switch them off (WCAG 2.1.4).

import {element, find} from "./dom.js";

const KEY = "pneumonia.shortcuts";
const isOn = () => localStorage.getItem(KEY) !== "off";

// Registers a list of {keys, does, run}; `keys` are alternative values of KeyboardEvent.key.
export function listen(shortcuts) {
  const dialog = find("help");
  const all = [...shortcuts, {keys: ["?"], does: "Show keyboard shortcuts", run: () => dialog.showModal()}];
  find("keys").replaceChildren(...all.flatMap(row));
  find("help-open").addEventListener("click", () => dialog.showModal());
  find("keys-on").checked = isOn();
  find("keys-on").addEventListener("change", (event) => localStorage.setItem(KEY, event.target.checked ? "on" : "off"));
  document.addEventListener("keydown", (event) => {
    const isTyped = event.ctrlKey || event.metaKey || event.altKey || event.target.matches('input:not([type="checkbox"], [type="radio"], [type="range"], [type="file"]), textarea, select');
    if (isTyped || dialog.open || !isOn()) return;
    const found = all.find(({keys}) => keys.includes(event.key));
    if (!found || event.defaultPrevented) return;
    event.preventDefault();
    found.run();
  });
}

function row({keys, does}) {
  return [element("dt", {}, ...keys.map((key) => element("kbd", {}, NAMES[key] ?? key))), element("dd", {}, does)];
}

const NAMES = {ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc"};
