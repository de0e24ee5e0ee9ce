// The table of streams.

import { $, statusClass, write } from "./dom.js";
import { bitrate, heartbeat, loss, orUnset } from "./format.js";

const COLUMNS = [
  ["id", "Stream"], ["type", "Type"], ["status", "Status"], ["source", "Source"], ["node", "Node"], ["video", "Video"],
  ["bitrate", "Bitrate"], ["loss", "Loss"], ["heartbeat", "Heartbeat"],
];
const NUMBERS = new Set(["bitrate", "loss", "heartbeat"]);
// Values that are longer than this are also shown as a tooltip, because the cell truncates them.
const LONG = 24;
// The rows of the page, by id.
const rows = new Map();

function build() {
  const row = document.createElement("tr");
  row.setAttribute("role", "row");
  const parts = { row };
  for (const [name, title] of COLUMNS) {
    const cell = document.createElement(name === "id" ? "th" : "td");
    cell.setAttribute("role", name === "id" ? "rowheader" : "cell");
    cell.className = NUMBERS.has(name) ? `number ${name}` : name;
    cell.dataset.name = title;
    const text = document.createElement("div");
    cell.append(text);
    row.append(cell);
    parts[name] = text;
  }
  parts.rate = document.createElement("span");
  parts.unit = document.createElement("span");
  parts.unit.className = "unit";
  parts.bitrate.append(parts.rate, " ", parts.unit);
  return parts;
}

function fill(parts, stream, now, ttl) {
  const text = (name, value) => {
    const shown = orUnset(value);
    write(parts[name], shown);
    if (shown.length > LONG) parts[name].title = shown; else parts[name].removeAttribute("title");
  };
  text("id", stream.id);
  text("type", stream.type);
  text("status", stream.status);
  text("source", stream.source_addr);
  text("node", stream.node);
  text("video", [stream.video_codec, stream.resolution].filter(Boolean).join(" "));
  parts.status.className = statusClass("badge", stream.status);
  const [rate, unit] = bitrate(Number(stream.bitrate));
  write(parts.rate, rate);
  write(parts.unit, unit);
  for (const [name, [value, high]] of [["loss", loss(stream)], ["heartbeat", heartbeat(stream, now, ttl)]]) {
    write(parts[name], value);
    parts[name].classList.toggle("high", high);
  }
}

// Returns whether the user points at a row or has selected text in one.
function isInUse() {
  const selected = getSelection();
  return $("rows").matches(":hover") || !selected.isCollapsed && $("rows").contains(selected.anchorNode);
}

// Shows the streams in their order. During an update of the same selection, rows in use keep their places. Otherwise,
// rows sorted by bit rate would move away from the pointer every few seconds.
export function show(streams, now, ttl, isUpdate) {
  if (isUpdate && isInUse()) {
    const places = new Map([...rows].map(([id, parts]) => [id, parts.row.rowIndex]));
    const place = (stream) => places.get(stream.id) ?? Infinity;
    streams = streams.toSorted((one, other) => place(one) === place(other) ? 0 : place(one) - place(other));
  }
  const live = new Set(streams.map((stream) => stream.id));
  for (const [id, parts] of rows) {
    if (!live.has(id)) { parts.row.remove(); rows.delete(id); }
  }
  let next = $("rows").firstElementChild;
  for (const stream of streams) {
    let parts = rows.get(stream.id);
    if (!parts) rows.set(stream.id, parts = build());
    fill(parts, stream, now, ttl);
    if (parts.row === next) next = next.nextElementSibling; else $("rows").insertBefore(parts.row, next);
  }
}
