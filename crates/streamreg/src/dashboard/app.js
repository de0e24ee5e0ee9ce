"use strict";
// Strings in records are untrusted. Insert them into the page only through textContent.

const REFRESH_MS = 2000;
const TIMEOUT_MS = 8000;
const COPIED_MS = 2000;
const MAX_STREAMS = 1000;
const DEFAULT_ADDRESS = "127.0.0.1:8580";
const UNSET = "–";
const STATUSES = ["active", "connecting", "paused", "error", "closed"];
const $ = (id) => document.getElementById(id);

let info = null;
let failingSince = null;
const rows = new Map();

// Escapes invisible characters and characters that change the text direction.
const INVISIBLE = /[\p{Cc}\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;
const plain = (text) => String(text ?? "").replace(INVISIBLE, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);

// Writes the text only if it has changed. Selections then survive, and screen readers do not repeat the text.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function bitrate(bits) {
  if (!Number.isFinite(bits)) return [UNSET, ""];
  const units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s", "Ebit/s"];
  let at = 0;
  while (bits >= 999.95 && at < units.length - 1) { bits /= 1000; at += 1; }
  return [bits.toFixed(at === 0 ? 0 : 1), units[at]];
}

function loss(stream) {
  const lost = Number(stream.packets_lost) || 0;
  const all = lost + (Number(stream.packets_received) || 0);
  if (all === 0) return [UNSET, false];
  const percent = 100 * lost / all;
  return [lost > 0 && percent < 0.005 ? "<0.01 %" : `${percent.toFixed(2)} %`, percent >= 1];
}

function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const parts = (big, unit, small, rest) => small ? `${big} ${unit} ${small} ${rest}` : `${big} ${unit}`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return parts(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86400) return parts(Math.floor(s / 3600), "h", Math.floor(s % 3600 / 60), "min");
  return parts(Math.floor(s / 86400), "d", Math.floor(s % 86400 / 3600), "h");
}

function heartbeat(stream, now) {
  const at = Date.parse(stream.last_heartbeat);
  if (!Number.isFinite(at)) return [UNSET, false];
  // The year 1 means that the stream has not sent a heartbeat yet.
  if (new Date(at).getUTCFullYear() <= 1) return ["never", true];
  const age = now - at;
  return [age < 1000 ? "now" : `${span(age)} ago`, info !== null && age > info.ttl_ms / 2];
}

const COLUMNS = [
  ["id", "Stream"], ["type", "Type"], ["status", "Status"], ["source", "Source"], ["node", "Node"], ["video", "Video"],
  ["bitrate", "Bitrate"], ["loss", "Loss"], ["heartbeat", "Heartbeat"],
];
const NUMBERS = new Set(["bitrate", "loss", "heartbeat"]);

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
    if (name === "status") text.className = "badge";
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

function fill(parts, stream, now) {
  const text = (name, value) => {
    const shown = plain(value);
    write(parts[name], shown || UNSET);
    // Long values are also shown as a tooltip, because the cell truncates them.
    if (shown.length > 24) parts[name].title = shown; else parts[name].removeAttribute("title");
  };
  text("id", stream.id);
  text("type", stream.type);
  text("status", stream.status);
  text("source", stream.source_addr);
  text("node", stream.node);
  text("video", [stream.video_codec, stream.resolution].filter(Boolean).join(" "));
  parts.status.className = STATUSES.includes(stream.status) ? `badge ${stream.status}` : "badge";
  const [rate, unit] = bitrate(Number(stream.bitrate));
  write(parts.rate, rate);
  write(parts.unit, unit);
  for (const [name, [value, high]] of [["loss", loss(stream)], ["heartbeat", heartbeat(stream, now)]]) {
    write(parts[name], value);
    parts[name].classList.toggle("high", high);
  }
}

function show(streams, now) {
  const live = new Set(streams.map((stream) => stream.id));
  for (const [id, parts] of rows) {
    if (!live.has(id)) { parts.row.remove(); rows.delete(id); }
  }
  let next = $("rows").firstElementChild;
  for (const stream of streams) {
    let parts = rows.get(stream.id);
    if (!parts) rows.set(stream.id, parts = build());
    fill(parts, stream, now);
    if (parts.row === next) next = next.nextElementSibling; else $("rows").insertBefore(parts.row, next);
  }
}

// Returns the summary line, e.g. "20 live: 17 active, 2 paused, 1 error".
function count(streams, body) {
  const rest = streams.filter((stream) => !STATUSES.includes(stream.status)).length;
  const counts = STATUSES
    .map((status) => [streams.filter((stream) => stream.status === status).length, status])
    .concat([[rest, "other"]])
    .filter(([n]) => n > 0)
    .map(([n, status]) => `${n} ${status}`)
    .join(", ");
  const unreadable = body.unreadable > 0 ? `; ${body.unreadable} unreadable (see the server log)` : "";
  if (streams.length === 0) return `No live streams${unreadable}`;
  const all = body.next_cursor ? `Showing ${streams.length} of ${body.total}` : `${streams.length} live`;
  return `${all}: ${counts}${unreadable}`;
}

async function ask(path) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    const fault = new Error(plain(problem.detail || `status ${response.status}`));
    fault.name = "Problem";
    throw fault;
  }
  // Use the server's clock, because the local clock may be wrong.
  const date = Date.parse(response.headers.get("date"));
  return { body: await response.json(), now: Number.isFinite(date) ? date : Date.now() };
}

async function refresh() {
  try {
    if (info === null) describe((await ask("api/v1/info")).body);
    const { body, now } = await ask(`api/v1/streams?limit=${MAX_STREAMS}`);
    const streams = body.streams.slice().sort((a, b) => a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
    show(streams, now);
    $("streams").hidden = streams.length === 0;
    $("empty").hidden = streams.length !== 0;
    $("start").hidden = false;
    write($("summary"), count(streams, body));
    document.title = streams.length === 0 ? "No live streams" : `${body.next_cursor ? body.total : streams.length} live streams`;
    failingSince = null;
  } catch (error) {
    fail(error);
  }
  $("outage").hidden = failingSince === null;
  $("summary").hidden = failingSince !== null;
  document.body.classList.toggle("stale", failingSince !== null);
  setTimeout(refresh, REFRESH_MS);
}

function fail(error) {
  failingSince ??= new Date();
  // A restarted server may have another version or another store, so read its information again.
  info = null;
  const since = failingSince.toLocaleTimeString();
  const stale = $("streams").hidden ? "" : " Showing the last known streams.";
  write($("trouble"), error.name === "Problem"
    ? `The server has been unable to read its store since ${since}: ${error.message}.${stale}`
    : `The server has not responded since ${since}.${stale}`);
  write($("lasting"), `(${span(Date.now() - failingSince)})`);
  document.title = "No response – live streams";
}

function describe(answer) {
  info = answer;
  write($("server"), `${plain(info.name)} ${plain(info.version)} · store: ${plain(info.store)}${info.read_only ? ", read-only" : ""}`);
  write($("ttl"), span(info.ttl_ms));
  const remote = !/^(localhost|127\..*|\[::1\])$/.test(location.hostname);
  $("guarded").hidden = !(info.read_only || remote);
  write($("guarded"), info.read_only
    ? "This server is read-only: it lists streams but rejects registrations."
    : "Remote writes need the token of the server: add --token-file FILE.");
}

// Allow line breaks between words only, so that `--store` is never split.
function command(code, text) {
  const piece = (word) => {
    const element = document.createElement(word.trim() === "" ? "span" : "b");
    element.textContent = word;
    return element;
  };
  code.replaceChildren(...text.split(/([ \n]+)/).map(piece));
}

// Adds the URL of this server to the commands that the page shows.
function address() {
  const base = new URL(".", location.href).href.replace(/\/$/, "");
  const store = base.split("://")[1] === DEFAULT_ADDRESS ? "" : ` --store ${base}`;
  for (const code of document.querySelectorAll("code")) command(code, code.textContent + store);
  command($("curl"), `curl ${base}/api/v1/streams -H 'Content-Type: application/json' \\
  -d '{"id":"cam1","type":"srt","source_addr":"203.0.113.7:40112"}'`);
}

async function copy(button, code) {
  let done = false;
  try {
    await navigator.clipboard.writeText(code.textContent);
    done = true;
  } catch {
    // The clipboard API works on secure pages only. Copying a selection works on every page.
    getSelection().selectAllChildren(code);
    done = document.execCommand("copy");
  }
  button.textContent = done ? "Copied" : "Selected";
  setTimeout(() => { button.textContent = "Copy"; }, COPIED_MS);
}

for (const [at, box] of document.querySelectorAll(".command").entries()) {
  const [button, code] = [box.querySelector("button"), box.querySelector("code")];
  code.id ||= `command-${at}`;
  button.setAttribute("aria-live", "polite");
  button.setAttribute("aria-describedby", code.id);
  button.addEventListener("click", () => copy(button, code));
}
address();
refresh();
