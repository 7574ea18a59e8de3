// Sends files to the API, a few at a time. Each file is a request of its own, so that one bad file spoils no other.

import * as api from "./api.js";

const AT_ONCE = 3;
const PATIENCE = 20; // times that a busy server is asked again
const BUSY = [429, 503];

export class Uploads {
  // `changed(job)` is told whenever a job's state changes: waiting, working, done (with predictions) or failed (why).
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
    for (const job of this.waiting.splice(0)) this.#turn(job, "failed", {why: "Stopped before it was sent."});
  }

  #next() {
    while (this.working < AT_ONCE && this.waiting.length) this.#send(this.waiting.shift(), this.stopping.signal);
  }

  async #send(job, signal) {
    this.working += 1;
    this.#turn(job, "working");
    try {
      const {predictions} = await this.#ask(job, signal);
      this.#turn(job, "done", {predictions});
    } catch (problem) {
      this.#turn(job, "failed", {why: signal.aborted ? "Stopped." : reason(problem)});
    }
    this.working -= 1;
    this.#next();
  }

  async #ask(job, signal) {
    for (let asked = 1; ; asked += 1) {
      try {
        return await api.predict(job.file, {blinded: job.blinded, signal});
      } catch (problem) {
        if (!BUSY.includes(problem.status) || asked === PATIENCE) throw problem;
        await pause(1000 * (problem.retryAfter || 1), signal);
      }
    }
  }

  #turn(job, state, more = {}) {
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

const reason = (problem) =>
  problem instanceof api.Problem ? problem.message : "The server cannot be reached, or the file cannot be read any more.";
