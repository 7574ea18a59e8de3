// Study page: the image, the model's result, and the reader's assessment.

import * as answers from "./answer.js";
import * as api from "./api.js";
import {alarm, announce, element, find} from "./dom.js";
import * as header from "./header.js";
import * as session from "./session.js";
import {listen} from "./shortcuts.js";
import {Viewer} from "./viewer.js";

const id = location.pathname.split("/").at(-1);
const STATUS = {answered: "Analyzed", refused: "Refused", unreadable: "Not readable"};
const viewer = new Viewer();
let study = null;
let text = null;

const fileName = () => session.nameOf(study);

function show() {
  const kind = answers.outcome(study);
  document.title = `${fileName()} · pneumonia`;
  find("file").textContent = fileName();
  find("details").textContent = answers.imageDetails(study);
  find("answer").replaceChildren(...resultElements(kind));
  find("reader").hidden = kind === "unreadable";
  find("reveal").hidden = kind !== "blinded";
  find("report").hidden = kind === "blinded";
  find("report").href = `/studies/${id}/report.pdf`;
  showAssessment();
  showHeatMap(study.decision !== null);
}

function resultElements(kind) {
  if (kind === "blinded") return [answers.badge(kind), element("p", {}, text.explanation)];
  if (study.refusal) {
    return [answers.badge(kind), element("p", {class: "reason"}, study.refusal.reason), ...warnings(), versionLine()];
  }
  const figure = element("p", {class: "figure"}, element("b", {}, answers.percent(study.probability)), " probability of pneumonia");
  return [
    answers.badge(kind),
    figure,
    answers.bar(study, {labelled: true}),
    element("p", {class: "meaning"}, text.meaning),
    element("p", {class: "muted"}, text.explanation),
    ...warnings(),
    versionLine(),
  ];
}

const warnings = () => study.warnings.map((text) => element("p", {class: "warning"}, text));

const versionLine = () =>
  element("p", {class: "muted"}, `${STATUS[study.status]} by ${answers.formatVersion(study.model)}, on ${formatTime(study.created)}.`);

const formatTime = (time) => new Date(time).toLocaleString(undefined, {dateStyle: "medium", timeStyle: "short"});

function showAssessment() {
  const last = study.feedback.at(-1);
  for (const button of find("verdicts").children) {
    button.setAttribute("aria-pressed", String(button.dataset.verdict === last?.verdict));
  }
  find("assessment").textContent = last
    ? `${answers.label(last.verdict)}, ${last.blinded ? "before" : "after"} the result was shown, ${formatTime(last.created)}.`
    : "Stored without your name to monitor model performance.";
}

function showHeatMap(isAvailable) {
  find("overlay").hidden = !isAvailable;
  if (!isAvailable || find("evidence").getAttribute("src")) return;
  find("evidence").src = api.imageUrl(id, "evidence");
  find("shown").checked = true;
  viewer.showOverlay();
}

function showImage() {
  const image = find("radiograph");
  image.addEventListener("error", () => showUnavailable());
  if (!study.image) return showUnavailable("The file cannot be displayed as an image.");
  image.alt = `Radiograph ${fileName()}`;
  image.src = api.imageUrl(id, "image");
  find("corner-file").textContent = `${fileName()}\n${study.image.format} ${study.image.width} × ${study.image.height}`;
  find("corner-view").textContent = study.image.view ?? "";
}

function showUnavailable(text = "The image is no longer in memory. Upload it again to display it.") {
  find("unavailable").textContent = text;
  find("unavailable").hidden = false;
  find("stage").hidden = true;
  find("overlay").hidden = true;
  find("viewer").classList.add("empty");
}

async function assess(verdict) {
  if (find("reader").hidden) return;
  const isBlinded = answers.outcome(study) === "blinded";
  await update(async () => {
    await api.giveFeedback(id, verdict, isBlinded);
    return api.prediction(id);
  });
  announce(`Your assessment: ${answers.label(verdict)}.`);
}

const reveal = () => update(() => api.prediction(id, {reveal: true}));

async function update(request) {
  try {
    study = await request();
    text = await api.resultText(id);
    alarm("");
    show();
  } catch (problem) {
    alarm(problem.message);
  }
}

function showPosition() {
  const list = session.studies().map((study) => study.id);
  const index = list.indexOf(id);
  if (index < 0) return;
  find("position").textContent = `${index + 1} of ${list.length}`;
  for (const [name, to] of [["previous", list[index - 1]], ["next", list[index + 1]]]) {
    find(name).hidden = list.length < 2;
    if (to) find(name).href = `/studies/${to}`;
    else find(name).setAttribute("aria-disabled", "true");
  }
}

const changeOpacity = (by) => {
  find("opacity").valueAsNumber += by;
  viewer.showOverlay();
};

function selectTool(tool) {
  document.querySelector(`[name="tool"][value="${tool}"]`).checked = true;
}

find("verdicts").addEventListener("click", (event) => {
  const button = event.target.closest("[data-verdict]");
  if (button) assess(button.dataset.verdict);
});
find("reveal").addEventListener("click", reveal);
listen([
  {keys: ["1"], does: "Assess as normal", run: () => assess("NORMAL")},
  {keys: ["2"], does: "Assess as unsure", run: () => assess("UNSURE")},
  {keys: ["3"], does: "Assess as pneumonia", run: () => assess("PNEUMONIA")},
  {keys: ["h"], does: "Heat map on or off", run: () => find("overlay").hidden || find("shown").click()},
  {keys: ["["], does: "Decrease heat map opacity", run: () => changeOpacity(-10)},
  {keys: ["]"], does: "Increase heat map opacity", run: () => changeOpacity(10)},
  {keys: ["w"], does: "Drag changes window/level", run: () => selectTool("window")},
  {keys: ["m"], does: "Drag pans the image", run: () => selectTool("pan")},
  {keys: ["i"], does: "Invert", run: () => viewer.invert()},
  {keys: ["+", "="], does: "Zoom in", run: () => viewer.step(1)},
  {keys: ["-"], does: "Zoom out", run: () => viewer.step(-1)},
  {keys: ["0"], does: "Fit to window", run: () => viewer.fit()},
  {keys: ["r"], does: "Reset window/level and zoom", run: () => viewer.reset()},
  {keys: ["j", "n"], does: "Next study", run: () => find("next").click()},
  {keys: ["k", "p"], does: "Previous study", run: () => find("previous").click()},
  {keys: ["Escape"], does: "Back to the worklist", run: () => find("back").click()},
]);
header.watch();
showPosition();
update(() => api.prediction(id)).then(() => study && showImage());
