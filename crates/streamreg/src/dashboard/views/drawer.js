// The details of one stream: every field, charts of the last minutes, and recent events. They show the live stream, or
// one run of it that has ended.

import { curl, history, Problem, record, serverNow, toLocal } from "../data/api.js";
import { isEnd } from "../data/model.js";
import { copy } from "../parts/copy.js";
import { $, make, mark, statusClass, write } from "../parts/dom.js";
import { clock, moment, orUnset, plain, time } from "../parts/format.js";
import { Actions } from "./actions.js";
import { eventText, eventTime, lifetimeText } from "./cells.js";
import { drawCharts } from "./charts.js";
import { gapText, kindOf } from "./kinds.js";
import { showFields, showLabels } from "./record.js";

const MAX_HISTORY = 100;
const POLL_MS = 2000;
const HISTORY_MS = 35000;
// The data is old if no poll has succeeded for this time.
const OLD_MS = 6000;
const UNREAD = "The stream cannot be read, because the server or its store does not answer. The page tries again.";

export class Drawer {
  #context;
  #id = null;
  // The revision of the end whose run is shown, or null for the live stream.
  #revision = null;
  // The live record: null if the stream is not live, and undefined before the first response.
  #live;
  // The runs of the live stream that were shown, by the time of their registration.
  #runs = new Set();
  // When the live record was read, and whether a later attempt has failed.
  #read = { local: 0, server: 0 };
  #isFailing = false;
  // The ends of streams with this id: undefined until they are read, and null if they cannot be read.
  #history;
  #opener = null;
  #actions;
  #current = new AbortController();
  #timer;

  constructor(context) {
    this.#context = context;
    this.#actions = new Actions(context, () => this.#poll());
    $("drawer-close").addEventListener("click", () => context.select({ stream: null }));
    $("show-live").addEventListener("click", () => {
      context.select({ stream: this.#id });
      // The button disappears.
      $("drawer-close").focus();
    });
    $("copy-json").addEventListener("click", () => copy($("copy-json"), $("json")));
    $("copy-curl").addEventListener("click", () => copy($("copy-curl"), $("curl-one")));
    $("labels").addEventListener("click", (event) => {
      const label = event.target.closest("button")?.value;
      if (label) context.select({ label, view: "streams", stream: null });
    });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.#poll(); });
  }

  // Opens, changes or closes the details.
  select({ stream, ended }) {
    if (stream === this.#id && (stream === null || ended === this.#revision)) return;
    const wasOpen = this.#id !== null;
    if (!wasOpen) this.#opener = document.activeElement;
    [this.#id, this.#revision] = [stream, ended];
    this.#current.abort();
    clearTimeout(this.#timer);
    $("drawer").hidden = stream === null;
    $("drawer").scrollTop = 0;
    document.body.classList.toggle("with-drawer", stream !== null);
    if (stream === null) return this.#context.closed(this.#opener);
    [this.#live, this.#history, this.#isFailing] = [undefined, undefined, false];
    this.#runs.clear();
    for (const id of ["fields", "labels", "stream-events"]) $(id).replaceChildren();
    $("labels").dataset.shown = "";
    write($("drawer-title"), plain(stream));
    write($("json"), "");
    this.#context.log.follow(stream);
    this.#show();
    this.#showEvents();
    this.#poll();
    this.#readHistory();
    if (!wasOpen && document.activeElement !== document.body) $("drawer-close").focus();
  }

  // Shows events that have arrived.
  add(events) {
    const mine = events.filter(({ stream }) => stream.id === this.#id);
    if (mine.length === 0) return;
    this.#stay();
    this.#poll();
    if (mine.some(isEnd)) this.#readHistory(); else this.#showEvents();
  }

  // Reads the ends that a gap between the events may hide.
  reload() {
    if (this.#id !== null) this.#readHistory();
  }

  // Stays at a run that was shown live and has ended, even if the stream registers again.
  #stay() {
    if (this.#revision !== null) return;
    const end = this.#ends().find(({ stream }) => this.#runs.has(stream.created_at));
    if (!end) return;
    this.#revision = end.revision;
    if (this.#live?.created_at === end.stream.created_at) this.#live = null;
    this.#context.select({ stream: this.#id, ended: end.revision }, "replace");
    this.#show();
  }

  async #poll() {
    clearTimeout(this.#timer);
    if (this.#id === null) return;
    this.#current.abort();
    const { signal } = this.#current = new AbortController();
    const wasFailing = this.#isFailing;
    try {
      this.#live = await record(this.#id, signal);
      this.#read = { local: Date.now(), server: serverNow() };
      this.#isFailing = false;
      this.#runs.add(this.#live.created_at);
      this.#context.rings.push(this.#live);
    } catch (error) {
      if (signal.aborted) return;
      this.#isFailing = !(error instanceof Problem && error.code === "not_found");
      if (!this.#isFailing) this.#live = null;
      else if (this.#live === undefined && this.#revision === null) this.#useLastKnown();
    }
    this.#show();
    if (wasFailing && !this.#isFailing && this.#history === null) this.#readHistory();
    const pause = document.hidden ? 15 * POLL_MS : POLL_MS;
    this.#timer = setTimeout(() => this.#poll(), pause);
  }

  // Shows what the table knows about the stream, because the server does not answer.
  #useLastKnown() {
    const entry = this.#context.find(this.#id);
    if (!entry) return;
    this.#live = entry.record;
    this.#read = { local: toLocal(entry.at), server: entry.at };
    this.#runs.add(entry.record.created_at);
  }

  async #readHistory() {
    const id = this.#id;
    try {
      const ends = await history({ id, limit: MAX_HISTORY }, AbortSignal.timeout(HISTORY_MS));
      if (id !== this.#id) return;
      this.#history = ends;
      this.#stay();
    } catch {
      if (id !== this.#id) return;
      this.#history ??= null;
    }
    this.#show();
    this.#showEvents();
  }

  // Returns the known ends of streams with this id. The numbers of the history are exact.
  #ends() { return [...this.#history ?? [], ...this.#context.log.ofStream().filter(isEnd)]; }

  // Returns the end of the run that is shown, or null for the live stream.
  #end() {
    const ends = this.#ends();
    if (this.#revision !== null) {
      const found = ends.find(({ revision }) => revision === this.#revision) ?? this.#context.findEnd(this.#revision);
      return found?.stream.id === this.#id ? found : null;
    }
    if (this.#live !== null) return null;
    const at = (end) => time(eventTime(end)) || 0;
    return ends.reduce((latest, end) => latest === null || at(end) > at(latest) ? end : latest, null);
  }

  // Returns the record that is shown, or nothing if none is known.
  #shown(end) { return end ? end.stream : this.#revision === null ? this.#live : null; }

  // Shows what is known: a run that has ended, or the live stream.
  #show() {
    const end = this.#end();
    const isLive = !end && this.#revision === null && Boolean(this.#live);
    const [colour, label, note] = this.#state(end, isLive);
    write($("drawer-status"), label);
    mark($("drawer-status"), "class", statusClass("badge", colour));
    $("drawer-note").hidden = note === "";
    write($("drawer-note-text"), note);
    $("show-live").hidden = this.#revision === null || !this.#live;
    if (isLive) this.#actions.show(this.#live); else this.#actions.close();
    const shown = this.#shown(end);
    for (const id of ["charts", "json-box"]) $(id).hidden = !shown;
    if (shown) {
      showFields($("fields"), shown, this.#read.server, end);
      showLabels($("labels"), shown.labels);
      write($("json"), JSON.stringify(shown, null, 2));
    }
    write($("curl-one"), curl(this.#id, end !== null));
    this.redraw();
  }

  // Returns the colour and the label of the badge, and a note about what is shown.
  #state(end, isLive) {
    if (end) {
      const { colour, name } = kindOf(end);
      const when = end.as_of ? `This run ended at ${moment(end.as_of)}.`
        : "This run has ended; its last record is unknown.";
      if (this.#live === undefined) return [colour, name, when];
      return [colour, name, `${when} ${this.#live ? "A" : "No"} stream with this id is live now.`];
    }
    if (isLive) return [this.#live.status, orUnset(this.#live.status), ""];
    if (this.#revision === null && this.#live === undefined) {
      return this.#isFailing ? ["", "unknown", UNREAD] : ["", "loading", ""];
    }
    if (this.#history === undefined) return ["", "loading", "Reading the history …"];
    if (this.#history === null) return ["", "unknown", "The stream is not live, and the history cannot be read now."];
    return ["", "unknown", this.#revision === null
      ? "No stream with this id is live, and no end of one is in the history. Check the id, or use the search."
      : "This run is not in the history: the server no longer keeps it, or the link is wrong."];
  }

  // Draws the charts of what this page has polled, and says whether the data is old.
  redraw() {
    if (this.#id === null) return;
    const end = this.#end();
    const shown = this.#shown(end);
    drawCharts(shown && this.#context.rings.of(shown), end);
    const isOld = this.#isFailing || Date.now() - this.#read.local > OLD_MS;
    $("as-of").hidden = end !== null || !this.#live || !isOld;
    write($("as-of"), `data as of ${clock(this.#read.local)}`);
  }

  #showEvents() {
    const fresh = this.#context.log.ofStream();
    const known = new Set(fresh.map(({ revision }) => revision));
    const all = [...fresh, ...(this.#history ?? []).filter(({ revision }) => !known.has(revision))];
    const at = (entry) => entry.gap?.to ?? (time(eventTime(entry)) || 0);
    all.sort((one, other) => at(other) - at(one));
    $("stream-events").replaceChildren(...all.map(eventLine));
    const since = `since ${clock(this.#context.log.since)}, when this page was opened`;
    const earlier = this.#history === undefined ? "Reading earlier ends …" : "Earlier ends cannot be read now.";
    write($("stream-events-note"), !this.#history ? `Changes ${since}. ${earlier}`
      : all.length > 0 ? `Changes ${since}, and earlier ends.`
      : `No changes ${since}, and no earlier ends. The page does not search for older changes.`);
  }
}

function eventLine(entry) {
  if (entry.gap) return make("li", { class: "gap" }, gapText(entry));
  const { name, meaning } = kindOf(entry);
  const text = eventText(entry);
  const [more, detail] = entry.event === "status" ? [` to ${text}`, ""]
    : [entry.as_of ? `, after ${lifetimeText(entry)}` : "", text];
  return make("li", { title: meaning }, make("time", {}, moment(eventTime(entry))), ` ${name}${more}`,
    detail ? make("span", { class: "detail" }, detail) : "");
}
