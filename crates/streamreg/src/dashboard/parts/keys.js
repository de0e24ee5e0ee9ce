// Keys that work on the whole page. The tables have keys of their own.

import { $ } from "./dom.js";

// `escape` is called for Escape, unless a dialog or the search uses the key.
export function initKeys(escape) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
    const isTyping = event.target.matches("input, select, textarea");
    if (event.key === "Escape") {
      if (isTyping) event.target.blur(); else escape();
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
