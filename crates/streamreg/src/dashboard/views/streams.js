// The columns of the table of live streams. The table contains entries of the model, and headings of groups.

import { draw } from "../parts/chart.js";
import { make, statusClass, write } from "../parts/dom.js";
import { bitrate, delayText, heartbeat, loss, number, orUnset, since } from "../parts/format.js";
import { Table, text } from "../parts/table.js";

// Number of polls that a sparkline shows.
const SPARK_STEPS = 60;

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

export const writeFlagged = (parts, [value, isHigh]) => {
  text(parts, value);
  parts.text.classList.toggle("high", isHigh);
};

export function writeStatus(parts, status, label = orUnset(status)) {
  text(parts, label);
  parts.text.className = statusClass("badge", status);
}

// Draws a sparkline only if it has changed.
function drawSpark(parts, ring) {
  if (parts.ring === ring && parts.version === ring?.version) return;
  draw(parts.spark, ring, { steps: SPARK_STEPS });
  parts.ring = ring;
  parts.version = ring?.version;
}

// `context` has `now()`, `ttl()`, `rings`, `open(id)`, `toggle(heading)` and `sort(field)`.
export function createStreams(root, context) {
  const video = (record) => [record.video_codec, record.resolution].filter(Boolean).join(" ");
  const plainText = (get) => (parts, record) => text(parts, orUnset(get(record)));
  const columns = [
    { name: "status", title: "Status", sort: "status", fill: (parts, record, entry) => entry.gone
      ? writeStatus(parts, "closed", "ended") : writeStatus(parts, record.status) },
    { name: "id", title: "Stream", sort: "id", fill: plainText((record) => record.id) },
    { name: "type", title: "Type", sort: "type", fill: plainText((record) => record.type) },
    { name: "source", title: "Source", sort: "source_addr", fill: plainText((record) => record.source_addr) },
    { name: "node", title: "Node", sort: "node", fill: plainText((record) => record.node) },
    { name: "video", title: "Video", sort: "video", fill: plainText(video) },
    { name: "bitrate", title: "Bitrate", sort: "bitrate",
      build: (parts) => {
        bitrateParts(parts);
        parts.spark = make("canvas", { class: "spark", "aria-hidden": "true" });
        parts.cell.prepend(parts.spark);
      },
      fill: (parts, record) => {
        writeBitrate(parts, Number(record.bitrate));
        drawSpark(parts, context.rings.get(record.id)?.bitrate);
      } },
    { name: "loss", title: "Loss", sort: "loss", fill: (parts, record) => writeFlagged(parts, loss(record)) },
    { name: "delay", title: "RTT", sort: "delay", fill: (parts, record) => text(parts, delayText(record)) },
    { name: "age", title: "Age", sort: "created_at",
      fill: (parts, record) => text(parts, since(record.created_at, context.now())) },
    { name: "heartbeat", title: "Heartbeat", sort: "last_heartbeat",
      fill: (parts, record) => writeFlagged(parts, heartbeat(record, context.now(), context.ttl())) },
  ];
  const fillHeading = (parts, name, heading) => {
    if (name === "id") text(parts, `${orUnset(heading.node)} (${number(heading.streams)})`);
    else if (name === "status") { text(parts, heading.isOpen ? "▾" : "▸"); parts.text.className = "fold"; }
    else if (name === "bitrate") { writeBitrate(parts, heading.bitrate); drawSpark(parts, undefined); }
    else { text(parts, ""); parts.text.classList.remove("high"); }
  };
  const fill = (column) => (parts, item, row) => {
    row.classList.toggle("heading", Boolean(item.isHeading));
    row.classList.toggle("gone", item.gone === true);
    if (item.isHeading) return fillHeading(parts, column.name, item);
    column.fill(parts, item.record, item);
  };
  return new Table(root, {
    label: "Live streams",
    columns: columns.map((column) => ({ ...column, fill: fill(column) })),
    open: (item) => item.isHeading ? context.toggle(item) : context.open(item.id),
    sort: context.sort,
  });
}

// Inserts a heading before the streams of each node. The entries must be sorted by node. `headings` keeps the headings
// of earlier calls, by node.
export function grouped(entries, headings) {
  const rows = [];
  let heading = null;
  for (const entry of entries) {
    const node = entry.group;
    if (heading?.node !== node) {
      heading = headings.get(node) ?? { isHeading: true, node, isOpen: true };
      headings.set(node, heading);
      Object.assign(heading, { streams: 0, bitrate: 0 });
      rows.push(heading);
    }
    heading.streams += 1;
    heading.bitrate += Number(entry.record.bitrate) || 0;
    if (heading.isOpen) rows.push(entry);
  }
  return rows;
}
