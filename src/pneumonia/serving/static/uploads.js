// Uploads files, a few at a time. Each file is a separate request, so that an unusable file does not affect others.

import * as api from "./api.js";

const CONCURRENT = 3;
const MAXIMUM_ATTEMPTS = 20;
const RETRY_STATUSES = [429, 503];

export class Uploads {
  // `changed(job)` is called when the state of a job changes: waiting, working, done (predictions) or failed (reason).
  constructor(changed) {
    this.changed = changed;
    this.waiting = [];
    this.working = 0;
    this.stopping = new AbortController();
  }

  add(files, {blinded}) {
    const jobs = [...files].map((file) => ({file, blinded, state: "waiting"}));
    this.waiting.push(...jobs);
    jobs.forEach(this.changed);
    this.#next();
  }

  stop() {
    this.stopping.abort();
    this.stopping = new AbortController();
    for (const job of this.waiting.splice(0)) this.#setState(job, "failed", {reason: "Upload canceled."});
  }

  #next() {
    while (this.working < CONCURRENT && this.waiting.length) this.#send(this.waiting.shift(), this.stopping.signal);
  }

  async #send(job, signal) {
    this.working += 1;
    this.#setState(job, "working");
    try {
      const {predictions} = await this.#predict(job, signal);
      this.#setState(job, "done", {predictions});
    } catch (problem) {
      this.#setState(job, "failed", {reason: signal.aborted ? "Upload canceled." : describe(problem)});
    }
    this.working -= 1;
    this.#next();
  }

  async #predict(job, signal) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await api.predict(job.file, {blinded: job.blinded, signal});
      } catch (problem) {
        if (!RETRY_STATUSES.includes(problem.status) || attempt === MAXIMUM_ATTEMPTS) throw problem;
        await pause(1000 * (problem.retryAfter || 1), signal);
      }
    }
  }

  #setState(job, state, more = {}) {
    Object.assign(job, more, {state});
    this.changed(job);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", reject, {once: true});
    setTimeout(resolve, milliseconds);
  });
}

const describe = (problem) =>
  problem instanceof api.Problem ? problem.message : "The server cannot be reached, or the file cannot be read.";
