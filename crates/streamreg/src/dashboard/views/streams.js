// The columns of the table of live streams. The table contains entries of the model, and headings of groups.

import { draw } from "../parts/chart.js";
import { $, make } from "../parts/dom.js";
import { delayText, heartbeat, loss, number, orUnset, plain, since, videoText } from "../parts/format.js";
import { Table, text } from "../parts/table.js";
import { bitrateParts, LOSS_HINT, plainColumn, writeBadge, writeBitrate, writeFlagged } from "./cells.js";

// Number of polls that a sparkline shows.
const SPARK_STEPS = 60;

// Draws a sparkline only if it has changed.
function drawSpark(parts, ring) {
  if (parts.ring === ring && parts.version === ring?.version) return;
  draw(parts.spark, ring, { steps: SPARK_STEPS });
  parts.ring = ring;
  parts.version = ring?.version;
}

// `context` has the functions `now`, `ttl`, `select`, `sort` and `released`, and `rings`.
export function createStreams(context) {
  const columns = [
    { name: "status", title: "Status", sort: "status", fill: (parts, record, entry) =>
      entry.gone ? writeBadge(parts, "closed", "ended") : writeBadge(parts, record.status, orUnset(record.status)) },
    plainColumn("id", "Stream", (record) => record.id, "id"),
    plainColumn("type", "Type", (record) => record.type, "type"),
    plainColumn("source", "Source", (record) => record.source_addr, "source_addr"),
    plainColumn("node", "Node", (record) => record.node, "node"),
    { name: "video", title: "Video", sort: "video", hint: "Codec, and height of the picture",
      fill: (parts, record) => text(parts, ...videoText(record)) },
    { name: "bitrate", title: "Bitrate", sort: "-bitrate",
      hint: "Current bit rate; the line shows the last two minutes",
      build: (parts) => {
        bitrateParts(parts);
        parts.spark = make("canvas", { class: "spark", "aria-hidden": "true" });
        parts.cell.prepend(parts.spark);
      },
      fill: (parts, record) => {
        writeBitrate(parts, Number(record.bitrate));
        drawSpark(parts, context.rings.of(record)?.bitrate);
      } },
    { name: "loss", title: "Avg. loss", sort: "-loss", hint: LOSS_HINT,
      fill: (parts, record) => writeFlagged(parts, loss(record)) },
    { name: "delay", title: "RTT, ±jitter", sort: "-delay",
      hint: "Round-trip time; values with ± are the jitter of streams that report no round-trip time",
      fill: (parts, record) => text(parts, delayText(record)) },
    { name: "age", title: "Age", sort: "-created_at", hint: "Time since the stream was registered",
      fill: (parts, record) => text(parts, since(record.created_at, context.now())) },
    { name: "heartbeat", title: "Heartbeat", sort: "last_heartbeat",
      hint: "Time since the last heartbeat; red from half of the time to live",
      fill: (parts, record) => writeFlagged(parts, heartbeat(record, context.now(), context.ttl())) },
  ];
  const fillHeading = (parts, name, heading) => {
    if (name === "id") {
      text(parts, `${plain(heading.node) || "No node"} (${number(heading.streams)})`);
    } else if (name === "status") {
      text(parts, heading.isOpen ? "▾" : "▸");
      parts.text.className = "";
    } else if (name === "bitrate") {
      writeBitrate(parts, heading.bitrate);
      drawSpark(parts, undefined);
    } else {
      writeFlagged(parts, ["", false]);
    }
  };
  const fill = (column) => (parts, item, row) => {
    row.classList.toggle("heading", Boolean(item.isHeading));
    row.classList.toggle("gone", item.gone === true);
    if (item.isHeading) return fillHeading(parts, column.name, item);
    column.fill(parts, item.record, item);
  };
  return new Table($("streams"), {
    label: "Live streams",
    columns: columns.map((column) => ({ ...column, fill: fill(column) })),
    open: (item) => {
      if (!item.isHeading) return context.select({ stream: item.id });
      item.isOpen = !item.isOpen;
      context.released();
    },
    sort: context.sort,
    released: context.released,
  });
}

// Inserts a heading before the streams of each node. The entries must be sorted by node. `headings` has the headings of
// the last call, by node.
export function grouped(entries, headings) {
  const rows = [];
  const earlier = new Map(headings);
  headings.clear();
  let heading = null;
  for (const entry of entries) {
    const node = entry.group;
    if (heading?.node !== node) {
      heading = earlier.get(node) ?? { isHeading: true, node, isOpen: true };
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
