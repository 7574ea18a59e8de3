// How an answer is said and drawn, the same on worklist and study page.

import {element} from "./dom.js";

const WORDS = {
  PNEUMONIA: "Pneumonia",
  NORMAL: "Normal",
  INDETERMINATE: "Indeterminate",
  UNSURE: "Unsure",
  refused: "Refused",
  unreadable: "Unreadable",
  blinded: "Blinded",
};
export const OUTCOMES = ["PNEUMONIA", "INDETERMINATE", "NORMAL", "blinded", "refused", "unreadable"];

export const word = (outcome) => WORDS[outcome];

export function outcome(prediction) {
  if (prediction.status !== "answered") return prediction.status;
  return prediction.hidden ? "blinded" : prediction.decision;
}

export function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1%";
  if (share < 1 && share > 0.999) return "> 99.9%";
  return `${(100 * share).toFixed(1)}%`;
}

export function badge(kind) {
  return element("span", {class: `badge ${kind.toLowerCase()}`}, element("i", {"aria-hidden": "true"}), word(kind));
}

// The probability on its scale from 0 to 1, with the operating point and the band in which the model does not decide.
export function bar(prediction, {labelled = false} = {}) {
  const {probability, threshold, band} = prediction;
  const hasBand = band.low < band.high;
  const said = [
    `Probability of pneumonia ${percent(probability)}`,
    `operating point ${percent(threshold)}`,
    hasBand ? `indeterminate from ${percent(band.low)} to ${percent(band.high)}` : "no indeterminate band",
  ];
  const track = element("span", {class: "track"});
  if (hasBand) track.append(placed("band", band.low, band.high));
  track.append(placed("point", threshold), placed("mark", probability));
  const drawn = element("span", {class: "bar", role: "img", "aria-label": said.join(", ")}, track);
  if (labelled) {
    track.before(label("point-label", threshold, `operating point ${percent(threshold)}`));
    track.after(element("span", {class: "scale"}, ...["0", "25", "50", "75", "100%"].map((t) => element("span", {}, t))));
    if (hasBand) {
      const middle = (band.low + band.high) / 2;
      track.after(label("band-label", middle, `indeterminate ${percent(band.low)} to ${percent(band.high)}`));
    }
  }
  return drawn;
}

function placed(name, from, to = null) {
  const made = element("span", {class: name});
  made.style.left = `${100 * from}%`;
  if (to !== null) made.style.width = `${100 * (to - from)}%`;
  return made;
}

// A label under or over its place on the scale; near an end it hangs to the inside.
function label(name, at, text) {
  const made = element("span", {class: `label ${name}`}, element("span", {}, text));
  made.style.setProperty("--at", at);
  return made;
}

export const remarks = ({refusal, warnings}) => [...(refusal ? [refusal.reason] : []), ...warnings];

export function verdict({feedback}) {
  const last = feedback.at(-1);
  return last ? `${word(last.verdict)}${last.blinded ? ", blinded" : ""}` : "";
}

export const facts = ({image}) =>
  image ? [image.format, `${image.width} × ${image.height}`, image.view].filter(Boolean).join(" · ") : "";

export const versionOf = ({name, version, bundle_sha256: sha256}) =>
  `${name}${version === null ? "" : ` version ${version}`} · ${sha256.slice(0, 8)}`;
