// Worklist page: uploads, one row per image, and links to the studies.

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
  if (job.state === "done") finish(job);
  showAll();
  if (job.state === "done") header.refresh();
});

function makeEntry(content) {
  return {...content, row: find("row").content.firstElementChild.cloneNode(true)};
}

// Replaces an uploaded file by its images; a ZIP archive has several.
function finish(job) {
  const index = entries.findIndex((entry) => entry.job === job);
  if (index < 0) return; // the list has been cleared
  const made = job.predictions.map((prediction) => makeEntry({prediction, batch: job}));
  entries.splice(index, 1, ...made);
  keep();
}

const keep = () => session.keep(entries.filter(hasResult).map((entry) => ({id: entry.prediction.id, file: fileName(entry)})));
const hasResult = (entry) => Boolean(entry.prediction);
const fileName = (entry) => (hasResult(entry) ? session.nameOf(entry.prediction) : entry.job.file.name);

function outcomeOf(entry) {
  if (hasResult(entry)) return answers.outcome(entry.prediction);
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
      const text = kind === "all" ? "All" : answers.label(kind);
      const pressed = String(kind === filter);
      return element("button", {type: "button", "data-filter": kind, "aria-pressed": pressed}, text, element("b", {}, count));
    }),
  );
  find("filters").querySelector(`[data-filter="${focused}"]`)?.focus();
}

function showRow(entry) {
  const [thumb, image, result, score, notes, assessment] = entry.row.cells;
  const {prediction, job} = entry;
  const kind = outcomeOf(entry);
  entry.row.className = kind.toLowerCase();
  const link = image.querySelector(".file");
  link.textContent = fileName(entry);
  if (!hasResult(entry)) {
    const texts = {waiting: "Waiting", working: "Processing…", failed: null, done: null};
    result.replaceChildren(job.state === "failed" ? answers.badge(kind) : element("span", {class: "muted"}, texts[job.state]));
    notes.textContent = job.reason ?? "";
    entry.row.setAttribute("aria-busy", String(job.state !== "failed"));
    return;
  }
  link.href = `/studies/${prediction.id}`;
  image.querySelector(".details").textContent = answers.imageDetails(prediction);
  if (prediction.image) showThumbnail(thumb.firstElementChild, prediction);
  result.replaceChildren(answers.badge(kind), element("small", {}, answers.formatVersion(prediction.model)));
  score.replaceChildren();
  if (prediction.probability !== null) score.append(element("b", {}, answers.percent(prediction.probability)), answers.bar(prediction));
  if (kind === "blinded") score.append(element("a", {href: link.href}, "Enter your assessment"));
  notes.replaceChildren(...answers.notes(prediction).map((text) => element("p", {}, text)));
  assessment.textContent = answers.assessment(prediction);
}

function showThumbnail(image, prediction) {
  if (image.getAttribute("src")) return;
  image.addEventListener("load", () => (image.hidden = false));
  image.src = api.imageUrl(prediction.id, "thumbnail");
}

function sorted(list) {
  const key = {
    file: fileName,
    answer: (entry) => ["working", ...answers.OUTCOMES].indexOf(outcomeOf(entry)),
    probability: (entry) => entry.prediction?.probability ?? -1,
  }[sorting.by];
  if (!key) return list;
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, {numeric: true}) : a - b);
  return list.toSorted((a, b) => (sorting.ascending ? 1 : -1) * compare(key(a), key(b)));
}

function sort(button) {
  const by = button.dataset.sort;
  const isDescendingFirst = by === "probability";
  sorting = {by, ascending: sorting.by === by ? !sorting.ascending : !isDescendingFirst};
  for (const header of document.querySelectorAll("th[aria-sort]")) {
    const isThis = header.contains(button);
    header.setAttribute("aria-sort", isThis ? (sorting.ascending ? "ascending" : "descending") : "none");
  }
  showAll();
}

function showExports() {
  const ids = entries.filter(hasResult).map((entry) => `id=${entry.prediction.id}`).join("&");
  for (const format of ["csv", "json"]) {
    const link = find(`export-${format}`);
    if (ids) link.href = `/export/worklist.${format}?${ids}`;
    else link.removeAttribute("href");
  }
}

let lastAnnounced = "";
function showProgress() {
  const batches = [...new Set(entries.map((entry) => entry.job ?? entry.batch).filter(Boolean))];
  const open = batches.filter((job) => ["waiting", "working"].includes(job.state)).length;
  const done = batches.length - open;
  find("progress").hidden = open === 0;
  find("progress-bar").max = batches.length;
  find("progress-bar").value = done;
  find("progress-text").textContent = `${done} of ${batches.length} files analyzed`;
  const status = open ? `${done} of ${batches.length} files analyzed` : summary();
  if (batches.length && status !== lastAnnounced && (open === 0 || done % Math.ceil(batches.length / 5) === 0)) announce(status);
  lastAnnounced = status;
}

function summary() {
  const counts = Map.groupBy(entries, outcomeOf);
  const results = answers.OUTCOMES.filter((kind) => counts.has(kind)).map((kind) => `${counts.get(kind).length} ${answers.label(kind)}`);
  return `Analysis complete: ${results.join(", ")}`;
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
  const index = links.indexOf(document.activeElement);
  links[Math.max(0, Math.min(links.length - 1, index + by))]?.focus();
}

function toggleBlinded() {
  find("blinded").click();
  announce(`Blinded reading ${find("blinded").checked ? "on" : "off"}`);
}

async function restore() {
  const loaded = await Promise.allSettled(session.studies().map(({id}) => api.prediction(id)));
  entries.unshift(...loaded.filter(({value}) => value).map(({value}) => makeEntry({prediction: value})));
  const hasErrors = loaded.some(({reason}) => reason && reason.status !== 404);
  if (hasErrors) alarm("Some studies could not be loaded. Reload the page later.");
  else keep();
  showAll();
}

function listenToFiles() {
  find("files").addEventListener("change", (event) => {
    add([...event.target.files]);
    event.target.value = ""; // allows the same file to be selected again
  });
  let depth = 0; // dragenter and dragleave are sent for every element under the pointer
  const changeDepth = (by) => {
    depth += by;
    document.body.classList.toggle("dropping", depth > 0);
  };
  addEventListener("dragenter", () => changeDepth(1));
  addEventListener("dragleave", () => changeDepth(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    changeDepth(-depth);
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
  {keys: ["c"], does: "Export worklist as CSV", run: () => find("export-csv").click()},
]);
header.watch();
restore();
