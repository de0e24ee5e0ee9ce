// The totals: the number of streams by status, each a filter, and the total bit rate with its chart.

import { draw, showNote } from "../parts/chart.js";
import { $, make, mark, STATUSES, statusClass, write } from "../parts/dom.js";
import { bitrate, number, plain } from "../parts/format.js";
import { conditions, isFiltered } from "../parts/url.js";
import { MINUTES, Ring } from "../data/rings.js";

// The number of unknown statuses has no limit. Only the most frequent ones get a chip.
const MAX_UNKNOWN = 6;
// Number of rings that are kept: one for each status of the selections that were shown last.
const MAX_RINGS = 60;

export class Totals {
  #chips = new Map();
  // The total bit rates of selections, the one that was shown last at the end.
  #rings = new Map();
  #shown = null;

  constructor(select) {
    $("chips").addEventListener("click", (event) => {
      const chip = event.target.closest("button");
      if (!chip) return;
      const [status] = [...this.#chips].find(([, parts]) => parts.chip === chip);
      select({ status: chip.ariaPressed === "true" ? "" : status });
    });
  }

  // Shows a chip for each status. Known statuses always have one, so that chips do not move under the pointer.
  show(summary, selection) {
    const counts = new Map(summary.groups.map((group) => [group.key, group.streams]));
    const unknown = summary.groups.filter(({ key }) => key && !STATUSES.includes(key))
      .sort((one, other) => other.streams - one.streams).slice(0, MAX_UNKNOWN).map(({ key }) => key);
    const statuses = [...new Set(["", ...STATUSES, ...unknown.concat(selection.status).sort()])];
    for (const [status, { chip }] of this.#chips) {
      if (!statuses.includes(status)) { chip.remove(); this.#chips.delete(status); }
    }
    let next = $("chips").firstElementChild;
    for (const status of statuses) {
      let parts = this.#chips.get(status);
      if (!parts) this.#chips.set(status, parts = build());
      write(parts.name, status === "" ? "All" : plain(status));
      write(parts.count, number(status === "" ? summary.total : counts.get(status) ?? 0));
      parts.chip.className = status === "" ? "chip" : statusClass("chip", status);
      if (parts.chip === next) next = next.nextElementSibling; else $("chips").insertBefore(parts.chip, next);
    }
    const rest = summary.total - statuses.reduce((sum, status) => sum + (status && counts.get(status) || 0), 0);
    $("rest").hidden = rest === 0;
    write($("rest"), `${number(rest)} with other statuses`);
    this.press(selection);
    this.#record(summary, selection);
    this.redraw();
  }

  press({ status }) {
    for (const [name, { chip }] of this.#chips) mark(chip, "aria-pressed", String(name === status));
  }

  // Records the total bit rate of each status, because one response contains them all.
  #record(summary, selection) {
    const bits = new Map(summary.groups.map(({ key, bitrate }) => [key, bitrate]));
    const total = (status) => status === "" ? summary.bitrate : bits.get(status) ?? 0;
    for (const status of new Set([...STATUSES, "", selection.status])) {
      const key = JSON.stringify([...conditions({ ...selection, status })]);
      const ring = this.#rings.get(key) ?? new Ring();
      ring.push(total(status));
      this.#rings.delete(key);
      this.#rings.set(key, ring);
      if (this.#rings.size > MAX_RINGS) this.#rings.delete(this.#rings.keys().next().value);
      if (status === selection.status) this.#shown = { ring, of: name(selection) };
    }
    write($("total-bitrate"), bitrate(total(selection.status)).join(" "));
  }

  // Draws the chart of the selection that was counted last.
  redraw() {
    if (this.#shown === null) return;
    const { ring, of } = this.#shown;
    const { range, note } = draw($("total-chart"), ring, { fill: true });
    const [lowest, highest] = [range?.lowest, range?.highest].map((value) => bitrate(value).join(" "));
    write($("total-of"), of);
    mark($("total-of"), "title", of);
    mark($("total-chart"), "aria-label",
      `Total bit rate of ${of}, from -${MINUTES} min to now: ${lowest} to ${highest}. ${note}`.trim());
    mark($("total-recorded"), "title", note);
    // There is little room between the ends of the axis.
    showNote($("total-recorded"), note.replace(" by this page", ""));
  }
}

// Returns the name of a selection, e.g. "status error, node n1".
function name(selection) {
  const { search, status, type, node, label } = selection;
  if (!isFiltered(selection)) return "all live streams";
  return [
    status && `status ${plain(status)}`, type && `type ${plain(type)}`,
    node !== null && (node === "" ? "no node" : `node ${plain(node)}`), label && `label ${plain(label)}`,
    search && `“${plain(search)}”`,
  ].filter(Boolean).join(", ");
}

function build() {
  const chip = make("button", { type: "button" });
  const [name, count] = [make("span"), make("span", { class: "count" })];
  chip.append(name, " ", count);
  return { chip, name, count };
}

// Returns the summary as a sentence, e.g. "11 of 10,000 live streams have status error".
export function sentence(summary, selection) {
  const { search, status } = selection;
  const others = isFiltered({ ...selection, status: "" });
  const group = summary.groups.find(({ key }) => key === status);
  const matches = status ? group?.streams ?? 0 : summary.total;
  const streams = `${number(summary.total)} ${others ? "" : "live "}stream${summary.total === 1 ? "" : "s"}`;
  const verb = summary.total === 1 ? "matches" : "match";
  const found = search ? `${verb} “${plain(search)}”` : `${verb} the filters`;
  if (summary.total === 0) return isFiltered(selection) ? "No streams match" : "No live streams";
  if (!status) return others ? `${streams} ${found}` : streams;
  const all = others ? `${streams} that ${found}` : streams;
  return `${number(matches)} of ${all} ${matches === 1 ? "has" : "have"} status ${plain(status)}`;
}
