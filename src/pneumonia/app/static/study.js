// One study: the image, what the model says of it, and the reader's verdict.

import * as answers from "./answer.js";
import * as api from "./api.js";
import {alarm, announce, element, find} from "./dom.js";
import * as header from "./header.js";
import * as session from "./session.js";
import {listen} from "./shortcuts.js";
import {Viewer} from "./viewer.js";

const id = location.pathname.split("/").at(-1);
const DONE = {answered: "Answered", refused: "Refused", unreadable: "Not read"};
const viewer = new Viewer();
let study = null;
let words = null;

const file = () => session.nameOf(study);

function show() {
  const kind = answers.outcome(study);
  document.title = `${file()} · pneumonia`;
  find("file").textContent = file();
  find("facts").textContent = answers.facts(study);
  find("answer").replaceChildren(...answerOf(kind));
  find("reader").hidden = kind === "unreadable";
  find("reveal").hidden = kind !== "blinded";
  find("report").hidden = kind === "blinded";
  find("report").href = `/studies/${id}/report.pdf`;
  showVerdict();
  showEvidence(study.decision !== null);
}

function answerOf(kind) {
  if (kind === "blinded") return [answers.badge(kind), element("p", {}, words.explanation)];
  if (study.refusal) {
    return [answers.badge(kind), element("p", {class: "reason"}, study.refusal.reason), ...warnings(), versionLine()];
  }
  const figure = element("p", {class: "figure"}, element("b", {}, answers.percent(study.probability)), " probability of pneumonia");
  return [
    answers.badge(kind),
    figure,
    answers.bar(study, {labelled: true}),
    element("p", {class: "meaning"}, words.meaning),
    element("p", {class: "muted"}, words.explanation),
    ...warnings(),
    versionLine(),
  ];
}

const warnings = () => study.warnings.map((text) => element("p", {class: "warning"}, text));

const versionLine = () =>
  element("p", {class: "muted"}, `${DONE[study.status]} by ${answers.versionOf(study.model)}, on ${when(study.created)}.`);

const when = (moment) => new Date(moment).toLocaleString(undefined, {dateStyle: "medium", timeStyle: "short"});

function showVerdict() {
  const last = study.feedback.at(-1);
  for (const button of find("verdicts").children) {
    button.setAttribute("aria-pressed", String(button.dataset.verdict === last?.verdict));
  }
  find("given").textContent = last
    ? `${answers.word(last.verdict)}, given ${last.blinded ? "before" : "after"} seeing the answer, ${when(last.created)}.`
    : "Stored without your name, to watch how the model does.";
}

function showEvidence(isKnown) {
  find("overlay").hidden = !isKnown;
  if (!isKnown || find("evidence").getAttribute("src")) return;
  find("evidence").src = api.picture(id, "evidence");
  find("shown").checked = true;
  viewer.showOverlay();
}

function showImage() {
  const image = find("radiograph");
  image.addEventListener("error", () => gone());
  if (!study.image) return gone("These bytes are not an image that can be shown.");
  image.alt = `Radiograph ${file()}`;
  image.src = api.picture(id, "image");
  find("corner-file").textContent = `${file()}\n${study.image.format} ${study.image.width} × ${study.image.height}`;
  find("corner-view").textContent = study.image.view ?? "";
}

function gone(text = "The image is no longer held: images are kept in memory for a short time only. Add it to the worklist again to see it.") {
  find("gone").textContent = text;
  find("gone").hidden = false;
  find("stage").hidden = true;
  find("overlay").hidden = true;
  find("viewer").classList.add("empty");
}

async function give(verdict) {
  if (find("reader").hidden) return;
  const isBlinded = answers.outcome(study) === "blinded";
  await renew(async () => {
    await api.giveFeedback(id, verdict, isBlinded);
    return api.prediction(id);
  });
  announce(`Your verdict: ${answers.word(verdict)}.`);
}

const reveal = () => renew(() => api.prediction(id, {reveal: true}));

async function renew(ask) {
  try {
    study = await ask();
    words = await api.words(id);
    alarm("");
    show();
  } catch (problem) {
    alarm(problem.message);
  }
}

function showPlace() {
  const list = session.studies().map((study) => study.id);
  const at = list.indexOf(id);
  if (at < 0) return;
  find("position").textContent = `${at + 1} of ${list.length}`;
  for (const [name, to] of [["previous", list[at - 1]], ["next", list[at + 1]]]) {
    find(name).hidden = list.length < 2;
    if (to) find(name).href = `/studies/${to}`;
    else find(name).setAttribute("aria-disabled", "true");
  }
}

const fade = (by) => {
  find("opacity").valueAsNumber += by;
  viewer.showOverlay();
};

function choose(tool) {
  document.querySelector(`[name="tool"][value="${tool}"]`).checked = true;
}

find("verdicts").addEventListener("click", (event) => {
  const button = event.target.closest("[data-verdict]");
  if (button) give(button.dataset.verdict);
});
find("reveal").addEventListener("click", reveal);
listen([
  {keys: ["1"], does: "Verdict: normal", run: () => give("NORMAL")},
  {keys: ["2"], does: "Verdict: unsure", run: () => give("UNSURE")},
  {keys: ["3"], does: "Verdict: pneumonia", run: () => give("PNEUMONIA")},
  {keys: ["h"], does: "Heat map on or off", run: () => find("overlay").hidden || find("shown").click()},
  {keys: ["["], does: "Fainter heat map", run: () => fade(-10)},
  {keys: ["]"], does: "Stronger heat map", run: () => fade(10)},
  {keys: ["w"], does: "Drag sets window and level", run: () => choose("window")},
  {keys: ["m"], does: "Drag moves the image", run: () => choose("pan")},
  {keys: ["i"], does: "Invert", run: () => viewer.invert()},
  {keys: ["+", "="], does: "Zoom in", run: () => viewer.step(1)},
  {keys: ["-"], does: "Zoom out", run: () => viewer.step(-1)},
  {keys: ["0"], does: "Fit to the frame", run: () => viewer.fit()},
  {keys: ["r"], does: "Reset window, level and zoom", run: () => viewer.reset()},
  {keys: ["j", "n"], does: "Next study", run: () => find("next").click()},
  {keys: ["k", "p"], does: "Previous study", run: () => find("previous").click()},
  {keys: ["Escape"], does: "Back to the worklist", run: () => find("back").click()},
]);
header.watch();
showPlace();
renew(() => api.prediction(id)).then(() => study && showImage());
