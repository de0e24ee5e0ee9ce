// Requests to the server. The server filters, sorts and counts, so the page holds only the streams that it shows.

import { plain } from "./format.js";
import { conditions } from "./selection.js";

const TIMEOUT_MS = 8000;
export const PAGE_STREAMS = 100;
// Largest page that the server returns.
const MAX_STREAMS = 10000;

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

export async function ask(path, signal) {
  const signals = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { cache: "no-store", headers, signal: signals });
  if (!response.ok) throw new Problem(response.status, await response.json().catch(() => ({})));
  // Use the server's clock, because the local clock may be wrong.
  const date = Date.parse(response.headers.get("date"));
  return { body: await response.json(), now: Number.isFinite(date) ? date : Date.now() };
}

// Returns the number of streams by status. Applies the search of the selection, but not its status.
export async function summary({ search }, signal) {
  return (await ask(`api/v1/summary?${conditions({ search })}`, signal)).body;
}

// The cursors of one list, by page number. The first page has no cursor.
let known = { list: "", cursors: [] };

export function forgetCursors() {
  known = { list: "", cursors: [] };
}

// Returns a page of the list. If the list is shorter, returns the number of its last page as `last` instead.
export async function page(selection, signal) {
  const query = conditions(selection);
  query.set("sort", selection.sort);
  const list = String(query);
  if (known.list !== list) known = { list, cursors: [undefined, null] };
  const { cursors } = known;
  const read = (limit, cursor) => {
    query.set("limit", limit);
    if (cursor) query.set("cursor", cursor);
    return ask(`api/v1/streams?${query}`, signal);
  };
  // A link can lead to any page. To find the cursor of a page, read the streams of all pages before it.
  let at = selection.page;
  while (at >= cursors.length || cursors[at] === undefined) at = Math.min(at, cursors.length) - 1;
  while (at < selection.page) {
    const pages = Math.min(selection.page - at, MAX_STREAMS / PAGE_STREAMS);
    const { body } = await read(pages * PAGE_STREAMS, cursors[at]);
    if (!body.next_cursor) return { last: at + Math.max(0, Math.ceil(body.streams.length / PAGE_STREAMS) - 1) };
    at += pages;
    cursors[at] = body.next_cursor;
  }
  const answer = await read(PAGE_STREAMS, cursors[at]);
  if (answer.body.streams.length === 0 && at > 1) return { last: at - 1 };
  // Cursors of later pages are outdated, because they continue an earlier version of this page.
  cursors.length = at + 1;
  if (answer.body.next_cursor) cursors.push(answer.body.next_cursor);
  return answer;
}
