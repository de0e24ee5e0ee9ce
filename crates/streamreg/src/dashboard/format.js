// Numbers, times and strings as the page shows them.

const UNSET = "–";

// Escapes invisible characters and characters that change the text direction.
const INVISIBLE = /[\p{Cc}\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;
export const plain = (text) => String(text ?? "").replace(INVISIBLE, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);

export const orUnset = (text) => plain(text) || UNSET;

// Returns an exact number with separators, e.g. 10,000.
export const number = (n) => n.toLocaleString("en-GB");

export function bitrate(bits) {
  if (!Number.isFinite(bits)) return [UNSET, ""];
  const units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s", "Ebit/s"];
  let at = 0;
  while (bits >= 999.95 && at < units.length - 1) { bits /= 1000; at += 1; }
  return [bits.toFixed(at === 0 ? 0 : 1), units[at]];
}

// Returns the share of lost packets, and whether the share is high.
export function loss(stream) {
  const lost = Number(stream.packets_lost) || 0;
  const all = lost + (Number(stream.packets_received) || 0);
  if (all === 0) return [UNSET, false];
  const percent = 100 * lost / all;
  return [lost > 0 && percent < 0.005 ? "<0.01 %" : `${percent.toFixed(2)} %`, percent >= 1];
}

export function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const parts = (big, unit, small, rest) => small ? `${big} ${unit} ${small} ${rest}` : `${big} ${unit}`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return parts(Math.floor(s / 60), "min", s % 60, "s");
  if (s < 86400) return parts(Math.floor(s / 3600), "h", Math.floor(s % 3600 / 60), "min");
  return parts(Math.floor(s / 86400), "d", Math.floor(s % 86400 / 3600), "h");
}

// Returns the age of the last heartbeat, and whether it exceeds half the time to live.
export function heartbeat(stream, now, ttl) {
  const at = Date.parse(stream.last_heartbeat);
  if (!Number.isFinite(at)) return [UNSET, false];
  // The year 1 means that the stream has not sent a heartbeat yet.
  if (new Date(at).getUTCFullYear() <= 1) return ["never", true];
  const age = now - at;
  return [age < 1000 ? "now" : `${span(age)} ago`, age > ttl / 2];
}
