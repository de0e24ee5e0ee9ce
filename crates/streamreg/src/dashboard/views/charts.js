// The charts of one run of a stream, for the last minutes before now or before its end.

import { toLocal } from "../data/api.js";
import { MINUTES, Ring } from "../data/rings.js";
import { draw, showNote } from "../parts/chart.js";
import { $, mark, write } from "../parts/dom.js";
import { bitrate, moment, time, UNSET } from "../parts/format.js";
import { eventTime } from "./cells.js";

const CHARTS = [
  ["bitrate", "Bitrate", (value) => bitrate(value).join(" ")],
  ["loss", "Current loss", (value) => `${value.toFixed(2)} %`],
  ["delay", "RTT or jitter", (value) => `${value.toFixed(1)} ms`],
];
const EMPTY = new Ring();

// Draws the rings of a run. `end` is the event of its end, or null.
export function drawCharts(rings, end) {
  const at = end ? time(eventTime(end)) : null;
  const now = end ? toLocal(at) : Date.now();
  const until = end ? `end, ${moment(eventTime(end))}` : "now";
  let recorded = "";
  for (const [name, title, format] of CHARTS) {
    const { range, note } = draw($(`chart-${name}`), rings?.[name] ?? EMPTY, { fill: true, now });
    const text = range ? `${format(range.latest)} (${format(range.lowest)} to ${format(range.highest)})` : UNSET;
    write($(`chart-${name}-text`), text);
    mark($(`chart-${name}`), "aria-label", `${title} from -${MINUTES} min to ${until}: ${text}. ${note}`.trim());
    recorded = note;
  }
  showNote($("charts-recorded"), recorded);
  for (const label of document.querySelectorAll("#charts .until")) write(label, until);
}
