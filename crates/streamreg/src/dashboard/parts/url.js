// The selection: which view and which streams the page shows, and in which order. The URL contains it, so a reload, a
// copied link and the Back button show the same.

import { FIELDS, fieldOf, isReversed } from "./fields.js";

const MAX_FILTER = 1024;
const DEFAULT_SORT = "id";

const VIEWS = ["streams", "ended", "events", "nodes", "start"];

// A missing node is null, because an empty node selects streams without a node.
export function fromUrl() {
  const query = new URLSearchParams(location.search);
  const text = (name) => (query.get(name) ?? "").slice(0, MAX_FILTER);
  const [view, sort] = [text("view"), text("sort")];
  return {
    view: VIEWS.includes(view) ? view : VIEWS[0],
    search: text("search").trim(),
    status: text("status"),
    type: text("type"),
    node: query.has("node") ? text("node") : null,
    label: text("label"),
    sort: Object.hasOwn(FIELDS, fieldOf(sort)) ? sort : DEFAULT_SORT,
    group: query.get("group") === "node",
    stream: query.get("stream"),
    // The revision of an end: the details then show the run of the stream that ended there.
    ended: query.get("ended"),
  };
}

export function toUrl(selection) {
  const query = conditions(selection);
  if (selection.view !== VIEWS[0]) query.set("view", selection.view);
  if (selection.sort !== DEFAULT_SORT) query.set("sort", selection.sort);
  if (selection.group) query.set("group", "node");
  if (selection.stream !== null) query.set("stream", selection.stream);
  if (selection.stream !== null && selection.ended !== null) query.set("ended", selection.ended);
  return query.size > 0 ? `?${query}` : location.pathname;
}

// Returns the filter as parameters that the API accepts.
export function conditions({ search, status, type, node, label }) {
  const query = new URLSearchParams();
  if (search) query.set("search", search);
  if (status) query.set("status", status);
  if (type) query.set("type", type);
  if (node !== null) query.set("node", node);
  if (label) query.set("label", label);
  return query;
}

export const NO_FILTER = { search: "", status: "", type: "", node: null, label: "" };

export const isFiltered = (selection) => conditions(selection).size > 0;

// Returns the selection as its view applies it. Only live streams have a status.
export const applied = (selection) => selection.view === "ended" ? { ...selection, status: "" } : selection;

// Returns the order after a click on a header: the order `first` of its column, or the reverse if it is that already.
export function nextSort(sort, first) {
  if (sort !== first) return first;
  return isReversed(first) ? fieldOf(first) : `-${first}`;
}

const lowered = (text) => text.toLowerCase().replaceAll("ς", "σ");

// Returns a function that decides whether a record matches the filter, as the server does.
export function matcher({ search, status, type, node, label }) {
  const wanted = lowered(search);
  const [name, value] = label ? [label.split("=", 1)[0], label.slice(label.indexOf("=") + 1)] : [];
  const isFound = (record) => lowered(
    [record.id, record.source_addr, record.node, ...Object.values(record.labels ?? {})].join("\0"),
  ).includes(wanted);
  return (record) => (!status || record.status === status)
    && (!type || record.type === type)
    && (node === null || (record.node ?? "") === node)
    && (!label || Object.hasOwn(record.labels ?? {}, name) && record.labels[name] === value)
    && (!wanted || isFound(record));
}
