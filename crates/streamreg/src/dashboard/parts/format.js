// Numbers, times and strings as the page shows them.

import { Exact } from "../data/json.js";

export const UNSET = "–";
const HOUR_MS = 3600000;

// Escapes invisible characters and characters that change the text direction.
const INVISIBLE = /[\p{Cc}\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;
export const plain = (text) => String(text ?? "").replace(INVISIBLE, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);

export const orUnset = (text) => plain(text) || UNSET;

// Returns a number with separators, e.g. 10,000. A number above 2^53 that is not exact has been rounded, so its last
// digits are unknown and are not shown.
export function number(n) {
  if (n instanceof Exact) return /^\d+$/.test(n.source) ? n.source.replace(/\B(?=(\d{3})+$)/g, ",") : number(Number(n));
  if (!Number.isFinite(n)) return UNSET;
  if (Number.isSafeInteger(n)) return n.toLocaleString("en-GB");
  return Math.abs(n) > Number.MAX_SAFE_INTEGER ? `about ${n.toPrecision(3)}` : String(n);
}

export function bitrate(bits) {
  if (!Number.isFinite(bits)) return [UNSET, ""];
  const units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s", "Ebit/s"];
  let at = 0;
  while (bits >= 999.95 && at < units.length - 1) { bits /= 1000; at += 1; }
  return [bits.toFixed(at === 0 ? 0 : 1), units[at]];
}

// Returns the share of lost packets, or -1 if no packets are known.
export function lossRatio({ packets_lost, packets_received }) {
  const lost = Number(packets_lost) || 0;
  const all = lost + (Number(packets_received) || 0);
  return all === 0 ? -1 : lost / all;
}

// Returns the share of lost packets as text, and whether the share is high.
export function loss(stream) {
  const percent = 100 * lossRatio(stream);
  if (percent < 0) return [UNSET, false];
  return [percent > 0 && percent < 0.005 ? "<0.01 %" : `${percent.toFixed(2)} %`, percent >= 1];
}

// Returns the round-trip time, or else the jitter, in milliseconds.
export const delay = ({ rtt_ms, jitter_ms }) => Number(rtt_ms ?? jitter_ms ?? -1);

export function delayText(stream) {
  const ms = delay(stream);
  if (!(ms >= 0)) return UNSET;
  if (ms > HOUR_MS) return "> 1 h";
  const value = ms.toFixed(ms < 0.1 ? 2 : ms < 100 ? 1 : 0);
  return stream.rtt_ms === undefined ? `±${value} ms` : `${value} ms`;
}

// Returns codec and height of the picture, e.g. "HEVC 1080p", and the same with the width.
export function videoText({ video_codec, resolution }) {
  const text = (size) => orUnset([video_codec, size].filter(Boolean).join(" "));
  return [text(String(resolution ?? "").replace(/^\d+x(\d+)$/, "$1p")), text(resolution)];
}

export function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const parts = (big, unit, small, rest) => small ? `${big} ${unit} ${small} ${rest}` : `${big} ${unit}`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return parts(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86400) return parts(Math.floor(s / 3600), "h", Math.floor(s % 3600 / 60), "min");
  return parts(Math.floor(s / 86400), "d", Math.floor(s % 86400 / 3600), "h");
}

// Returns a time in milliseconds, or NaN if it is unknown. The year 1 stands for an unknown time.
export function time(text) {
  const at = Date.parse(text);
  return new Date(at).getUTCFullYear() > 1 ? at : NaN;
}

export function since(text, now) {
  const at = time(text);
  return Number.isFinite(at) ? span(now - at) : UNSET;
}

// Returns the age of the last heartbeat, and whether it exceeds half the time to live.
export function heartbeat(stream, now, ttl) {
  const at = time(stream.last_heartbeat);
  if (!Number.isFinite(at)) return Number.isFinite(Date.parse(stream.last_heartbeat)) ? ["never", true] : [UNSET, false];
  const age = now - at;
  return [age < 1000 ? "now" : span(age), age > ttl / 2];
}

// These functions return local times in the style of ISO 8601, which the Swedish locale has.
export const clock = (ms) => new Date(ms).toLocaleTimeString("sv-SE");
export const dateAndClock = (ms) => new Date(ms).toLocaleString("sv-SE");

// Returns when something happened, without the date if that was today.
export function moment(text) {
  const at = time(text);
  if (!Number.isFinite(at)) return UNSET;
  const isToday = new Date(at).toDateString() === new Date().toDateString();
  return isToday ? clock(at) : dateAndClock(at).slice(5, -3);
}
