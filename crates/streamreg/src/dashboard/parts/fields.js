// The fields by which streams can be sorted.

import { delay, lossRatio, time } from "./format.js";

const text = (name) => (record) => record[name] ?? "";
const known = (value) => Number.isFinite(value) ? value : -1;

// The value of each field. Unknown numbers sort below 0.
export const FIELDS = {
  id: text("id"),
  type: text("type"),
  status: text("status"),
  source_addr: text("source_addr"),
  node: text("node"),
  video: (record) => `${record.video_codec ?? ""} ${record.resolution ?? ""}`,
  bitrate: (record) => known(Number(record.bitrate)),
  loss: lossRatio,
  delay: (record) => known(delay(record)),
  created_at: (record) => known(time(record.created_at)),
  last_heartbeat: (record) => known(time(record.last_heartbeat)),
};

// Fields that change without an event. Their order needs the statistics of all streams.
export const STATISTICS = ["bitrate", "loss", "delay", "last_heartbeat"];

const compareValues = (one, other) => one < other ? -1 : one > other ? 1 : 0;

// Times that the page shows as ages. An early time is a great age.
const AGES = ["created_at", "last_heartbeat"];

// An order is a field, with a leading "-" if its values descend.
export const fieldOf = (sort) => sort.replace(/^-/, "");
export const isReversed = (sort) => sort.startsWith("-");

// Returns whether the numbers in the column descend. The ages descend if their times ascend.
export const isDescending = (sort) => isReversed(sort) !== AGES.includes(fieldOf(sort));

// Returns how to sort entries of the model: `prepare` stores the values of an entry, and `compare` compares two entries
// that are prepared. So each value is computed once per change and not once per comparison.
export function sorter({ sort, group }) {
  const value = FIELDS[fieldOf(sort)];
  const direction = isReversed(sort) ? -1 : 1;
  return {
    prepare: (entry) => {
      entry.key = value(entry.record);
      entry.group = group ? FIELDS.node(entry.record) : "";
    },
    compare: (one, other) => compareValues(one.group, other.group)
      || direction * (compareValues(one.key, other.key) || compareValues(one.id, other.id)),
  };
}
