// The latest events, and those of the stream that the page shows in detail.

const MAX_EVENTS = 500;
const MAX_OF_STREAM = 50;

export class Log {
  #events = [];
  #followed = null;
  #ofStream = [];

  add(events) {
    this.#events.push(...events);
    if (this.#events.length > 2 * MAX_EVENTS) this.#events.splice(0, this.#events.length - MAX_EVENTS);
    if (this.#followed === null) return;
    const mine = events.filter(({ stream }) => stream.id === this.#followed);
    this.#ofStream = [...mine.reverse(), ...this.#ofStream].slice(0, MAX_OF_STREAM);
  }

  // Returns the latest events, the latest first.
  latest() { return this.#events.slice(-MAX_EVENTS).reverse(); }

  // Keeps the events of one stream, even if many other events follow.
  follow(id) {
    this.#followed = id;
    this.#ofStream = this.latest().filter(({ stream }) => stream.id === id).slice(0, MAX_OF_STREAM);
  }

  ofStream() { return this.#ofStream; }
}
