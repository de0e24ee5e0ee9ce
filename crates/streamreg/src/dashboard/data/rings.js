// The last minutes of the statistics that this page has polled, e.g. for sparklines.
//
// The times are those of the wall clock, which also counts the time while the machine is suspended.

// Time between two values, and the number of values: five minutes.
export const STEP_MS = 2000;
export const SIZE = 150;
export const MINUTES = STEP_MS * SIZE / 60000;
// If a poll is late, its value also stands for the few moments that were missed. Longer gaps were not recorded.
const MAX_LATE = 3;
// Maximum number of streams with values. In a larger registry, only streams that were on the screen have values, and
// the oldest values are forgotten.
export const MAX_RECORDED = 400;
// Stands for a moment at which the figure had no value. Figures are never negative.
const NO_VALUE = -1;

// The last values of one figure. Moments that were not recorded are NaN.
export class Ring {
  #values = new Float32Array(SIZE).fill(NaN);
  #step = -Infinity;
  version = 0;

  push(number, now = Date.now()) {
    this.version += 1;
    // Values above the range of a ring cannot be drawn.
    const value = number >= 0 && Number.isFinite(Math.fround(number)) ? number : NO_VALUE;
    const step = Math.floor(now / STEP_MS);
    const late = step - this.#step;
    // The clock may have been set back.
    if (late >= SIZE || late < -1) this.#values.fill(NaN);
    for (let missed = Math.min(late, SIZE) - 1; missed > 0; missed -= 1) {
      this.#values[(step - missed) % SIZE] = late > MAX_LATE ? NaN : value;
    }
    this.#values[step % SIZE] = value;
    this.#step = step;
  }

  // Returns the values of the last `steps` moments, the oldest first, and the time at which the last moment ends.
  last(steps, now = Date.now()) {
    const late = Math.floor(now / STEP_MS) - this.#step;
    const last = late > 0 && late <= MAX_LATE ? this.#step : this.#step + late;
    const values = new Float32Array(steps).fill(NaN);
    if (this.#step === -Infinity) return { values, end: now };
    for (let at = 0; at < steps; at += 1) {
      const step = last - steps + 1 + at;
      if (step <= this.#step && step > this.#step - SIZE) values[at] = this.#values[step % SIZE];
    }
    return { values, end: (last + 1) * STEP_MS };
  }
}

// The rings of the streams that were polled. A stream that registers again begins another run, with rings of its own.
export class Rings {
  #streams = new Map();

  // Returns the rings of the run that a record belongs to: the latest one, or the one before it.
  of({ id, created_at }) {
    const latest = this.#streams.get(id);
    return [latest, latest?.earlier].find((rings) => rings?.run === created_at);
  }

  push(record) {
    let rings = this.#streams.get(record.id);
    // A response about the earlier run may arrive late.
    if (rings?.earlier?.run === record.created_at) return;
    if (rings?.run !== record.created_at) {
      if (rings) rings.earlier = null;
      rings = { run: record.created_at, bitrate: new Ring(), loss: new Ring(), delay: new Ring(), last: null,
        lost: NaN, earlier: rings };
    }
    rings.bitrate.push(Number(record.bitrate));
    rings.delay.push(Number(record.rtt_ms ?? record.jitter_ms ?? NaN));
    rings.lost = rings.last ? lossBetween(rings.last, record, rings.lost) : NaN;
    rings.loss.push(rings.lost);
    rings.last = record;
    // The order of a map is that of insertion, so the stream that was polled last goes to the end.
    this.#streams.delete(record.id);
    this.#streams.set(record.id, rings);
    if (this.#streams.size > MAX_RECORDED) this.#streams.delete(this.#streams.keys().next().value);
  }
}

// Returns the share of packets that were lost between two records, in percent. Between two reports of the publisher,
// this is the share of the last report.
function lossBetween(before, after, reported) {
  const lost = after.packets_lost - before.packets_lost;
  const received = after.packets_received - before.packets_received;
  if (lost === 0 && received === 0) return reported;
  // Counters start again if the publisher restarts.
  return lost < 0 || received < 0 ? NaN : 100 * lost / (lost + received);
}
