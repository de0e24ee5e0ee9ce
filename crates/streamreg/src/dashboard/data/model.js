// The live streams, as the pages of the list and the events of the change feed describe them.
//
// Each stream has one entry while it lives. An entry keeps its identity when its record changes, so tables can hold
// entries, and find out through `gone` that a stream has ended.

import { serverNow } from "./api.js";

const ENDS = ["unregistered", "expired"];
export const isEnd = ({ event }) => ENDS.includes(event);

export class Model {
  #entries = new Map();
  #trackers = [];
  // Ids of the entries that a load has not confirmed yet.
  #unconfirmed = null;

  get size() { return this.#entries.size; }
  get(id) { return this.#entries.get(id); }
  entries() { return this.#entries.values(); }

  // Returns a set that collects each entry that changes. The caller empties the set.
  track() {
    const changed = new Set();
    this.#trackers.push(changed);
    return changed;
  }

  #changed(entry) {
    for (const changed of this.#trackers) changed.add(entry);
  }

  put(record) {
    let entry = this.#entries.get(record.id);
    if (!entry) this.#entries.set(record.id, entry = { id: record.id, record, gone: false, key: "", group: "", at: 0 });
    entry.record = record;
    entry.at = serverNow();
    this.#changed(entry);
  }

  drop(id) {
    const entry = this.#entries.get(id);
    if (!entry) return;
    entry.gone = true;
    this.#entries.delete(id);
    this.#changed(entry);
  }

  // Applies an event about a stream that should be in the model if `isWanted` accepts its record.
  apply(event, isWanted) {
    const { stream } = event;
    if (!isEnd(event) && isWanted(stream)) this.put(stream); else this.drop(stream.id);
  }

  // Stores newer statistics of a stream, unless the stream has ended.
  refresh(record) {
    if (this.#entries.has(record.id)) this.put(record);
  }

  // A load confirms all streams that are still live. Entries that it does not confirm have ended.
  beginLoad() {
    this.#unconfirmed = new Set(this.#entries.keys());
  }

  confirm(record) {
    this.#unconfirmed.delete(record.id);
    this.put(record);
  }

  endLoad() {
    for (const id of this.#unconfirmed) this.drop(id);
    this.#unconfirmed = null;
  }
}
