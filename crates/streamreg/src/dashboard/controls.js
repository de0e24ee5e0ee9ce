// The controls: search, status chips, headers that sort, and pages. They call `select` with each change of the
// selection.

import { PAGE_STREAMS } from "./api.js";
import { $, STATUSES, statusClass, write } from "./dom.js";
import { number, plain } from "./format.js";
import { isFiltered, nextSort } from "./selection.js";

const TYPING_MS = 250;
// Unknown statuses may be arbitrarily many. Only the most frequent ones get a chip.
const MAX_UNKNOWN = 6;
const chips = new Map();
let selection = null;

export function init(select) {
  let typing;
  // The first change of a search adds an entry to the history. Further typing replaces this entry.
  let entry = "push";
  const search = () => {
    clearTimeout(typing);
    const text = $("search").value.trim();
    if (text === selection.search) return;
    select({ search: text }, entry);
    entry = "replace";
  };
  $("search").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(search, TYPING_MS); });
  // The browser fires this event at the end of an edit.
  $("search").addEventListener("change", () => { search(); entry = "push"; });
  $("clear").addEventListener("click", () => {
    select({ search: "", status: "" }, "push");
    $("search").focus();
  });
  $("chips").addEventListener("click", (event) => {
    const chip = event.target.closest("button");
    if (!chip) return;
    const [status] = [...chips].find(([, parts]) => parts.chip === chip);
    select({ status: status === selection.status ? "" : status }, "push");
  });
  for (const button of document.querySelectorAll("thead button")) {
    button.addEventListener("click", () => select({ sort: nextSort(selection.sort, button.dataset.sort) }, "push"));
  }
  for (const [id, step] of [["previous", -1], ["next", 1]]) {
    $(id).addEventListener("click", () => {
      // A disabled button would lose the keyboard focus, so the buttons are only marked as disabled.
      if ($(id).getAttribute("aria-disabled") === "true") return;
      select({ page: selection.page + step }, "push");
      if ($("streams").getBoundingClientRect().top < 0) $("filters").scrollIntoView();
    });
  }
}

// Shows a search that did not come from typing, e.g. from a link.
export function showSearch({ search }) {
  if ($("search").value.trim() !== search) $("search").value = search;
}

// Shows the selection in the controls, before the server responds.
export function showSelection(current) {
  selection = current;
  $("clear").hidden = !isFiltered(selection);
  for (const [status, { chip }] of chips) chip.setAttribute("aria-pressed", String(status === selection.status));
  const field = selection.sort.replace(/^-/, "");
  for (const button of document.querySelectorAll("thead button")) {
    const header = button.closest("th");
    if (button.dataset.sort !== field) header.removeAttribute("aria-sort");
    else header.setAttribute("aria-sort", field === selection.sort ? "ascending" : "descending");
  }
}

function build() {
  const chip = document.createElement("button");
  chip.type = "button";
  const [name, count] = [document.createElement("span"), document.createElement("span")];
  count.className = "count";
  chip.append(name, " ", count);
  return { chip, name, count };
}

// Shows a chip for each status. Known statuses always have one, so that chips do not move under the pointer.
export function showChips(summary) {
  const counts = new Map(summary.groups.map((group) => [group.key, group.streams]));
  const unknown = summary.groups.filter(({ key }) => key && !STATUSES.includes(key))
    .sort((one, other) => other.streams - one.streams).slice(0, MAX_UNKNOWN).map(({ key }) => key);
  const statuses = [...new Set(["", ...STATUSES, ...unknown.concat(selection.status).sort()])];
  for (const [status, { chip }] of chips) {
    if (!statuses.includes(status)) { chip.remove(); chips.delete(status); }
  }
  let next = $("chips").firstElementChild;
  for (const status of statuses) {
    let parts = chips.get(status);
    if (!parts) chips.set(status, parts = build());
    write(parts.name, status === "" ? "All" : plain(status));
    write(parts.count, number(status === "" ? summary.total : counts.get(status) ?? 0));
    parts.chip.className = statusClass("chip", status);
    if (parts.chip === next) next = next.nextElementSibling; else $("chips").insertBefore(parts.chip, next);
  }
  const rest = summary.total - statuses.reduce((sum, status) => sum + (status && counts.get(status) || 0), 0);
  $("rest").hidden = rest === 0;
  write($("rest"), `${number(rest)} with other statuses`);
  showSelection(selection);
}

export function showPager(matches, hasNext) {
  const { page } = selection;
  const pages = Math.max(Math.ceil(matches / PAGE_STREAMS), hasNext ? page + 1 : page);
  $("pager").hidden = pages === 1;
  write($("page"), `Page ${number(page)} of ${number(pages)}`);
  $("previous").setAttribute("aria-disabled", String(page === 1));
  $("next").setAttribute("aria-disabled", String(!hasNext));
}

// Returns the summary as a sentence, e.g. "11 of 10,000 live streams have status error".
export function sentence(summary, matches) {
  const { search, status } = selection;
  const streams = `${number(summary.total)} ${search ? "" : "live "}stream${summary.total === 1 ? "" : "s"}`;
  const found = search ? `match${summary.total === 1 ? "es" : ""} “${plain(search)}”` : "";
  if (summary.total === 0) return isFiltered(selection) ? "No streams match" : "No live streams";
  if (!status) return search ? `${streams} ${found}` : streams;
  const all = search ? `${streams} that ${found}` : streams;
  return `${number(matches)} of ${all} ${matches === 1 ? "has" : "have"} status ${plain(status)}`;
}
