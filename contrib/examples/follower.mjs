#!/usr/bin/env node
// Keeps a table of all live streams, as a router does, and prints every change.
//
//   export STREAMREG_URL=http://127.0.0.1:8580 STREAMREG_TOKEN=...
//   node follower.mjs
//
// Needs Node.js 18 or later, and no packages. docs/semantics.md#feed describes the events.

import { setTimeout as sleep } from "node:timers/promises";

const { STREAMREG_URL: url = "http://127.0.0.1:8580", STREAMREG_TOKEN: token } = process.env;
const SILENCE = 25_000; // ms; the server sends an event at least about every 10 s
const streams = new Map();

/** The server answered with an error. */
class Rejected extends Error {
  constructor(response) {
    super(`status ${response.status}`);
    this.status = response.status;
    this.retryAfter = Number(response.headers.get("Retry-After") ?? 0);
  }
}

async function open(path, headers, signal) {
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(url + path, { headers, signal });
  if (!response.ok) throw new Rejected(response);
  return response;
}

/** Yields the events after a position until the connection ends. */
async function* events(position) {
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(new Error("the server is silent")), SILENCE);
  try {
    const response = await open("/api/v1/events", { "Last-Event-ID": position }, silence.signal);
    let rest = "";
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
      timer.refresh();
      const lines = (rest + chunk).split("\n");
      rest = lines.pop(); // an incomplete line
      for (const line of lines) {
        if (line.startsWith("data: ")) yield JSON.parse(line.slice(6));
      }
    }
  } finally {
    clearTimeout(timer);
  }
}

function show(what, stream) {
  // The source is missing if the last record of an ended stream is unknown.
  console.log(`${what} ${stream.id} ${stream.source_addr ?? ""}: ${streams.size} live`);
}

/** Reads all live streams, and returns the position of the list in the events. */
async function list() {
  const response = await open("/api/v1/snapshot", {}, AbortSignal.timeout(SILENCE));
  const snapshot = await response.json();
  streams.clear();
  for (const stream of snapshot.streams) {
    streams.set(stream.id, stream);
    show("live", stream);
  }
  return snapshot.revision;
}

function apply({ event, stream }) {
  if (!stream) return; // "alive": nothing has changed
  if (event === "unregistered" || event === "expired") streams.delete(stream.id);
  else streams.set(stream.id, stream);
  show(event, stream);
}

let position;
for (;;) {
  let pause = 500 + Math.random() * 1000; // so that not all followers return at the same moment
  try {
    position ??= await list();
    for await (const event of events(position)) {
      position = event.revision;
      if (event.event === "resync") { // events are missing, e.g. because the store was restarted
        position = undefined; // read the list again
        break;
      }
      apply(event);
    }
  } catch (error) {
    if (error.status < 500) { // e.g. a wrong token
      console.error(`failed: ${error.message}`);
      process.exit(1);
    }
    console.error(`cannot follow: ${error.cause?.message ?? error.message}`);
    pause += 1000 * (error.retryAfter ?? 0);
  }
  await sleep(pause);
}
