// The details of one stream: every field, charts of the last minutes, and recent events.

import { curl, history, Problem, record } from "../data/api.js";
import { MINUTES } from "../data/rings.js";
import { draw } from "../parts/chart.js";
import { copy } from "../parts/copy.js";
import { $, make, mark, statusClass, write } from "../parts/dom.js";
import { bitrate, dateAndClock, moment, number, orUnset, plain, span, time, UNSET } from "../parts/format.js";
import { Actions } from "./actions.js";
import { eventText, eventTime, lifetimeText } from "./cells.js";

const MAX_HISTORY = 20;
const POLL_MS = 2000;
const NAMES = {
  type: "Type", source_addr: "Source", node: "Node", created_at: "Registered", last_heartbeat: "Last heartbeat",
  video_codec: "Video codec", resolution: "Resolution", frame_rate: "Frame rate", audio_codec: "Audio codec",
  bitrate: "Bitrate", bytes_received: "Bytes received", packets_received: "Packets received",
  packets_lost: "Packets lost", packets_retransmitted: "Packets retransmitted", packets_dropped: "Packets dropped",
  rtt_ms: "Round-trip time", jitter_ms: "Jitter", viewers: "Viewers", epoch: "Lease epoch", end_reason: "End reason",
};
const UNITS = { frame_rate: "fps", rtt_ms: "ms", jitter_ms: "ms", bitrate: "bit/s" };
// Large numbers are strings of digits, see `exact`.
const NUMBERS = [
  "bitrate", "bytes_received", "packets_received", "packets_lost", "packets_retransmitted", "packets_dropped", "viewers",
];
const TIMES = ["created_at", "last_heartbeat"];
const SHOWN_ELSEWHERE = ["id", "status", "labels"];
const CHARTS = [
  ["bitrate", "Bitrate", (value) => bitrate(value).join(" ")],
  ["loss", "Current loss", (value) => `${value.toFixed(2)} %`],
  ["delay", "RTT or jitter", (value) => `${value.toFixed(1)} ms`],
];

export class Drawer {
  #context;
  #id = null;
  #history = [];
  #fields = new Map();
  #actions;
  #current = new AbortController();
  #timer;

  constructor(context) {
    this.#context = context;
    this.#actions = new Actions(context, () => this.#poll());
    $("drawer-close").addEventListener("click", () => context.select({ stream: null }));
    $("copy-json").addEventListener("click", () => copy($("copy-json"), $("json")));
    $("copy-curl").addEventListener("click", () => copy($("copy-curl"), $("curl-one")));
    $("labels").addEventListener("click", (event) => {
      const label = event.target.closest("button")?.value;
      if (label) context.select({ label, view: "streams", stream: null });
    });
  }

  // Opens, changes or closes the details.
  select({ stream }) {
    if (stream === this.#id) return;
    const wasOpen = this.#id !== null;
    this.#id = stream;
    this.#current.abort();
    clearTimeout(this.#timer);
    $("drawer").hidden = stream === null;
    document.body.classList.toggle("with-drawer", stream !== null);
    if (stream === null) return this.#context.closed();
    this.#history = [];
    this.#fields.clear();
    for (const id of ["fields", "labels", "stream-events"]) $(id).replaceChildren();
    $("labels").dataset.shown = "";
    write($("drawer-title"), plain(stream));
    write($("json"), "");
    write($("curl-one"), curl(stream));
    this.#showStatus("", "loading");
    this.#actions.close();
    this.#context.log.follow(stream);
    this.redraw();
    this.#poll();
    this.#readHistory();
    if (!wasOpen && document.activeElement !== document.body) $("drawer-close").focus();
  }

  // Shows events that have arrived.
  add(events) {
    if (this.#id === null || !events.some(({ stream }) => stream.id === this.#id)) return;
    this.#events();
    this.#poll();
  }

  async #poll() {
    clearTimeout(this.#timer);
    if (this.#id === null) return;
    this.#current.abort();
    const { signal } = this.#current = new AbortController();
    try {
      const { json, fields } = await record(this.#id, signal);
      this.#context.rings.push({ ...fields });
      this.#show(fields, json);
      this.#actions.show(fields);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.code === "not_found") this.#ended();
      else if (this.#fields.size === 0) this.#showStatus("", "cannot be read now");
    }
    const pause = document.hidden ? 15 * POLL_MS : POLL_MS;
    this.#timer = setTimeout(() => this.#poll(), pause);
  }

  async #readHistory() {
    const id = this.#id;
    try {
      const events = await history({ id, limit: MAX_HISTORY }, AbortSignal.timeout(35000));
      if (id !== this.#id) return;
      this.#history = events;
      this.#events();
    } catch {
      if (id === this.#id) write($("stream-events-note"), "The history cannot be read now.");
    }
  }

  // Shows the last known record of a stream that is not live.
  #ended() {
    this.#actions.close();
    const last = this.#context.log.ofStream().concat(this.#history).find(({ as_of }) => as_of)?.stream;
    if (last) this.#show(last, JSON.stringify(last));
    this.#showStatus("closed", "not live");
  }

  #showStatus(status, label) {
    write($("drawer-status"), label);
    mark($("drawer-status"), "class", statusClass("badge", status));
  }

  #show(fields, json) {
    this.#showStatus(fields.status, orUnset(fields.status));
    write($("json"), json);
    const names = Object.keys(NAMES).filter((name) => Object.hasOwn(fields, name))
      .concat(Object.keys(fields).filter((name) => !Object.hasOwn(NAMES, name) && !SHOWN_ELSEWHERE.includes(name)));
    for (const [name, parts] of this.#fields) {
      if (!names.includes(name)) { parts.row.remove(); this.#fields.delete(name); }
    }
    for (const name of names) {
      let parts = this.#fields.get(name);
      if (!parts) {
        parts = { row: make("div"), value: make("dd") };
        parts.row.append(make("dt", {}, Object.hasOwn(NAMES, name) ? NAMES[name] : plain(name)), parts.value);
        $("fields").append(parts.row);
        this.#fields.set(name, parts);
      }
      write(parts.value, this.#value(name, fields[name]));
    }
    const labels = Object.entries(fields.labels ?? {});
    const shown = JSON.stringify(labels);
    if ($("labels").dataset.shown === shown) return;
    $("labels").dataset.shown = shown;
    $("labels").replaceChildren(...labels.map(([name, value]) =>
      make("button", { type: "button", value: `${name}=${value}`, title: "Show all streams with this label" },
        `${plain(name)}=${plain(value)}`)));
  }

  #value(name, value) {
    if (TIMES.includes(name)) {
      const at = time(value);
      return Number.isFinite(at) ? `${dateAndClock(at)} (${span(this.#context.now() - at)} ago)` : UNSET;
    }
    if (typeof value === "number" || NUMBERS.includes(name)) {
      return `${number(value)}${Object.hasOwn(UNITS, name) ? ` ${UNITS[name]}` : ""}`;
    }
    return orUnset(typeof value === "string" ? value : JSON.stringify(value));
  }

  // Draws the charts of what this page has polled.
  redraw() {
    if (this.#id === null) return;
    const rings = this.#context.rings.get(this.#id);
    for (const [name, title, format] of CHARTS) {
      const range = draw($(`chart-${name}`), rings?.[name], { fill: true });
      const text = range ? `${format(range.latest)} (${format(range.lowest)} to ${format(range.highest)})` : UNSET;
      write($(`chart-${name}-text`), text);
      mark($(`chart-${name}`), "aria-label", `${title} of the last ${MINUTES} minutes: ${text}`);
    }
  }

  #events() {
    const fresh = this.#context.log.ofStream();
    const known = new Set(fresh.map(({ revision }) => revision));
    const all = [...fresh, ...this.#history.filter(({ revision }) => !known.has(revision))];
    $("stream-events").replaceChildren(...all.map((event) => {
      const name = event.event.replace("_", " ");
      const life = event.as_of ? `, after ${lifetimeText(event)}` : "";
      const detail = eventText(event);
      return make("li", {}, make("time", {}, moment(eventTime(event))), ` ${name}${life}`,
        detail ? make("span", { class: "detail" }, detail) : "");
    }));
    write($("stream-events-note"), all.length > 0 ? "" : "No events since this page was opened, and no earlier end.");
  }
}
