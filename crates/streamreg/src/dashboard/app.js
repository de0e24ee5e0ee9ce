// Connects the data with the views: the model follows the change feed, the order selects and sorts its streams, and
// the views show them.

import { ask, useToken } from "./data/api.js";
import { Feed, MAX_STREAMS } from "./data/feed.js";
import { Log } from "./data/log.js";
import { Model } from "./data/model.js";
import { Order } from "./data/order.js";
import { Polls } from "./data/polls.js";
import { MAX_RECORDED, Rings } from "./data/rings.js";
import { initDialogs } from "./parts/dialog.js";
import { $, mark, onFrame, write } from "./parts/dom.js";
import { fieldOf, STATISTICS } from "./parts/fields.js";
import { number, plain } from "./parts/format.js";
import { initKeys } from "./parts/keys.js";
import { fromUrl, isFiltered, nextSort, toUrl } from "./parts/url.js";
import { Connection } from "./views/connection.js";
import { Drawer } from "./views/drawer.js";
import { Ended } from "./views/ended.js";
import { Events } from "./views/events.js";
import { Filters } from "./views/filters.js";
import { Nodes } from "./views/nodes.js";
import * as start from "./views/start.js";
import { createStreams, grouped } from "./views/streams.js";
import { sentence, Totals } from "./views/totals.js";

// The order is computed at most twice a second.
const ORDER_MS = 500;
const TICK_MS = 1000;

let selection = fromUrl();
let info = null;
// A restarted server may have another version or another store, so the information is read again after an outage.
let isDescribed = false;
let totals = null;
// What the last complete load has found, or null while the first one is in progress.
let loaded = null;
// Whether the page has ever received a stream, or loaded an empty list.
let isKnown = false;

const model = new Model();
const order = new Order(model);
const stale = model.track();
const rings = new Rings();
const log = new Log();
const headings = new Map();
const connection = new Connection();

const context = {
  log,
  rings,
  select,
  now: () => connection.now(),
  ttl: () => info?.ttl_ms ?? Infinity,
  isReadOnly: () => info?.read_only !== false,
  sort: (first) => select({ sort: nextSort(selection.sort, first) }),
  released: () => { updateOrder(); showRows(); },
  find: (id) => model.get(id),
  findEnd: (revision) => ended.find(revision),
  closed: focusRows,
};
const table = createStreams(context);
const filters = new Filters(select, (field) =>
  [...new Set([...model.entries()].map(({ record }) => record[field] ?? ""))]);
const totalsBar = new Totals(select);
const [ended, events, nodes] = [new Ended(context), new Events(log, context), new Nodes(model, context)];
const drawer = new Drawer(context);

function select(change, entry = "push") {
  // Another stream is shown live, unless the change says which of its ends to show.
  selection = { ...selection, ..."stream" in change && { ended: null }, ...change };
  const url = toUrl(selection);
  if (entry === "push") history.pushState(null, "", url); else history.replaceState(null, "", url);
  if ("search" in change) filters.showSearch(selection);
  // Opening the details changes nothing else.
  if (Object.keys(change).every((name) => name === "stream" || name === "ended")) drawer.select(selection);
  else applySelection();
}

// Returns the focus from the details to the row from which they were opened, or else to the table on the screen. A
// table marks its row itself.
function focusRows(opener) {
  const { activeElement } = document;
  if (activeElement !== document.body && !$("drawer").contains(activeElement)) return;
  const isUsable = opener !== document.body && opener?.checkVisibility();
  (isUsable ? opener : $(selection.view))?.focus({ preventScroll: true });
}

function applySelection() {
  filters.show(selection);
  totalsBar.press(selection);
  table.sorted(selection.sort);
  for (const link of $("views").querySelectorAll("a")) {
    const isCurrent = link.dataset.view === selection.view;
    if (isCurrent) mark(link, "aria-current", "page"); else link.removeAttribute("aria-current");
    mark(link, "href", toUrl({ ...selection, view: link.dataset.view, stream: null }));
  }
  mark(document.body, "data-view", selection.view);
  order.select(selection);
  feed.select(selection);
  showRows();
  for (const view of [ended, events, nodes, drawer]) view.select(selection);
  polls.now();
}

// Shows the streams in their order, and what else depends on whether there are any.
function showRows() {
  const { entries } = order;
  table.show(selection.group ? grouped(entries, headings) : entries);
  if (selection.group) table.touch(headings.values());
  isKnown ||= loaded !== null || entries.length > 0;
  const isEmpty = isKnown && model.size === 0 && !isFiltered(selection);
  const isStreams = selection.view === "streams";
  $("streams").hidden = entries.length === 0;
  $("none").hidden = !(isKnown && entries.length === 0 && isFiltered(selection));
  $("empty").hidden = !isEmpty;
  $("filters").hidden = !isKnown || selection.view === "start";
  $("start").hidden = !(selection.view === "start" || isStreams && isEmpty);
}

function showTotals() {
  if (totals === null) return;
  totalsBar.show(totals, selection);
  const text = sentence(totals, selection);
  const notes = [];
  if (loaded?.unreadable > 0) notes.push(`${number(loaded.unreadable)} unreadable (see the server log)`);
  if (loaded?.isPartial) {
    notes.push(`only the first ${number(MAX_STREAMS)} matches by id are shown; use the search or a filter`);
  } else if (loaded === null && model.size > 0) {
    notes.push(`loading, ${number(model.size)} so far`);
  }
  write($("summary"), [text, ...notes].join("; "));
  document.title = text;
}

const drawChanges = onFrame(() => {
  table.touch(stale);
  stale.clear();
});

// Called for each change of the model.
let ordering = null;
function modelChanged() {
  drawChanges();
  ordering ??= setTimeout(() => {
    updateOrder();
    ended.update();
    events.update();
  }, ORDER_MS);
}

function updateOrder() {
  clearTimeout(ordering);
  ordering = null;
  if (table.isHeld ? order.hold() : order.update()) showRows();
}

function feedReported(report) {
  if (report.failure) {
    isDescribed = false;
    connection.fails("feed", report.failure);
  } else if (report.paused) {
    connection.works("feed", "paused");
  } else if (report.loading) {
    connection.works("feed", "loading");
    // Show the first streams at once.
    if (order.entries.length === 0) updateOrder(); else modelChanged();
    showTotals();
  } else if (report.loaded) {
    loaded = report.loaded;
    if (report.gap) {
      log.add([{ gap: report.gap }]);
      ended.reload();
      drawer.reload();
    }
    updateOrder();
    showRows();
    showTotals();
  } else {
    connection.works("feed", "live");
    if (report.events.length === 0) return;
    log.add(report.events);
    ended.add(report.events);
    drawer.add(report.events);
    modelChanged();
  }
}

function pollsReported(report) {
  if (report.failure) {
    nodes.fails(loaded !== null && model.size <= MAX_RECORDED);
    return connection.fails("polls", report.failure);
  }
  const isBack = connection.isFailing("polls");
  connection.works("polls");
  // The views read what they could not read during the outage.
  if (isBack) for (const view of [ended, nodes]) view.select(selection);
  // The server is back, so the feed need not wait any longer.
  if (connection.isFailing("feed")) feed.retry();
  if (!isDescribed) describe();
  for (const record of report.streams) rings.push(record);
  totals = report.totals;
  modelChanged();
  showTotals();
  if (report.groups) nodes.show(report.groups);
}

const feed = new Feed(model, feedReported);
const polls = new Polls(model, () => {
  // All streams of a small registry are polled, so that each of them has complete charts.
  const isSmall = model.size <= MAX_RECORDED;
  const streams = isSmall ? [...model.entries()] : table.visible().filter((item) => !item.isHeading && !item.gone);
  return {
    selection,
    by: selection.view === "nodes" ? "node" : null,
    ids: streams.map(({ id }) => id),
    all: !isSmall && (selection.view === "nodes" || STATISTICS.includes(fieldOf(selection.sort))),
  };
}, pollsReported);

async function describe() {
  isDescribed = true;
  try {
    info = await ask("api/v1/info", new AbortController().signal);
  } catch {
    isDescribed = false;
    return;
  }
  const [name, version, store] = [info.name, info.version, info.store].map(plain);
  write($("server"), `${name} ${version} · store: ${store}${info.read_only ? ", read-only" : ""}`);
  start.describe(info);
}

$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken($("token").value.trim());
  $("token").value = "";
  feed.retry();
  applySelection();
});
$("views").addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  select({ view: link.dataset.view, stream: null });
});
addEventListener("online", () => {
  feed.retry();
  polls.now();
});
addEventListener("popstate", () => {
  selection = fromUrl();
  filters.showSearch(selection);
  applySelection();
});
setInterval(() => {
  connection.show();
  if (document.hidden) return;
  if (connection.isCurrent) table.redraw();
  totalsBar.redraw();
  drawer.redraw();
}, TICK_MS);

start.init();
initDialogs();
initKeys(() => { if (selection.stream !== null) select({ stream: null }); });
filters.showSearch(selection);
applySelection();
feed.run();
