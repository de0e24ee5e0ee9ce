// Line charts on a canvas, from 0 at the bottom to the highest value at the top. Times that were not recorded are
// hatched. In small charts, which have no area below the line, they are grey.

import { SIZE, STEP_MS } from "../data/rings.js";
import { write } from "./dom.js";
import { clock } from "./format.js";

// Distance between the lines of a hatched area, in pixels.
const HATCH = 10;

let inks = new WeakMap();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { inks = new WeakMap(); });

// Returns the colours that the style sheet gives to a canvas. Asking for them again in each frame would be slow.
function inksOf(canvas) {
  let colours = inks.get(canvas);
  if (!colours) {
    const style = getComputedStyle(canvas);
    colours = { line: style.color, shade: style.getPropertyValue("--line"), hatch: style.getPropertyValue("--edge") };
    inks.set(canvas, colours);
  }
  return colours;
}

// Adapts the number of pixels to the size of the canvas on the screen.
function prepare(canvas) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const scale = devicePixelRatio;
  const [columns, rows] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== columns || canvas.height !== rows) [canvas.width, canvas.height] = [columns, rows];
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

function markUnrecorded(context, from, to, height, inks, isHatched) {
  if (!isHatched) {
    context.fillStyle = inks.shade;
    context.fillRect(from, 0, to - from, height);
    return;
  }
  context.save();
  context.beginPath();
  context.rect(from, 0, to - from, height);
  context.clip();
  context.beginPath();
  // The lines of all areas are parts of the same pattern.
  for (let x = Math.floor((from - height) / HATCH) * HATCH; x < to; x += HATCH) {
    context.moveTo(x, height);
    context.lineTo(x + height, 0);
  }
  context.strokeStyle = inks.hatch;
  context.globalAlpha = 0.5;
  context.lineWidth = 1;
  context.stroke();
  context.restore();
}

function line(context, points, height, inks, isFilled) {
  context.strokeStyle = context.fillStyle = inks.line;
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  if (points.length === 1) context.lineTo(points[0][0] - 1, points[0][1]);
  context.stroke();
  if (!isFilled || points.length === 1) return;
  context.lineTo(points.at(-1)[0], height);
  context.lineTo(points[0][0], height);
  context.globalAlpha = 0.15;
  context.fill();
  context.globalAlpha = 1;
}

// Calls `visit` with the first and the last position of each longest sequence that `isPart` accepts.
function sequences(values, isPart, visit) {
  let first = null;
  for (let at = 0; at <= values.length; at += 1) {
    const belongs = at < values.length && isPart(values[at]);
    if (belongs) first ??= at;
    else if (first !== null) { visit(first, at - 1); first = null; }
  }
}

// Draws the values of a ring until `now`. Returns the lowest, highest and latest value as `range`, or null if there are
// no values, and as `note` which moments were recorded, or "" if all were.
export function draw(canvas, ring, { fill = false, steps = SIZE, now } = {}) {
  const { context, width, height } = prepare(canvas);
  if (!ring) return { range: null, note: "" };
  const { values, end } = ring.last(steps, now);
  let range = null;
  for (const value of values) {
    if (!(value >= 0)) continue;
    range ??= { lowest: value, highest: value };
    range.lowest = Math.min(range.lowest, value);
    range.highest = Math.max(range.highest, value);
    range.latest = value;
  }
  if (width > 0) {
    const step = (width - 2) / (steps - 1);
    const x = (at) => 1 + at * step;
    const y = (value) => height - 1.5 - (height - 3) * value / (range.highest || 1);
    const inks = inksOf(canvas);
    sequences(values, Number.isNaN, (first, last) => {
      const [from, to] = [first === 0 ? 0 : x(first - 1), last === steps - 1 ? width : x(last + 1)];
      markUnrecorded(context, from, to, height, inks, fill);
    });
    sequences(values, (value) => value >= 0, (first, last) => {
      const points = Array.from(values.subarray(first, last + 1), (value, at) => [x(first + at), y(value)]);
      line(context, points, height, inks, fill);
    });
  }
  return { range, note: note(values, end) };
}

// Returns which of the moments until `end` were recorded, or "" if all were.
function note(values, end) {
  const first = values.findIndex((value) => !Number.isNaN(value));
  if (first < 0) return "Nothing recorded by this page";
  const since = first === 0 ? "" : ` since ${clock(end - (values.length - first) * STEP_MS)}`;
  const gaps = values.subarray(first).some(Number.isNaN) ? ", with gaps" : "";
  return since || gaps ? `Recorded by this page${since}${gaps}` : "";
}

// Shows the note of a chart after the legend of its shaded areas, or neither.
export function showNote(box, note) {
  box.hidden = note === "";
  write(box.lastElementChild, note);
}
