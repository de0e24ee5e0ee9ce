// The latest events, and those of the stream that the page shows in detail.
//
// Between the events are gaps, `{ gap: { from, to } }`: times of which events may be missing.

const MAX_EVENTS = 500;
const MAX_OF_STREAM = 50;

export class Log {
  // When the page was opened.
  since = Date.now();
  #entries = [];
  #followed = null;
  #ofStream = [];

  // Adds events or gaps, the oldest first.
  add(entries) {
    this.#entries.push(...entries);
    if (this.#entries.length > 2 * MAX_EVENTS) this.#entries.splice(0, this.#entries.length - MAX_EVENTS);
    if (this.#followed !== null) this.#ofStream = [...this.#mine(entries.toReversed()), ...this.#ofStream];
    this.#ofStream.splice(MAX_OF_STREAM);
  }

  #mine(entries) { return entries.filter(({ gap, stream }) => gap || stream.id === this.#followed); }

  // Returns the latest entries, the latest first.
  latest() { return this.#entries.slice(-MAX_EVENTS).reverse(); }

  // Keeps the entries of one stream, even if many other events follow.
  follow(id) {
    this.#followed = id;
    this.#ofStream = this.#mine(this.latest()).slice(0, MAX_OF_STREAM);
  }

  ofStream() { return this.#ofStream; }
}
