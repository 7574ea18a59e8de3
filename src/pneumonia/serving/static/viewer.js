// Image viewer: window/level, inversion, zoom, pan and heat map.
//
// Window/level is a linear function of the 8-bit grey levels (DICOM PS3.3 C.11.2.1.2, as slope and intercept on 0 to 1)
// that an SVG filter applies: no pixels are copied, and the heat map is not affected.

import {find} from "./dom.js";

const FULL = 255;
const ZOOM = {least: 0.5, most: 12, step: 1.25};
const DRAG = 0.6; // grey levels per pixel of drag
const KEY_STEP = 8; // grey levels per key

export class Viewer {
  constructor() {
    this.frame = find("frame");
    this.pointers = new Map();
    this.reset();
    this.#listen();
  }

  reset() {
    this.width = FULL;
    this.level = FULL / 2;
    this.isInverted = false;
    this.fit();
    this.#applyWindow();
  }

  setWindow(width, level) {
    this.width = clamp(width, 1, 2 * FULL);
    this.level = clamp(level, 0, FULL);
    this.#applyWindow();
  }

  invert() {
    this.isInverted = !this.isInverted;
    this.#applyWindow();
  }

  fit() {
    this.scale = 1;
    this.x = this.y = 0;
    this.#applyTransform();
  }

  // Zooms by a factor around the point (x, y), relative to the center of the frame.
  zoom(factor, x = 0, y = 0) {
    const scale = clamp(this.scale * factor, ZOOM.least, ZOOM.most);
    this.x = x - (x - this.x) * (scale / this.scale);
    this.y = y - (y - this.y) * (scale / this.scale);
    this.scale = scale;
    this.#applyTransform();
  }

  step(direction) {
    this.zoom(ZOOM.step ** direction);
  }

  move(x, y) {
    this.x += x;
    this.y += y;
    this.#applyTransform();
  }

  showOverlay() {
    find("evidence").style.opacity = find("opacity").value / 100;
    find("evidence").hidden = !find("shown").checked;
    find("overlay").classList.toggle("off", !find("shown").checked);
    find("opacity").nextElementSibling.textContent = `${find("opacity").value}%`;
  }

  #applyWindow() {
    const sign = this.isInverted ? -1 : 1;
    const slope = (sign * FULL) / this.width;
    const intercept = 0.5 - (slope * this.level) / FULL;
    for (const channel of document.querySelectorAll("#window feFuncR, #window feFuncG, #window feFuncB")) {
      channel.setAttribute("slope", slope);
      channel.setAttribute("intercept", intercept);
    }
    find("radiograph").style.filter = "url(#window)";
    const [width, level] = [Math.round(this.width), Math.round(this.level)];
    for (const [id, value] of [["width", width], ["level", level]]) {
      find(id).value = value;
      find(id).nextElementSibling.textContent = value;
    }
    find("invert").setAttribute("aria-pressed", String(this.isInverted));
    find("corner-window").textContent = `W ${width}  L ${level}${this.isInverted ? "  inverted" : ""}`;
  }

  #applyTransform() {
    find("stage").style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    const image = find("radiograph");
    const pixels = image.naturalWidth ? image.clientWidth / image.naturalWidth : 0;
    find("corner-zoom").textContent = pixels ? `zoom ${Math.round(100 * pixels * this.scale)}%` : "";
  }

  #listen() {
    const {frame} = this;
    frame.addEventListener("pointerdown", (event) => this.#pointerDown(event));
    frame.addEventListener("pointermove", (event) => this.#pointerMove(event));
    for (const end of ["pointerup", "pointercancel"]) {
      frame.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
    frame.addEventListener("wheel", (event) => this.#wheel(event), {passive: false});
    frame.addEventListener("dblclick", () => this.fit());
    frame.addEventListener("contextmenu", (event) => event.preventDefault());
    frame.addEventListener("keydown", (event) => this.#key(event));
    find("width").addEventListener("input", (event) => this.setWindow(event.target.valueAsNumber, this.level));
    find("level").addEventListener("input", (event) => this.setWindow(this.width, event.target.valueAsNumber));
    find("invert").addEventListener("click", () => this.invert());
    find("zoom-in").addEventListener("click", () => this.step(1));
    find("zoom-out").addEventListener("click", () => this.step(-1));
    find("fit").addEventListener("click", () => this.fit());
    find("shown").addEventListener("change", () => this.showOverlay());
    find("opacity").addEventListener("input", () => this.showOverlay());
    find("radiograph").addEventListener("load", ({target}) => {
      find("picture").style.setProperty("--ratio", target.naturalWidth / target.naturalHeight);
      this.fit();
    });
    new ResizeObserver(() => this.#applyTransform()).observe(frame);
  }

  #pointerDown(event) {
    this.frame.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
  }

  #pointerMove(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const [across, down] = [event.clientX - before.clientX, event.clientY - before.clientY];
    if (this.pointers.size === 2) this.#pinch(before, event);
    else if (this.#isPan(before)) this.move(across, down);
    else this.setWindow(this.width + DRAG * across, this.level + DRAG * down);
    this.pointers.set(event.pointerId, event);
  }

  #isPan(press) {
    return press.shiftKey || press.buttons > 1 || document.querySelector('[name="tool"]:checked').value === "pan";
  }

  #pinch(before, event) {
    const [other] = [...this.pointers.values()].filter(({pointerId}) => pointerId !== event.pointerId);
    const distance = (a) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY);
    this.move((event.clientX - before.clientX) / 2, (event.clientY - before.clientY) / 2);
    this.zoom(distance(event) / Math.max(1, distance(before)), ...this.#fromCenter(other));
  }

  #wheel(event) {
    event.preventDefault();
    this.zoom(ZOOM.step ** -Math.sign(event.deltaY), ...this.#fromCenter(event));
  }

  #key(event) {
    const steps = {ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0]}[event.key];
    if (!steps || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const [width, level] = steps.map((step) => KEY_STEP * step);
    if (event.shiftKey) this.move(-4 * width, -4 * level);
    else this.setWindow(this.width + width, this.level + level);
  }

  #fromCenter({clientX, clientY}) {
    const box = this.frame.getBoundingClientRect();
    return [clientX - box.left - box.width / 2, clientY - box.top - box.height / 2];
  }
}

const clamp = (value, least, most) => Math.min(most, Math.max(least, value));
