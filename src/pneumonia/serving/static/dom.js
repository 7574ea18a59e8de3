// Finds and creates elements. Text is always set as text, so that a file name cannot become markup.

export const find = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function announce(text) {
  find("announcer").textContent = text;
}

export function alarm(text) {
  find("alarm").textContent = text;
  find("alarm").hidden = !text;
}
