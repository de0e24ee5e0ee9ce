// The controls that select streams: search, type, node, label and grouping.

import { $, make, mark, write } from "../parts/dom.js";
import { number, plain } from "../parts/format.js";
import { applied, isFiltered, NO_FILTER } from "../parts/url.js";

const TYPING_MS = 200;
// A longer menu is no help. The search and the view of nodes find the others.
const MAX_OPTIONS = 200;

export class Filters {
  #selection = null;

  // `select` is called with a change of the selection, and with "push" or "replace" for the history of the browser.
  // `values` returns the values of a field that live streams have.
  constructor(select, values) {
    let typing;
    // The first change of a search adds an entry to the history. Further typing replaces this entry.
    let entry = "push";
    const search = () => {
      clearTimeout(typing);
      const text = $("search").value.trim();
      if (text === this.#selection.search) return;
      select({ search: text }, entry);
      entry = "replace";
    };
    $("search").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(search, TYPING_MS); });
    // The browser fires this event at the end of an edit.
    $("search").addEventListener("change", () => { search(); entry = "push"; });
    $("clear").addEventListener("click", () => {
      select(NO_FILTER, "push");
      $("search").focus();
    });
    $("group").addEventListener("click", () => select({ group: !this.#selection.group }, "push"));
    $("label").addEventListener("click", () => select({ label: "" }, "push"));
    for (const field of ["type", "node"]) {
      const menu = $(`by-${field}`);
      menu.addEventListener("focus", () => this.#options(menu, field, values(field)));
      menu.addEventListener("change", () => select({ [field]: JSON.parse(menu.value) }, "push"));
    }
  }

  // Shows the selection in the controls.
  show(selection) {
    this.#selection = selection;
    $("clear").hidden = !isFiltered(applied(selection));
    $("label").hidden = !selection.label;
    write($("label-text"), plain(selection.label));
    mark($("group"), "aria-pressed", String(selection.group));
    for (const field of ["type", "node"]) this.#options($(`by-${field}`), field, []);
  }

  // Shows a search that did not come from typing, e.g. from a link.
  showSearch({ search }) {
    if ($("search").value.trim() !== search) $("search").value = search;
  }

  // The value of an option is JSON, because a missing node differs from an empty one.
  #options(menu, field, values) {
    const unset = NO_FILTER[field];
    const chosen = this.#selection[field];
    const all = [...new Set([unset, chosen, ...values.sort().slice(0, MAX_OPTIONS)])];
    const rest = values.length - MAX_OPTIONS;
    menu.replaceChildren(...all.map((value) => {
      const name = value === unset ? `Any ${field}` : plain(value) || `No ${field}`;
      return make("option", { value: JSON.stringify(value) }, name);
    }));
    if (rest > 0) menu.append(make("option", { disabled: "" }, `${number(rest)} more; use the search`));
    menu.value = JSON.stringify(chosen);
  }
}
