// Streams that have ended: the history of the server, and the ends that were reported since.

import { history, Problem } from "../data/api.js";
import { isEnd } from "../data/model.js";
import { $, write } from "../parts/dom.js";
import { loss, moment, number } from "../parts/format.js";
import { Table, text } from "../parts/table.js";
import { applied, isFiltered, matcher } from "../parts/url.js";
import { eventText, eventTime, lifetimeText, LOSS_HINT, plainColumn, writeBadge, writeFlagged } from "./cells.js";

const MAX_ENDED = 1000;
const MAX_FOLLOWED = 5000;

export class Ended {
  #table;
  #history = [];
  // Ends since the history was read, the latest first.
  #news = [];
  #selection = null;
  #read = "";
  #current = new AbortController();

  constructor(context) {
    const reason = (event) => event.event === "expired" ? "expired" : eventText(event) || "unregistered";
    this.#table = new Table($("ended"), {
      label: "Ended streams",
      columns: [
        { name: "time", title: "Ended", fill: (parts, event) => text(parts, moment(eventTime(event))) },
        { name: "reason", title: "Reason",
          hint: "unregistered: ended by its publisher or an operator, who gave no reason; "
            + "expired: the time to live has passed without a heartbeat",
          fill: (parts, event) => writeBadge(parts, event.event === "expired" ? "error" : "closed", reason(event)) },
        plainColumn("id", "Stream", ({ stream }) => stream.id),
        plainColumn("type", "Type", ({ stream }) => stream.type),
        plainColumn("source", "Source", ({ stream }) => stream.source_addr),
        plainColumn("node", "Node", ({ stream }) => stream.node),
        { name: "age", title: "Lifetime", hint: "Time from the registration to the end",
          fill: (parts, event) => text(parts, lifetimeText(event)) },
        { name: "loss", title: "Avg. loss", hint: LOSS_HINT,
          fill: (parts, { stream }) => writeFlagged(parts, loss(stream)) },
      ],
      open: ({ stream, revision }) => context.select({ stream: stream.id, ended: revision }),
      released: () => this.#show(),
    });
  }

  // Shows the ended streams of a selection. Reads the history again if another part of it is needed.
  async select(selection) {
    this.#selection = selection;
    if (selection.view !== "ended") {
      this.#read = "";
      return;
    }
    const conditions = { limit: MAX_ENDED };
    if (selection.type) conditions.type = selection.type;
    if (selection.node !== null) conditions.node = selection.node;
    const read = JSON.stringify(conditions);
    if (read === this.#read) return this.#show();
    this.#read = read;
    this.#current.abort();
    const { signal } = this.#current = new AbortController();
    // Streams of the earlier selection can also match.
    this.#show();
    write($("ended-note"), "Reading the history …");
    const earlier = this.#news;
    try {
      this.#news = [];
      this.#history = await history(conditions, signal);
      this.#show();
    } catch (error) {
      if (signal.aborted) return;
      this.#read = "";
      this.#news.push(...earlier);
      write($("ended-note"), error instanceof Problem ? `Cannot read the history: ${error.message}.`
        : "Cannot read the history: the server does not respond.");
    }
  }

  add(events) {
    const ends = events.filter(isEnd);
    if (ends.length === 0 || this.#read === "") return;
    this.#news = [...ends.reverse(), ...this.#news].slice(0, MAX_FOLLOWED);
  }

  // Returns the end with a revision, if this view has read it.
  find(wanted) { return [...this.#news, ...this.#history].find(({ revision }) => revision === wanted); }

  // Reads the history again, because ends may be missing.
  reload() {
    this.#read = "";
    if (this.#selection !== null) this.select(this.#selection);
  }

  // Shows what has changed since the last call.
  update() {
    if (this.#selection?.view === "ended" && this.#read !== "" && !this.#table.isHeld) this.#show();
  }

  redraw() { this.#table.redraw(); }

  #show() {
    const known = new Set(this.#history.map(({ revision }) => revision));
    const all = [...this.#news.filter(({ revision }) => !known.has(revision)), ...this.#history];
    const selection = applied(this.#selection);
    const matches = matcher(selection);
    const found = all.filter(({ stream }) => matches(stream));
    this.#table.show(found);
    $("ended").hidden = found.length === 0;
    const limit = this.#history.length < MAX_ENDED ? "" : "; earlier ones were not read";
    write($("ended-note"), counted(found.length, isFiltered(selection)) + limit);
  }
}

function counted(count, isFiltered) {
  if (count === 0) return isFiltered ? "No ended streams match" : "No ended streams in the history";
  const streams = `${number(count)} ended ${count === 1 ? "stream" : "streams"}`;
  if (!isFiltered) return `${streams}, the latest first`;
  return `${streams} ${count === 1 ? "matches" : "match"}, the latest first`;
}
