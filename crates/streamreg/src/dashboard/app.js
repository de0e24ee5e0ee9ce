"use strict";
// Texts of records reach the page through textContent only: they come from whoever registers streams.

const EVERY_MS = 2000;
const GIVE_UP_MS = 8000;
const SHOWN = 1000;
const $ = (id) => document.getElementById(id);
const badges = new Set(["active", "connecting", "paused", "error", "closed"]);

let failingSince = null;

function bitrate(bits) {
  if (!(bits > 0)) return "";
  const units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"];
  let at = 0;
  while (bits >= 1000 && at < units.length - 1) { bits /= 1000; at += 1; }
  return `${bits.toFixed(at === 0 || bits >= 100 ? 0 : 1)} ${units[at]}`;
}

function loss(stream) {
  const lost = Number(stream.packets_lost) || 0;
  const all = lost + (Number(stream.packets_received) || 0);
  return all > 0 ? 100 * lost / all : null;
}

function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  const parts = (big, unit, small, rest) => small ? `${big} ${unit} ${small} ${rest}` : `${big} ${unit}`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return parts(Math.floor(s / 60), "min", s % 60, "s");
  return parts(Math.floor(s / 3600), "h", Math.floor(s % 3600 / 60), "min");
}

function cell(row, name, text, style) {
  const td = row.insertCell();
  td.dataset.name = name;
  td.className = [style || "", text === "" ? "unset" : ""].join(" ").trim();
  td.textContent = text;
  return td;
}

function show(stream, now) {
  const row = document.createElement("tr");
  cell(row, "Stream", String(stream.id));
  cell(row, "Type", String(stream.type ?? ""));
  const status = cell(row, "Status", "");
  status.className = "";
  const badge = document.createElement("span");
  badge.className = `badge ${badges.has(stream.status) ? stream.status : ""}`;
  badge.textContent = String(stream.status ?? "");
  status.append(badge);
  cell(row, "Source", String(stream.source_addr ?? ""));
  cell(row, "Node", String(stream.node ?? ""));
  cell(row, "Video", [stream.video_codec, stream.resolution].filter(Boolean).join(" "));
  cell(row, "Bitrate", bitrate(Number(stream.bitrate)), "number");
  const lost = loss(stream);
  cell(row, "Loss", lost === null ? "" : `${lost.toFixed(2)} %`, lost >= 1 ? "number high" : "number");
  const age = now - Date.parse(stream.last_heartbeat);
  cell(row, "Heartbeat", Number.isFinite(age) ? `${span(age)} ago` : "", "number");
  return row;
}

async function ask(path) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(GIVE_UP_MS) });
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(String(problem.detail || `status ${response.status}`));
  }
  // The server's clock, since this machine's may be wrong.
  const date = Date.parse(response.headers.get("date"));
  return { body: await response.json(), now: Number.isFinite(date) ? date : Date.now() };
}

async function refresh() {
  try {
    const { body, now } = await ask(`api/v1/streams?limit=${SHOWN}`);
    const streams = body.streams.slice().sort((a, b) => String(a.id).localeCompare(String(b.id)));
    $("rows").replaceChildren(...streams.map((stream) => show(stream, now)));
    $("streams").hidden = streams.length === 0;
    $("empty").hidden = streams.length !== 0;
    const active = streams.filter((stream) => stream.status === "active").length;
    $("summary").textContent = body.next_cursor
      ? `the first ${streams.length} of ${body.total}`
      : `${streams.length} live, ${active} active`;
    failingSince = null;
  } catch (error) {
    failingSince ??= new Date();
    if ($("streams").hidden && $("empty").hidden) $("summary").textContent = "";
    const answered = error instanceof Error && error.name === "Error";
    $("outage").textContent = answered
      ? `The server cannot read its store since ${failingSince.toLocaleTimeString()}: ${error.message}`
      : `The server does not answer since ${failingSince.toLocaleTimeString()}. What you see below is from before.`;
  }
  $("outage").hidden = failingSince === null;
  document.body.classList.toggle("stale", failingSince !== null);
  setTimeout(refresh, EVERY_MS);
}

async function describe() {
  const base = new URL(".", location.href).href;
  $("curl").textContent = `curl ${base}api/v1/streams -H 'Content-Type: application/json' \\
  -d '{"id":"cam1","type":"srt","source_addr":"203.0.113.7:40112"}'`;
  try {
    const { body } = await ask("api/v1/info");
    $("server").textContent = `${body.name} ${body.version} · ${body.store}`;
    $("ttl").textContent = span(body.ttl_ms);
  } catch {
    // The list says what is wrong.
  }
}

describe();
refresh();
