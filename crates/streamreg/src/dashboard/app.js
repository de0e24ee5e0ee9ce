// Reads the selected streams from the server every few seconds and shows them.
//
// The page polls instead of following the change feed. The feed has no events for statistics. Over HTTP/1.1, a browser
// opens only about six connections to a server, so a few tabs that follow the feed would block all further requests.

import { ask, forgetCursors, page, Problem, summary, useToken } from "./api.js";
import * as controls from "./controls.js";
import { $, write } from "./dom.js";
import { plain, span } from "./format.js";
import { fromUrl, isFiltered, toUrl } from "./selection.js";
import * as start from "./start.js";
import * as table from "./table.js";

const REFRESH_MS = 2000;
// Pause while the tab is hidden, and upper bound of each pause.
const MAX_REFRESH_MS = 30000;
// A refresh pauses at least this many times as long as the server took to respond.
const PAUSE_FACTOR = 10;

let selection = fromUrl();
// The selection whose streams the table shows.
let shown = null;
let info = null;
let failingSince = null;
let timer;
let current = new AbortController();

function select(change, entry) {
  selection = { ...selection, page: 1, ...change };
  const url = toUrl(selection);
  if (entry === "push") history.pushState(null, "", url); else history.replaceState(null, "", url);
  // Other changes must not overwrite a search that is being typed.
  if ("search" in change) controls.showSearch(selection);
  refresh();
}

async function refresh() {
  clearTimeout(timer);
  current.abort();
  const { signal } = current = new AbortController();
  const began = performance.now();
  controls.showSelection(selection);
  $("streams").setAttribute("aria-busy", String(shown !== selection));
  try {
    if (info === null) describe((await ask("api/v1/info", signal)).body);
    const [list, counts] = await Promise.all([page(selection, signal), summary(selection, signal)]);
    if (signal.aborted) return;
    if (list.last) return select({ page: list.last }, "replace");
    show(list, counts);
    failingSince = null;
    $("access").hidden = true;
  } catch (error) {
    if (signal.aborted) return;
    fail(error);
  }
  $("streams").setAttribute("aria-busy", "false");
  $("outage").hidden = failingSince === null;
  $("summary").hidden = failingSince !== null;
  document.body.classList.toggle("stale", failingSince !== null);
  const pause = Math.max(REFRESH_MS, PAUSE_FACTOR * (performance.now() - began));
  timer = setTimeout(refresh, document.hidden ? MAX_REFRESH_MS : Math.min(pause, MAX_REFRESH_MS));
}

function show({ body, now }, counts) {
  table.show(body.streams, now, info.ttl_ms, shown === selection);
  shown = selection;
  controls.showChips(counts);
  const group = counts.groups.find(({ key }) => key === selection.status);
  const matches = selection.status ? group?.streams ?? 0 : counts.total;
  controls.showPager(matches, Boolean(body.next_cursor));
  const [empty, filtered] = [body.streams.length === 0, isFiltered(selection)];
  $("streams").hidden = empty;
  $("none").hidden = !(empty && filtered);
  $("empty").hidden = !empty || filtered;
  $("filters").hidden = empty && !filtered && !$("filters").contains(document.activeElement);
  $("start").hidden = false;
  const text = controls.sentence(counts, matches);
  const unreadable = body.unreadable > 0 ? `; ${body.unreadable} unreadable (see the server log)` : "";
  write($("summary"), text + unreadable);
  document.title = text;
}

function fail(error) {
  failingSince ??= new Date();
  // A restarted server may have another version or another store, so read its information again.
  info = null;
  if (error.code === "invalid_cursor") forgetCursors();
  const since = failingSince.toLocaleTimeString();
  const rows = shown === selection ? "last known streams" : "last known streams of an earlier selection";
  const stale = $("streams").hidden ? "" : ` Showing the ${rows}.`;
  $("access").hidden = !error.needsToken;
  if (error.needsToken) {
    for (const id of ["streams", "pager", "empty", "none", "filters"]) $(id).hidden = true;
    write($("trouble"), `The server needs a token for reading: ${error.message}.`);
  } else if (error instanceof Problem && error.isRejection) {
    // A link may contain a filter that the server rejects. The controls can remove the filter.
    for (const id of ["streams", "pager", "empty", "none"]) $(id).hidden = true;
    $("filters").hidden = false;
    write($("trouble"), `The server rejected this selection: ${error.message}.`);
  } else if (error instanceof Problem) {
    write($("trouble"), `The server has been unable to read its store since ${since}: ${error.message}.${stale}`);
  } else {
    write($("trouble"), `The server has not responded since ${since}.${stale}`);
  }
  write($("lasting"), `(${span(Date.now() - failingSince)})`);
  document.title = `${error instanceof Problem ? "Error" : "No response"} – live streams`;
}

function describe(answer) {
  info = answer;
  const [name, version, store] = [info.name, info.version, info.store].map(plain);
  write($("server"), `${name} ${version} · store: ${store}${info.read_only ? ", read-only" : ""}`);
  write($("ttl"), span(info.ttl_ms));
  const remote = !/^(localhost|127\..*|\[::1\])$/.test(location.hostname);
  $("guarded").hidden = !(info.read_only || remote);
  write($("guarded"), info.read_only
    ? "This server is read-only: it lists streams but rejects registrations."
    : "Remote writes need the token of the server: add --token-file FILE.");
}

$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken($("token").value.trim());
  $("token").value = "";
  refresh();
});
addEventListener("popstate", () => {
  selection = fromUrl();
  controls.showSearch(selection);
  refresh();
});
// A hidden tab refreshes rarely, so show current streams as soon as it becomes visible.
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
start.init();
controls.init(select);
controls.showSearch(selection);
refresh();
