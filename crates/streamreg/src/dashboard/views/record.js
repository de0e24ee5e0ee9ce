// One record in the details: its fields and its labels.

import { make, write } from "../parts/dom.js";
import { dateAndClock, loss, number, orUnset, plain, span, time, UNSET } from "../parts/format.js";
import { eventText, lifetimeText } from "./cells.js";

const NAMES = {
  type: "Type", source_addr: "Source", node: "Node", created_at: "Registered", last_heartbeat: "Last heartbeat",
  video_codec: "Video codec", resolution: "Resolution", frame_rate: "Frame rate", audio_codec: "Audio codec",
  bitrate: "Bitrate", bytes_received: "Bytes received", packets_received: "Packets received",
  packets_lost: "Packets lost", packets_retransmitted: "Packets retransmitted", packets_dropped: "Packets dropped",
  rtt_ms: "Round-trip time", jitter_ms: "Jitter", viewers: "Viewers", epoch: "Lease epoch",
};
const UNITS = { frame_rate: " fps", rtt_ms: " ms", jitter_ms: " ms", bitrate: " bit/s" };
const TIMES = ["created_at", "last_heartbeat"];
const SHOWN_ELSEWHERE = ["id", "status", "labels", "end_reason"];

// Returns the value of a field. `now` is the time of the server for which ages are computed, or null for no ages.
function valueText(name, value, now) {
  if (TIMES.includes(name)) {
    const at = time(value);
    if (!Number.isFinite(at)) return UNSET;
    return dateAndClock(at) + (now === null ? "" : ` (${span(now - at)} ago)`);
  }
  if (typeof value === "number" || value instanceof Number) {
    return number(value) + (Object.hasOwn(UNITS, name) ? UNITS[name] : "");
  }
  return orUnset(typeof value === "string" ? value : JSON.stringify(value));
}

function endLines(end) {
  const reason = end.event === "expired" ? "expired: the time to live has passed without a heartbeat"
    : eventText(end) || "none given";
  return [
    ["Ended", end.as_of ? dateAndClock(time(end.as_of)) : "unknown"],
    ["Reason", reason],
    ["Lifetime", lifetimeText(end)],
  ];
}

// Shows the fields of a record. `end` is the event of its end, or null.
export function showFields(list, record, now, end) {
  const names = Object.keys(NAMES).filter((name) => Object.hasOwn(record, name))
    .concat(Object.keys(record).filter((name) => !Object.hasOwn(NAMES, name) && !SHOWN_ELSEWHERE.includes(name)));
  const lines = [
    ...end ? endLines(end) : [],
    ["Average loss", loss(record)[0]],
    ...names.map((name) =>
      [Object.hasOwn(NAMES, name) ? NAMES[name] : plain(name), valueText(name, record[name], end ? null : now)]),
  ];
  while (list.children.length > lines.length) list.lastElementChild.remove();
  while (list.children.length < lines.length) list.append(make("div", {}, make("dt"), make("dd")));
  for (const [at, line] of lines.entries()) line.forEach((text, part) => write(list.children[at].children[part], text));
}

// Shows the labels as buttons whose values are the filters for them.
export function showLabels(box, labels) {
  const entries = Object.entries(labels ?? {});
  const shown = JSON.stringify(entries);
  if (box.dataset.shown === shown) return;
  box.dataset.shown = shown;
  box.replaceChildren(...entries.map(([name, value]) =>
    make("button", { type: "button", value: `${name}=${value}`, title: "Show all streams with this label" },
      `${plain(name)}=${plain(value)}`)));
}
