// Keeps the model current: loads all pages of the list, then follows the change feed from the revision of the first
// page. After a lost connection, the feed resumes after the last event. After `resync`, the list is loaded again.
//
// Each visible tab has a connection of its own. Tabs could share one only with Web Locks, which browsers offer on
// secure pages only. A tab that is hidden closes its connection soon, because a browser opens about six connections
// to a server over HTTP/1.1.

import { ask, Problem, send, serverNow } from "./api.js";
import { readEvents } from "./sse.js";
import { conditions, matcher, NO_FILTER } from "../parts/url.js";

// Larger registries are not loaded as a whole. Then the server filters, and the model has the first matches only.
export const MAX_STREAMS = 20000;
const FIRST_PAGE = 500;
const PAGE = 2000;
// The server sends an event at least every 10 s.
const SILENCE_MS = 25000;
const HIDDEN_MS = 10000;
const MIN_PAUSE_MS = 500;
const MAX_PAUSE_MS = 15000;
// A store without a change feed is read again after this time. It is shorter than the time after which data is old.
const NO_FEED_MS = 20000;
// Why this page itself ends a connection. Any other end is a failure.
const INTENDED = ["hidden", "resync", "select"];

export class Feed {
  #model;
  #report;
  #revision = null;
  #selection = { ...NO_FILTER };
  // Whether there are more streams than the model can hold, so that only matches of the selection are loaded.
  #isLarge = false;
  #loaded = "";
  #hasFeed = true;
  #lastId = null;
  // When the feed has last shown that no event is missing, or null if the page does not follow a feed.
  #heard = null;
  #isFailing = false;
  #abort = new AbortController();
  #wake = () => {};

  // `report` is called with `{ loading }` after each page, `{ loaded, gap }` after the last one, `{ events }` after
  // each sign of life, `{ paused }` if the tab is hidden, and `{ failure }`. `gap` is null, or the time of which events
  // may be missing.
  constructor(model, report) {
    this.#model = model;
    this.#report = report;
    let hidden;
    const visibility = () => {
      clearTimeout(hidden);
      if (document.hidden) hidden = setTimeout(() => this.#pause(), HIDDEN_MS); else this.retry();
    };
    document.addEventListener("visibilitychange", visibility);
    // A browser that restores its windows opens most tabs hidden.
    visibility();
  }

  #pause() {
    this.#abort.abort("hidden");
    this.#report({ paused: true });
  }

  // Tries at once what would be tried after a pause.
  retry() { this.#wake(); }

  select(selection) {
    this.#selection = selection;
    if (this.#isLarge && this.#filter() !== this.#loaded) this.#reload("select");
  }

  #reload(reason) {
    this.#revision = null;
    this.#abort.abort(reason);
    this.#wake();
  }

  async run() {
    let pause = MIN_PAUSE_MS;
    for (;;) {
      this.#abort = new AbortController();
      try {
        if (this.#revision === null) await this.#load();
        if (this.#revision !== null && this.#hasFeed) {
          await this.#follow(() => { pause = MIN_PAUSE_MS; });
        } else {
          this.#revision = null;
          pause = NO_FEED_MS;
          this.#report({ events: [] });
        }
      } catch (error) {
        // An invalid revision belongs to another store.
        if (error instanceof Problem && error.isRejection && !error.needsToken) this.#revision = null;
        if (error instanceof Problem && error.code === "unsupported") [this.#hasFeed, this.#heard] = [false, null];
        else if (!INTENDED.includes(this.#abort.signal.reason)) {
          this.#isFailing = true;
          this.#report({ failure: error });
        }
      }
      if (document.hidden) await this.#rest(Infinity);
      else if (this.#abort.signal.reason !== "select") {
        await this.#rest(pause * (0.5 + Math.random() / 2));
        pause = Math.min(2 * pause, MAX_PAUSE_MS);
      }
    }
  }

  #rest(ms) {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (ms !== Infinity) setTimeout(resolve, ms);
    });
  }

  #filter() { return this.#isLarge ? String(conditions(this.#selection)) : ""; }

  async #load() {
    const { signal } = this.#abort;
    this.#loaded = this.#filter();
    this.#lastId = null;
    const query = new URLSearchParams(this.#loaded);
    query.set("sort", "id");
    let revision = null, began = null, streams = 0, unreadable = 0, cursor = null;
    this.#model.beginLoad();
    do {
      query.set("limit", cursor ? Math.min(PAGE, MAX_STREAMS - streams) : FIRST_PAGE);
      if (cursor) query.set("cursor", cursor);
      const body = await ask(`api/v1/streams?${query}`, signal);
      if (!cursor) {
        [revision, began] = [body.revision, serverNow()];
        if (!this.#loaded) this.#isLarge = body.total > MAX_STREAMS;
        if (this.#filter() !== this.#loaded) return this.#load();
      }
      for (const record of body.streams) this.#model.confirm(record);
      streams += body.streams.length;
      unreadable += body.unreadable ?? 0;
      cursor = body.next_cursor;
      this.#report({ loading: true });
      if (cursor && streams >= MAX_STREAMS) {
        this.#lastId = body.streams.at(-1).id;
        cursor = null;
      }
    } while (cursor);
    this.#model.endLoad();
    this.#revision = revision;
    const gap = this.#heard === null ? null : { from: this.#heard, to: began };
    if (revision !== null && this.#hasFeed) this.#heard = began;
    this.#report({ loaded: { isPartial: this.#lastId !== null, unreadable }, gap });
  }

  async #follow(onEvent) {
    const abort = this.#abort;
    let silence;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => abort.abort(), SILENCE_MS);
    };
    heard();
    try {
      const headers = { accept: "text/event-stream", "last-event-id": this.#revision };
      const response = await send("api/v1/events", abort.signal, { headers });
      const isWanted = this.#isLarge ? this.#wanted() : () => true;
      await readEvents(response, (events) => {
        heard();
        const isResync = events.some(({ event }) => event === "resync");
        // The first answer after an outage ends the long pauses. Further resyncs do not.
        if (!isResync || this.#isFailing) onEvent();
        this.#isFailing = false;
        if (isResync) return this.#reload("resync");
        this.#heard = serverNow();
        this.#apply(events, isWanted);
      });
    } finally {
      clearTimeout(silence);
    }
  }

  // Returns which records belong to a model that holds only the first matches of the selection.
  #wanted() {
    const matches = matcher(this.#selection);
    return (record) => matches(record) && (this.#lastId === null || record.id <= this.#lastId);
  }

  #apply(events, isWanted) {
    const changes = [];
    for (const event of events) {
      this.#revision = event.revision;
      if (!event.stream) continue;
      this.#model.apply(event, isWanted);
      changes.push(event);
    }
    this.#report({ events: changes });
  }
}
