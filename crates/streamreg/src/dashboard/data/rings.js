// The last minutes of the statistics that this page has polled, e.g. for sparklines.

// Time between two values, and the number of values: five minutes.
const STEP_MS = 2000;
export const SIZE = 150;
// If a poll is late, its value also stands for the moments that were missed. Longer gaps stay empty.
const MAX_LATE = 8;
// Only streams that were on the screen have values. The oldest ones are forgotten.
const MAX_STREAMS = 400;
export const MINUTES = STEP_MS * SIZE / 60000;

// The last values of one figure. Missing values are NaN.
export class Ring {
  #values = new Float32Array(SIZE).fill(NaN);
  #at = null;
  version = 0;

  push(number, now = performance.now()) {
    this.version += 1;
    // Values above the range of a ring cannot be drawn.
    const value = Number.isFinite(Math.fround(number)) ? number : NaN;
    const at = Math.floor(now / STEP_MS);
    const late = this.#at === null ? 1 : Math.min(at - this.#at, SIZE);
    for (let step = late - 1; step > 0; step -= 1) {
      this.#values[(at - step + SIZE) % SIZE] = late > MAX_LATE ? NaN : value;
    }
    this.#values[at % SIZE] = value;
    this.#at = at;
  }

  // Calls `visit` with the age, counted in steps, and the value of each known moment, the oldest first.
  forEach(visit, now = performance.now()) {
    if (this.#at === null) return;
    const at = Math.floor(now / STEP_MS);
    for (let age = SIZE - 1; age >= at - this.#at; age -= 1) visit(age, this.#values[(at - age + SIZE) % SIZE]);
  }
}

// The rings of the streams that were polled.
export class Rings {
  #streams = new Map();

  get(id) { return this.#streams.get(id); }

  push(record) {
    const known = this.#streams.get(record.id);
    const rings = known ?? { bitrate: new Ring(), loss: new Ring(), delay: new Ring(), last: null };
    rings.bitrate.push(Number(record.bitrate));
    rings.delay.push(Number(record.rtt_ms ?? record.jitter_ms ?? NaN));
    if (rings.last) rings.loss.push(lossBetween(rings.last, record));
    rings.last = record;
    // The order of a map is that of insertion, so the stream that was polled last goes to the end.
    this.#streams.delete(record.id);
    this.#streams.set(record.id, rings);
    if (this.#streams.size > MAX_STREAMS) this.#streams.delete(this.#streams.keys().next().value);
  }
}

// Returns the share of packets that were lost between two records, in percent.
function lossBetween(before, after) {
  const lost = after.packets_lost - before.packets_lost;
  const received = after.packets_received - before.packets_received;
  // Counters start again if the publisher restarts.
  return lost < 0 || received < 0 || lost + received === 0 ? NaN : 100 * lost / (lost + received);
}
