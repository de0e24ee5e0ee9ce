// The totals: the number of streams by status, each a filter, and the total bit rate with its chart.

import { draw } from "../parts/chart.js";
import { $, make, mark, STATUSES, statusClass, write } from "../parts/dom.js";
import { bitrate, number, plain } from "../parts/format.js";
import { isFiltered } from "../parts/url.js";
import { MINUTES, Ring } from "../data/rings.js";

// The number of unknown statuses has no limit. Only the most frequent ones get a chip.
const MAX_UNKNOWN = 6;

export class Totals {
  #chips = new Map();
  #ring = new Ring();
  #of = "";

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
    this.#chart(summary, selection);
  }

  press({ status }) {
    for (const [name, { chip }] of this.#chips) mark(chip, "aria-pressed", String(name === status));
  }

  #chart(summary, selection) {
    const of = JSON.stringify([selection.search, selection.status, selection.type, selection.node, selection.label]);
    // The values of another selection are not comparable.
    if (of !== this.#of) [this.#ring, this.#of] = [new Ring(), of];
    const group = summary.groups.find(({ key }) => key === selection.status);
    const bits = selection.status ? group?.bitrate ?? 0 : summary.bitrate;
    this.#ring.push(bits);
    write($("total-bitrate"), bitrate(bits).join(" "));
    const range = draw($("total-chart"), this.#ring, { fill: true });
    const [lowest, highest] = [range.lowest, range.highest].map((value) => bitrate(value).join(" "));
    mark($("total-chart"), "aria-label",
      `Total bit rate of the last ${MINUTES} minutes, from ${lowest} to ${highest}, now ${bitrate(bits).join(" ")}`);
  }
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
