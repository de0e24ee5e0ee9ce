#!/usr/bin/env node
// Registers a stream, keeps it alive, and unregisters it at SIGTERM or Ctrl-C.
//
//   export STREAMREG_URL=http://127.0.0.1:8580 STREAMREG_TOKEN=...
//   node publisher.mjs cam1 203.0.113.7:40112
//
// Needs Node.js 18 or later, and no packages. docs/http.md describes the API.

import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

const { STREAMREG_URL: url = "http://127.0.0.1:8580", STREAMREG_TOKEN: token } = process.env;
const started = performance.now();
const stop = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => stop.abort());

/** The server rejected a request, or did not answer. */
class Problem extends Error {
  constructor(detail, { code, retryAfter } = {}) {
    super(detail);
    this.code = code; // e.g. "not_found"; stable, unlike the detail
    this.retryAfter = retryAfter; // in seconds; undefined if a retry is useless
  }
}

/** Sends a request. Returns the JSON of the response, or throws a Problem. */
async function call(method, path, { body, epoch } = {}) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (epoch) headers["Stream-Epoch"] = epoch;
  const signal = AbortSignal.timeout(5000);
  let response, text;
  try {
    response = await fetch(url + path, { method, headers, body: JSON.stringify(body), signal });
    text = await response.text();
  } catch (error) { // e.g. the server restarts
    throw new Problem(error.cause?.message ?? error.message, { retryAfter: 1 });
  }
  if (response.ok) return text ? JSON.parse(text) : undefined;
  if (!response.headers.get("Content-Type")?.includes("problem+json")) { // e.g. of a proxy
    const retryAfter = response.status >= 500 ? 1 : undefined;
    throw new Problem(`status ${response.status}`, { retryAfter });
  }
  const { code, detail, retryable } = JSON.parse(text); // RFC 9457
  const retryAfter = Number(response.headers.get("Retry-After") ?? 1);
  throw new Problem(detail, { code, retryAfter: retryable ? retryAfter : undefined });
}

/** Waits until the time has passed or the program is asked to stop. */
async function wait(seconds) {
  await sleep(seconds * 1000, undefined, { signal: stop.signal }).catch(() => {});
}

/** Returns the statistics since the start. Replace this by the counters of your ingest code. */
function measure() {
  const seconds = Math.floor((performance.now() - started) / 1000);
  const received = { bytes_received: seconds * 625_000, packets_received: seconds * 475 };
  return { ...received, packets_lost: 0, bitrate: 5_000_000 };
}

/** Registers the stream with a lease. If the server is down, waits for it. */
async function register(record) {
  while (!stop.signal.aborted) {
    try {
      return await call("POST", "/api/v1/streams?lease=true", { body: record });
    } catch (problem) {
      if (!problem.retryAfter) throw problem; // e.g. another publisher has the id
      console.error(`cannot register yet: ${problem.message}`);
      await wait(problem.retryAfter);
    }
  }
}

/** Reports statistics, which count as a heartbeat. */
async function report(record, epoch) {
  const stats = measure();
  const query = new URLSearchParams({ id: record.id });
  try {
    await call("PUT", `/api/v1/stream/stats?${query}`, { body: stats, epoch });
  } catch (problem) {
    if (problem.code !== "not_found") throw problem;
    // The stream has expired, or the store has lost it. Register it again with the same epoch. This
    // fails if the stream was unregistered or taken over, so it never disturbs others.
    await call("POST", "/api/v1/streams?recover=true", { body: { ...record, ...stats }, epoch });
    console.error("registered again");
  }
}

async function publish(id, source) {
  const record = { id, type: "srt", source_addr: source, status: "active", node: hostname() };
  const registered = await register(record);
  if (!registered) return;
  const { stream, epoch, ttl_ms: ttl } = registered;
  const interval = Math.min(ttl / 5000, 10);
  console.error(`registered ${id}`);
  let pause = interval;
  while (await wait(pause), !stop.signal.aborted) {
    pause = interval;
    try {
      await report(stream, epoch);
    } catch (problem) {
      if (["not_found", "not_holder"].includes(problem.code)) {
        throw new Error(`lost ${id}: ${problem.message}`); // stop ingesting
      }
      // Go on ingesting: the next report after an outage makes up for the missing ones.
      console.error(`cannot report: ${problem.message}`);
      pause = problem.retryAfter ?? interval;
    }
  }
  const query = new URLSearchParams({ id, reason: "publisher stopped" });
  await call("DELETE", `/api/v1/stream?${query}`, { epoch });
}

try {
  await publish(...process.argv.slice(2));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
