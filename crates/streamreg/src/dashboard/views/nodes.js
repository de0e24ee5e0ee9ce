// The ingest nodes: their streams and bit rates as the server counts them, and their last heartbeats. If the server does
// not answer, the page counts the streams that it knows.

import { history } from "../data/api.js";
import { $, write } from "../parts/dom.js";
import { loss, number, plain, span, time, UNSET } from "../parts/format.js";
import { Table, text } from "../parts/table.js";
import { conditions, isFiltered, matcher } from "../parts/url.js";
import { bitrateParts, LOSS_HINT, writeBadge, writeBitrate, writeFlagged } from "./cells.js";

const MAX_ENDED = 1000;
// If publishers invent ever more names, nodes without streams are forgotten.
const MAX_NODES = 5000;
// A heartbeat that was read longer ago than this is not shown, because newer ones are likely.
const MAX_READ_AGE_MS = 60000;
const UNCOUNTED = "The nodes cannot be counted, because the server or its store does not answer. The page tries again.";
const SUMS = ["bitrate", "packets_received", "packets_lost"];
const EMPTY = { streams: 0, errors: 0, bitrate: 0, packets_received: 0, packets_lost: 0, read: 0 };
const RANK = { silent: 0, gone: 1, ok: 2 };
const BADGES = { silent: ["error", "silent"], gone: ["closed", "no streams"], ok: ["active", "sending"] };

export class Nodes {
  #table;
  #model;
  #context;
  #selection = null;
  // The nodes that were seen, by name, including those that no longer have streams.
  #nodes = new Map();
  #isHistoryRead = false;
  // The filter of the streams that were counted last.
  #counted = null;

  constructor(model, context) {
    this.#model = model;
    this.#context = context;
    this.#table = new Table($("nodes"), {
      label: "Nodes",
      columns: [
        { name: "status", title: "State",
          hint: "silent: no stream of the node has sent a heartbeat for half of the time to live",
          fill: (parts, node) => writeBadge(parts, ...BADGES[node.state]) },
        { name: "id", title: "Node", fill: (parts, node) => text(parts, plain(node.name) || "No node") },
        { name: "streams", title: "Streams", fill: (parts, node) => text(parts, number(node.streams)) },
        { name: "errors", title: "Errors",
          fill: (parts, { errors }) => writeFlagged(parts, [number(errors), errors > 0]) },
        { name: "bitrate", title: "Bitrate", build: bitrateParts,
          fill: (parts, node) => writeBitrate(parts, node.bitrate) },
        { name: "loss", title: "Avg. loss", hint: LOSS_HINT, fill: (parts, node) => writeFlagged(parts, loss(node)) },
        { name: "heartbeat", title: "Last heartbeat",
          fill: (parts, node) => writeFlagged(parts, this.#heartbeat(node)) },
      ],
      open: (node) => context.select({ view: "streams", node: node.name }),
      released: () => {},
    });
  }

  #heartbeat(node) {
    const now = this.#context.now();
    if (node.streams > 0 && now - node.read > MAX_READ_AGE_MS) return ["…", false];
    return [node.last > 0 ? span(now - node.last) : UNSET, node.state === "silent"];
  }

  select(selection) {
    this.#selection = selection;
    if (selection.view === "nodes" && !this.#isHistoryRead) this.#readHistory();
  }

  // Finds nodes whose streams have all ended.
  async #readHistory() {
    this.#isHistoryRead = true;
    try {
      for (const { as_of, stream } of await history({ limit: MAX_ENDED }, new AbortController().signal)) {
        this.#node(stream.node ?? "").last ||= time(as_of) || 0;
      }
    } catch {
      this.#isHistoryRead = false;
    }
  }

  #node(name) {
    let node = this.#nodes.get(name);
    if (!node) this.#nodes.set(name, node = { name, last: 0, ...EMPTY });
    return node;
  }

  // Shows what the page itself can count: all nodes if `isComplete`, i.e. if it knows the current values of all streams,
  // otherwise those that were counted before.
  fails(isComplete) {
    if (this.#selection?.view !== "nodes") return;
    if (isComplete) return this.show(this.#count());
    if (this.#counted === this.#filter()) return;
    $("nodes").hidden = true;
    write($("nodes-note"), UNCOUNTED);
  }

  #filter() { return String(conditions(this.#selection)); }

  // Counts the streams in the model by node, as the server does.
  #count() {
    const groups = new Map();
    const matches = matcher({ ...this.#selection, node: null });
    for (const { record } of this.#model.entries()) {
      if (!matches(record)) continue;
      const key = record.node ?? "";
      const group = groups.get(key) ?? { key, ...EMPTY };
      groups.set(key, group);
      group.streams += 1;
      for (const name of SUMS) group[name] += Number(record[name]) || 0;
    }
    return { groups: [...groups.values()] };
  }

  // Shows what was counted.
  show(summary) {
    if (this.#selection?.view !== "nodes") return;
    this.#counted = this.#filter();
    for (const node of this.#nodes.values()) Object.assign(node, EMPTY);
    if (this.#nodes.size > MAX_NODES) this.#nodes.clear();
    for (const group of summary.groups) Object.assign(this.#node(group.key ?? ""), group);
    // When a record was read, its heartbeat was as old as now, or younger. So a record that was read long ago does not
    // make its node silent.
    const fresh = new Set();
    const limit = this.#context.ttl() / 2;
    for (const { record, at } of this.#model.entries()) {
      const node = this.#nodes.get(record.node ?? "");
      if (!node) continue;
      const last = time(record.last_heartbeat);
      if (last > node.last) node.last = last;
      if (at > node.read) node.read = at;
      if (at - last <= limit) fresh.add(node);
      if (record.status === "error") node.errors += 1;
    }
    const search = this.#selection.search.toLowerCase();
    // Whether a node without streams has streams that do not match is unknown.
    const needsStreams = isFiltered({ ...this.#selection, search: "", node: null });
    const nodes = [...this.#nodes.values()].filter(({ name, streams }) =>
      name.toLowerCase().includes(search) && (streams > 0 || name !== "" && !needsStreams));
    for (const node of nodes) node.state = node.streams === 0 ? "gone" : fresh.has(node) ? "ok" : "silent";
    nodes.sort((one, other) => RANK[one.state] - RANK[other.state] || (one.name < other.name ? -1 : 1));
    this.#table.show(nodes);
    this.#table.redraw();
    $("nodes").hidden = nodes.length === 0;
    const silent = nodes.filter(({ state }) => state === "silent").length;
    const verb = nodes.length === 1 ? "has" : "have";
    write($("nodes-note"), nodes.length === 0 ? "No nodes match"
      : `${number(nodes.length)} ${nodes.length === 1 ? "node" : "nodes"}`
        + (needsStreams ? ` ${verb} matching streams` : "")
        + (silent > 0 ? `, ${number(silent)} silent for more than half of the time to live` : ""));
  }
}
