// Line charts on a canvas, from 0 at the bottom to the highest value at the top.

import { SIZE } from "../data/rings.js";

let inks = new WeakMap();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { inks = new WeakMap(); });

// Returns the colour that the style sheet gives to a canvas. Asking for it again in each frame would be slow.
function ink(canvas) {
  let color = inks.get(canvas);
  if (!color) inks.set(canvas, color = getComputedStyle(canvas).color);
  return color;
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

// Draws the values of a ring. Returns the lowest, highest and latest value, or null if the ring is empty.
export function draw(canvas, ring, { fill = false, steps = SIZE } = {}) {
  const { context, width, height } = prepare(canvas);
  let range = null;
  ring?.forEach((age, value) => {
    if (age >= steps || Number.isNaN(value)) return;
    range ??= { lowest: value, highest: value };
    range.lowest = Math.min(range.lowest, value);
    range.highest = Math.max(range.highest, value);
    range.latest = value;
  });
  if (!range || width === 0) return range;
  const x = (age) => width - 1 - age * (width - 2) / (steps - 1);
  const y = (value) => height - 1.5 - (height - 3) * value / (range.highest || 1);
  context.strokeStyle = context.fillStyle = ink(canvas);
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  let line = [];
  const finish = () => {
    if (line.length === 0) return;
    context.beginPath();
    for (const [px, py] of line) context.lineTo(px, py);
    if (line.length === 1) context.lineTo(line[0][0] - 1, line[0][1]);
    context.stroke();
    if (fill && line.length > 1) {
      context.lineTo(line.at(-1)[0], height);
      context.lineTo(line[0][0], height);
      context.globalAlpha = 0.15;
      context.fill();
      context.globalAlpha = 1;
    }
    line = [];
  };
  ring.forEach((age, value) => {
    if (age >= steps) return;
    if (Number.isNaN(value)) finish(); else line.push([x(age), y(value)]);
  });
  finish();
  return range;
}
