// Cells that several tables have.

import { make, statusClass, write } from "../parts/dom.js";
import { bitrate, orUnset, plain, span } from "../parts/format.js";
import { text } from "../parts/table.js";

// Tooltips of headers that several tables have.
export const LOSS_HINT = "Packets lost since the stream began, as a share of all its packets";

// Returns a column that shows a string.
export function plainColumn(name, title, get, sort) {
  const fill = (parts, item) => {
    const value = orUnset(get(item));
    text(parts, value, value);
  };
  return { name, title, sort, fill };
}

// Writes a bit rate, with its unit in a column of its own.
export function bitrateParts(parts) {
  parts.rate = make("span");
  parts.unit = make("span", { class: "unit" });
  parts.text.append(parts.rate, " ", parts.unit);
}

export function writeBitrate(parts, bits) {
  const [rate, unit] = bitrate(bits);
  write(parts.rate, rate);
  write(parts.unit, unit);
}

// Writes a value that is emphasised if it is high.
export function writeFlagged(parts, [value, isHigh]) {
  text(parts, value);
  parts.text.classList.toggle("high", isHigh);
}

export function writeBadge(parts, kind, label) {
  text(parts, label);
  parts.text.className = statusClass("badge", kind);
}

// Returns when an event happened. The record of a change was written at that moment.
export const eventTime = ({ as_of, stream }) => as_of ?? stream.last_heartbeat;

// Returns what an event says apart from its stream.
export function eventText({ event, reason, stream }) {
  if (event === "unregistered") return plain(reason ?? stream.end_reason ?? "");
  if (event === "status" || event === "registered" || event === "taken_over") return plain(stream.status ?? "");
  return "";
}

// Returns how long an ended stream lived, in milliseconds, or NaN.
function lifetime({ duration_ms, as_of, stream }) {
  return duration_ms ?? Date.parse(as_of) - Date.parse(stream.created_at);
}

export const lifetimeText = (event) => Number.isFinite(lifetime(event)) ? span(lifetime(event)) : orUnset("");
