// Keys that work on the whole page. The tables have keys of their own.

import { $ } from "./dom.js";
import { enterTable } from "./table.js";

// Handles a key in the search. Leaving the search applies its text at once.
function pressInSearch(event) {
  const search = event.target;
  if (event.key === "Escape") {
    search.value = "";
    search.dispatchEvent(new Event("change"));
    search.blur();
  } else if (event.key === "Enter" || event.key === "ArrowDown") {
    event.preventDefault();
    search.blur();
    if (!enterTable()) search.focus();
  }
}

// `escape` is called for Escape, unless a dialog or a field outside the details uses the key.
export function initKeys(escape) {
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey || event.altKey || event.metaKey) return;
    if (document.querySelector("dialog[open]")) return;
    const isTyping = event.target.matches("input, select, textarea");
    if (event.target === $("search")) {
      pressInSearch(event);
    } else if (event.key === "Escape") {
      if (isTyping && !event.target.closest("#drawer")) event.target.blur(); else escape();
    } else if (isTyping) {
      return;
    } else if (event.key === "/" && $("search").checkVisibility()) {
      event.preventDefault();
      $("search").focus();
      $("search").select();
    } else if (event.key === "?") {
      $("help").showModal();
    }
  });
  $("show-help").addEventListener("click", () => $("help").showModal());
}
