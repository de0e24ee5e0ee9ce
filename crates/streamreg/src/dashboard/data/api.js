// Requests to the server.

import { exact } from "./json.js";
import { plain } from "../parts/format.js";
import { conditions } from "../parts/url.js";

const TIMEOUT_MS = 8000;
// Ids are sent in the URL, and some proxies allow 8 KiB. The server accepts 100 ids.
const MAX_IDS_LENGTH = 4000;
const MAX_IDS = 100;

// The token is kept until the tab is closed.
const TOKEN = "streamreg.token";

export function useToken(token) {
  if (token) sessionStorage.setItem(TOKEN, token); else sessionStorage.removeItem(TOKEN);
}

// An error response of the server.
export class Problem extends Error {
  constructor(status, body) {
    super(plain(body.detail || `status ${status}`));
    this.code = body.code;
    this.needsToken = status === 401 || status === 403;
    this.isRejection = status >= 400 && status < 500;
  }
}

// Sends a request and returns the response. Throws a `Problem` if the status is not 2xx.
export async function send(path, signal, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = { ...options.headers };
  if (token) headers.authorization = `Bearer ${token}`;
  const response = await fetch(path, { cache: "no-store", ...options, headers, signal });
  if (!response.ok) throw new Problem(response.status, await response.json().catch(() => ({})));
  return response;
}

// The server's clock minus the local clock, which may be wrong.
let clockOffset = 0;
export const serverNow = () => Date.now() + clockOffset;
export const toLocal = (serverTime) => serverTime - clockOffset;

// Reads a JSON document.
export async function ask(path, signal) {
  const response = await send(path, AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]));
  const date = Date.parse(response.headers.get("date"));
  if (Number.isFinite(date)) clockOffset = date - Date.now();
  return response.json();
}

const byId = (path, id) => `api/v1/stream${path}?id=${encodeURIComponent(id)}`;

// Reads the record of a live stream, with exact numbers.
export async function record(id, signal) {
  const response = await send(byId("", id), AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]));
  return exact(await response.text());
}

// Returns a command that reads the record of a live stream, or the ends of streams with its id. It does not contain the
// token.
export function curl(id, hasEnded) {
  const path = hasEnded ? `api/v1/history?id=${encodeURIComponent(id)}` : byId("", id);
  const url = new URL(path.replaceAll("'", "%27"), document.baseURI);
  const token = sessionStorage.getItem(TOKEN) ? " -H \"Authorization: Bearer $TOKEN\"" : "";
  return `curl '${url.href}'${token}`;
}

// Changes a live stream. Only with `force`, this also works for a stream that is leased.
export function setStatus(id, status, force) {
  const options = {
    method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify({ status }),
  };
  return send(byId("/status", id) + (force ? "&force=true" : ""), AbortSignal.timeout(TIMEOUT_MS), options);
}

export function end(id, reason, force) {
  const query = (reason ? `&reason=${encodeURIComponent(reason)}` : "") + (force ? "&force=true" : "");
  return send(byId("", id) + query, AbortSignal.timeout(TIMEOUT_MS), { method: "DELETE" });
}

// Reads the events of ended streams, the latest first, with exact numbers.
export async function history(conditions, signal) {
  // A history can read the whole change feed.
  const response = await send(`api/v1/history?${new URLSearchParams(conditions)}`, signal);
  return exact(await response.text()).ended;
}

// Counts the matches of a selection by `by`, without the condition about that field.
export function summary(selection, by, signal) {
  const query = conditions({ ...selection, [by]: by === "node" ? null : "" });
  query.set("by", by);
  return ask(`api/v1/summary?${query}`, signal);
}

// Reads the current records of some streams. Streams that have ended are left out.
export async function records(ids, signal) {
  const queries = [];
  let query = "", count = 0;
  for (const id of ids) {
    const next = `id=${encodeURIComponent(id)}`;
    if (query && (count === MAX_IDS || query.length + next.length > MAX_IDS_LENGTH)) {
      queries.push(query);
      [query, count] = ["", 0];
    }
    query += query ? `&${next}` : next;
    count += 1;
  }
  if (query) queries.push(query);
  const answers = await Promise.all(queries.map((one) => ask(`api/v1/streams?${one}`, signal)));
  return answers.flatMap(({ streams }) => streams);
}
