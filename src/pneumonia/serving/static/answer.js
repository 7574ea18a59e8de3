// Results as text and graphics, the same on worklist and study page.

import {element} from "./dom.js";

const LABELS = {
  PNEUMONIA: "Pneumonia",
  NORMAL: "Normal",
  INDETERMINATE: "Indeterminate",
  UNSURE: "Unsure",
  refused: "Refused",
  unreadable: "Unreadable",
  blinded: "Blinded",
};
export const OUTCOMES = ["PNEUMONIA", "INDETERMINATE", "NORMAL", "blinded", "refused", "unreadable"];

export const label = (outcome) => LABELS[outcome];

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
  return element("span", {class: `badge ${kind.toLowerCase()}`}, element("i", {"aria-hidden": "true"}), label(kind));
}

// The probability on a scale of 0 to 1, with the operating point and the indeterminate range.
export function bar(prediction, {labelled = false} = {}) {
  const {probability, threshold, band} = prediction;
  const hasBand = band.low < band.high;
  const description = [
    `Probability of pneumonia ${percent(probability)}`,
    `operating point ${percent(threshold)}`,
    hasBand ? `indeterminate range ${percent(band.low)} to ${percent(band.high)}` : "no indeterminate range",
  ];
  const track = element("span", {class: "track"});
  if (hasBand) track.append(positioned("band", band.low, band.high));
  track.append(positioned("point", threshold), positioned("mark", probability));
  const scale = element("span", {class: "bar", role: "img", "aria-label": description.join(", ")}, track);
  if (labelled) {
    track.before(scaleLabel("point-label", threshold, `operating point ${percent(threshold)}`));
    track.after(element("span", {class: "scale"}, ...["0", "25", "50", "75", "100%"].map((t) => element("span", {}, t))));
    if (hasBand) {
      const middle = (band.low + band.high) / 2;
      track.after(scaleLabel("band-label", middle, `indeterminate ${percent(band.low)} to ${percent(band.high)}`));
    }
  }
  return scale;
}

function positioned(name, from, to = null) {
  const made = element("span", {class: name});
  made.style.left = `${100 * from}%`;
  if (to !== null) made.style.width = `${100 * (to - from)}%`;
  return made;
}

// A label above or below a position on the scale; near the ends it is shifted to the inside.
function scaleLabel(name, position, text) {
  const made = element("span", {class: `label ${name}`}, element("span", {}, text));
  made.style.setProperty("--at", position);
  return made;
}

export const notes = ({refusal, warnings}) => [...(refusal ? [refusal.reason] : []), ...warnings];

export function assessment({feedback}) {
  const last = feedback.at(-1);
  return last ? `${label(last.verdict)}${last.blinded ? ", blinded" : ""}` : "";
}

export const imageDetails = ({image}) =>
  image ? [image.format, `${image.width} × ${image.height}`, image.view].filter(Boolean).join(" · ") : "";

export const formatVersion = ({name, version, bundle_sha256: sha256}) =>
  `${name}${version === null ? "" : ` version ${version}`} · ${sha256.slice(0, 8)}`;
