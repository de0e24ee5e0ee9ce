// Whether the page shows current data: the sign in the header, and a message during an outage.

import { serverNow, Problem } from "../data/api.js";
import { $, mark, write } from "../parts/dom.js";
import { clock, span } from "../parts/format.js";

// The server sends an event at least every 10 s. After this time, the data counts as old.
const SILENCE_MS = 25000;

export class Connection {
  // The present failure of the change feed and of the polls.
  #failures = { feed: null, polls: null };
  #state = "loading";
  #since = null;
  #contact = null;

  // Returns the server's time. Without contact, this is the time of the data, so ages do not grow.
  now() { return this.isCurrent || this.#contact === null ? serverNow() : this.#contact.server; }

  get isCurrent() { return this.#state === "live" && this.#since === null && !this.#isSilent; }
  get #isSilent() { return this.#contact !== null && Date.now() - this.#contact.local > SILENCE_MS; }

  // Notes that the feed is loading, live or paused, or that a source works again.
  works(source, state = this.#state) {
    this.#failures[source] = null;
    this.#state = state;
    if (state === "live") this.#contact = { server: serverNow(), local: Date.now() };
    this.show();
  }

  isFailing(source) { return this.#failures[source] !== null; }

  fails(source, failure) {
    this.#failures[source] = failure;
    this.show();
  }

  // Returns the failure that matters most, and its source.
  get #worst() {
    const { polls, feed } = this.#failures;
    if (feed instanceof Problem && feed.needsToken) return ["feed", feed];
    return polls ? ["polls", polls] : ["feed", feed];
  }

  show() {
    const [source, failure] = this.#worst;
    this.#since = failure ? this.#since ?? Date.now() : null;
    const isOld = failure !== null || this.#isSilent;
    document.body.classList.toggle("stale", isOld);
    const seen = this.#contact === null ? "no data yet" : `data from ${clock(this.#contact.local)}`;
    const signs = { loading: "Loading", live: "Live", paused: "Paused" };
    const sign = isOld ? "old" : this.#state;
    mark($("connection"), "class", `sign ${sign}`);
    write($("connection"), isOld ? `Not live, ${seen}` : signs[this.#state]);
    $("outage").hidden = failure === null;
    $("summary").hidden = failure !== null;
    const needsToken = failure instanceof Problem && failure.needsToken;
    document.body.classList.toggle("denied", needsToken);
    $("access").hidden = !needsToken;
    if (!failure) return;
    write($("trouble"), message(source, failure, clock(this.#since), this.#contact !== null));
    write($("lasting"), `(${span(Date.now() - this.#since)})`);
    document.title = `${failure instanceof Problem ? "Error" : "No response"} – live streams`;
  }
}

function message(source, failure, since, hasData) {
  const old = hasData ? " Showing the last known streams." : "";
  if (!(failure instanceof Problem)) return `The server has not responded since ${since}.${old}`;
  if (failure.needsToken) return `The server needs a token for reading: ${failure.message}.`;
  if (failure.isRejection) return `The server rejected this selection: ${failure.message}.`;
  if (source === "feed") return `The server has sent no events since ${since}: ${failure.message}.${old}`;
  return `The server has been unable to read its store since ${since}: ${failure.message}.${old}`;
}
