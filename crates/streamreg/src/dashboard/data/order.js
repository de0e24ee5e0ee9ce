// The streams that match the selection, in its order.
//
// After a change, only the changed streams are sorted and then merged into the others, so the cost of an update does
// not depend on how often the streams change.

import { sorter } from "../parts/fields.js";
import { matcher } from "../parts/url.js";

export class Order {
  #model;
  #changed;
  #matches;
  #sorter;
  #entries = [];

  constructor(model) {
    this.#model = model;
    this.#changed = model.track();
  }

  get entries() { return this.#entries; }

  // Sorts all streams for another selection.
  select(selection) {
    this.#matches = matcher(selection);
    this.#sorter = sorter(selection);
    this.#changed.clear();
    this.#entries = this.#sorted(this.#model.entries());
  }

  // Applies all changes since the last call. Returns whether there were any.
  update() {
    if (this.#changed.size === 0) return false;
    const moved = this.#sorted(this.#changed);
    const { compare } = this.#sorter;
    const merged = [];
    let next = 0;
    for (const entry of this.#entries) {
      if (this.#changed.has(entry)) continue;
      while (next < moved.length && compare(moved[next], entry) < 0) merged.push(moved[next++]);
      merged.push(entry);
    }
    while (next < moved.length) merged.push(moved[next++]);
    this.#entries = merged;
    this.#changed.clear();
    return true;
  }

  // Applies only the changes that move nothing: a stream that has ended and is live again takes the place of its earlier
  // run. Returns whether there were any.
  hold() {
    let isReplaced = false;
    for (const [at, { id, gone, key, group }] of this.#entries.entries()) {
      const live = gone && this.#model.get(id);
      if (!live) continue;
      this.#entries[at] = Object.assign(live, { key, group });
      isReplaced = true;
    }
    this.#trim();
    return isReplaced;
  }

  // Forgets changes that no longer matter, because the stream has ended before it was in the order.
  #trim() {
    if (this.#changed.size <= this.#entries.length) return;
    const listed = new Set(this.#entries);
    for (const entry of this.#changed) {
      if (entry.gone && !listed.has(entry)) this.#changed.delete(entry);
    }
  }

  #sorted(entries) {
    const wanted = [];
    for (const entry of entries) {
      if (entry.gone || !this.#matches(entry.record)) continue;
      this.#sorter.prepare(entry);
      wanted.push(entry);
    }
    return wanted.sort(this.#sorter.compare);
  }
}
