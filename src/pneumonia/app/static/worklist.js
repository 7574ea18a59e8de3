// The worklist: files in, a row for each image, and the way into a study.

import * as answers from "./answer.js";
import * as api from "./api.js";
import {alarm, announce, element, find} from "./dom.js";
import * as header from "./header.js";
import * as session from "./session.js";
import {listen} from "./shortcuts.js";
import {Uploads} from "./uploads.js";

const entries = []; // {file, prediction | job, row}
let filter = "all";
let sorting = {by: null, ascending: true};

const uploads = new Uploads((job) => {
  if (job.state === "waiting") entries.push(makeEntry({job}));
  if (job.state === "done") settle(job);
  showAll();
  if (job.state === "done") header.refresh();
});

function makeEntry(told) {
  return {...told, row: find("row").content.firstElementChild.cloneNode(true)};
}

// A file becomes one image, or, where it was a zip, many.
function settle(job) {
  const place = entries.findIndex((entry) => entry.job === job);
  if (place < 0) return; // the list was cleared meanwhile
  const made = job.predictions.map((prediction) => makeEntry({prediction, batch: job}));
  entries.splice(place, 1, ...made);
  keep();
}

const keep = () => session.keep(entries.filter(isAnswer).map((entry) => ({id: entry.prediction.id, file: fileOf(entry)})));
const isAnswer = (entry) => Boolean(entry.prediction);
const fileOf = (entry) => (isAnswer(entry) ? session.nameOf(entry.prediction) : entry.job.file.name);

function outcomeOf(entry) {
  if (isAnswer(entry)) return answers.outcome(entry.prediction);
  return entry.job.state === "failed" ? "unreadable" : "working";
}

function showAll() {
  const isEmpty = entries.length === 0;
  find("list").hidden = isEmpty;
  document.body.classList.toggle("has-list", !isEmpty);
  const counts = Map.groupBy(entries, outcomeOf);
  if (filter !== "all" && !counts.has(filter)) filter = "all";
  showFilters(counts);
  entries.forEach(showRow);
  const visible = sorted(entries.filter((entry) => filter === "all" || outcomeOf(entry) === filter));
  find("rows").replaceChildren(...visible.map((entry) => entry.row));
  showExports();
  showProgress();
}

function showFilters(counts) {
  const shown = ["all", ...answers.OUTCOMES.filter((kind) => counts.has(kind))];
  const focused = document.activeElement?.dataset.filter;
  find("filters").replaceChildren(
    ...shown.map((kind) => {
      const count = kind === "all" ? entries.length : counts.get(kind).length;
      const text = kind === "all" ? "All" : answers.word(kind);
      const pressed = String(kind === filter);
      return element("button", {type: "button", "data-filter": kind, "aria-pressed": pressed}, text, element("b", {}, count));
    }),
  );
  find("filters").querySelector(`[data-filter="${focused}"]`)?.focus();
}

function showRow(entry) {
  const [thumb, image, answer, score, remarks, verdict] = entry.row.cells;
  const {prediction, job} = entry;
  const kind = outcomeOf(entry);
  entry.row.className = kind.toLowerCase();
  const link = image.querySelector(".file");
  link.textContent = fileOf(entry);
  if (!isAnswer(entry)) {
    const texts = {waiting: "Waiting", working: "Reading…", failed: null, done: null};
    answer.replaceChildren(job.state === "failed" ? answers.badge(kind) : element("span", {class: "muted"}, texts[job.state]));
    remarks.textContent = job.why ?? "";
    entry.row.setAttribute("aria-busy", String(job.state !== "failed"));
    return;
  }
  link.href = `/studies/${prediction.id}`;
  image.querySelector(".facts").textContent = answers.facts(prediction);
  if (prediction.image) showThumbnail(thumb.firstElementChild, prediction);
  answer.replaceChildren(answers.badge(kind), element("small", {}, answers.versionOf(prediction.model)));
  score.replaceChildren();
  if (prediction.probability !== null) score.append(element("b", {}, answers.percent(prediction.probability)), answers.bar(prediction));
  if (kind === "blinded") score.append(element("a", {href: link.href}, "Give your verdict"));
  remarks.replaceChildren(...answers.remarks(prediction).map((text) => element("p", {}, text)));
  verdict.textContent = answers.verdict(prediction);
}

function showThumbnail(image, prediction) {
  if (image.getAttribute("src")) return;
  image.addEventListener("load", () => (image.hidden = false));
  image.src = api.picture(prediction.id, "thumbnail");
}

function sorted(list) {
  const key = {
    file: fileOf,
    answer: (entry) => ["working", ...answers.OUTCOMES].indexOf(outcomeOf(entry)),
    probability: (entry) => entry.prediction?.probability ?? -1,
  }[sorting.by];
  if (!key) return list;
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, {numeric: true}) : a - b);
  return list.toSorted((a, b) => (sorting.ascending ? 1 : -1) * compare(key(a), key(b)));
}

function sort(button) {
  const by = button.dataset.sort;
  const startsDown = by === "probability";
  sorting = {by, ascending: sorting.by === by ? !sorting.ascending : !startsDown};
  for (const header of document.querySelectorAll("th[aria-sort]")) {
    const isThis = header.contains(button);
    header.setAttribute("aria-sort", isThis ? (sorting.ascending ? "ascending" : "descending") : "none");
  }
  showAll();
}

function showExports() {
  const ids = entries.filter(isAnswer).map((entry) => `id=${entry.prediction.id}`).join("&");
  for (const format of ["csv", "json"]) {
    const link = find(`export-${format}`);
    if (ids) link.href = `/export/worklist.${format}?${ids}`;
    else link.removeAttribute("href");
  }
}

let lastSaid = "";
function showProgress() {
  const batches = [...new Set(entries.map((entry) => entry.job ?? entry.batch).filter(Boolean))];
  const open = batches.filter((job) => ["waiting", "working"].includes(job.state)).length;
  const done = batches.length - open;
  find("progress").hidden = open === 0;
  find("progress-bar").max = batches.length;
  find("progress-bar").value = done;
  find("progress-text").textContent = `${done} of ${batches.length} files answered`;
  const said = open ? `${done} of ${batches.length} files answered` : summary();
  if (batches.length && said !== lastSaid && (open === 0 || done % Math.ceil(batches.length / 5) === 0)) announce(said);
  lastSaid = said;
}

function summary() {
  const counts = Map.groupBy(entries, outcomeOf);
  const told = answers.OUTCOMES.filter((kind) => counts.has(kind)).map((kind) => `${counts.get(kind).length} ${answers.word(kind)}`);
  return `All answered: ${told.join(", ")}`;
}

function add(files) {
  if (files.length) uploads.add(files, {blinded: find("blinded").checked});
}

function clear() {
  uploads.stop();
  entries.splice(0);
  keep();
  showAll();
  find("files").focus();
}

function step(by) {
  const links = [...document.querySelectorAll("#rows a.file[href]")];
  const at = links.indexOf(document.activeElement);
  links[Math.max(0, Math.min(links.length - 1, at + by))]?.focus();
}

function toggleBlinded() {
  find("blinded").click();
  announce(`Blinded reading ${find("blinded").checked ? "on" : "off"}`);
}

async function restore() {
  const found = await Promise.allSettled(session.studies().map(({id}) => api.prediction(id)));
  entries.unshift(...found.filter((f) => f.value).map((f) => makeEntry({prediction: f.value})));
  const isUnsure = found.some(({reason}) => reason && reason.status !== 404);
  if (isUnsure) alarm("Some studies of this list cannot be looked up now. Load the page again later.");
  else keep();
  showAll();
}

function listenToFiles() {
  find("files").addEventListener("change", (event) => {
    add([...event.target.files]);
    event.target.value = ""; // so that the same file can be chosen again
  });
  let depth = 0; // dragenter and dragleave come for every element on the way
  const mark = (by) => {
    depth += by;
    document.body.classList.toggle("dropping", depth > 0);
  };
  addEventListener("dragenter", () => mark(1));
  addEventListener("dragleave", () => mark(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(-depth);
    add([...event.dataTransfer.files]);
  });
}

listenToFiles();
find("stop").addEventListener("click", () => uploads.stop());
find("clear").addEventListener("click", clear);
find("filters").addEventListener("click", (event) => {
  const button = event.target.closest("[data-filter]");
  if (!button) return;
  filter = button.dataset.filter;
  showAll();
});
for (const button of document.querySelectorAll("[data-sort]")) button.addEventListener("click", () => sort(button));
listen([
  {keys: ["j", "ArrowDown"], does: "Next image", run: () => step(1)},
  {keys: ["k", "ArrowUp"], does: "Previous image", run: () => step(-1)},
  {keys: ["u"], does: "Choose files", run: () => find("files").click()},
  {keys: ["b"], does: "Blinded reading on or off", run: toggleBlinded},
  {keys: ["c"], does: "Export the list as CSV", run: () => find("export-csv").click()},
]);
header.watch();
restore();
