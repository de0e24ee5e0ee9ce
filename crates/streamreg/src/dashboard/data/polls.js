// Polls what the change feed does not report: the statistics of the streams on the screen, and the totals.
//
// If the order depends on statistics, the records of all streams are read, too, one page per poll.

import { ask, Problem, records, summary } from "./api.js";

const POLL_MS = 2000;
const MAX_POLL_MS = 30000;
// After a failure, all open pages try again soon, but not all at the same moment.
const RETRY_MS = 2000;
// A poll pauses at least this many times as long as the server took to respond.
const PAUSE_FACTOR = 10;
const PAGE = 1000;

export class Polls {
  #model;
  #wanted;
  #report;
  #timer;
  #current = new AbortController();
  #cursor = null;

  // `wanted` returns what to read: `{ selection, by, ids, all }`. `report` is called with the answers, or with
  // `{ failure }`.
  constructor(model, wanted, report) {
    this.#model = model;
    this.#wanted = wanted;
    this.#report = report;
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.now(); });
  }

  // Polls at once, and then periodically while the tab is visible.
  async now() {
    clearTimeout(this.#timer);
    this.#current.abort();
    const { signal } = this.#current = new AbortController();
    const began = performance.now();
    const { selection, by, ids, all } = this.#wanted();
    try {
      const [totals, groups, streams] = await Promise.all([
        summary(selection, "status", signal),
        by && summary(selection, by, signal),
        records(ids, signal),
        all && this.#sweep(signal),
      ]);
      if (signal.aborted) return;
      for (const record of streams) this.#model.refresh(record);
      this.#report({ totals, groups, streams });
    } catch (failure) {
      if (signal.aborted) return;
      if (failure instanceof Problem && failure.code === "invalid_cursor") this.#cursor = null;
      this.#report({ failure });
      return this.#later(RETRY_MS * (0.5 + Math.random() / 2));
    }
    this.#later(Math.min(Math.max(POLL_MS, PAUSE_FACTOR * (performance.now() - began)), MAX_POLL_MS));
  }

  #later(pause) {
    if (!document.hidden) this.#timer = setTimeout(() => this.now(), pause);
  }

  // Reads the next page of all streams.
  async #sweep(signal) {
    const query = new URLSearchParams({ sort: "id", limit: PAGE });
    if (this.#cursor) query.set("cursor", this.#cursor);
    const body = await ask(`api/v1/streams?${query}`, signal);
    for (const record of body.streams) this.#model.refresh(record);
    this.#cursor = body.next_cursor;
  }
}
