// Dialogs that must be answered before anything else.

import { $, write } from "./dom.js";

let answer = () => {};

// Asks for a confirmation. Returns whether the user has confirmed.
export function confirmed(question, action) {
  write($("confirm-text"), question);
  write($("confirm-yes"), action);
  $("confirm").showModal();
  return new Promise((resolve) => { answer = resolve; });
}

export function initDialogs() {
  for (const [id, isConfirmed] of [["confirm-yes", true], ["confirm-no", false]]) {
    $(id).addEventListener("click", () => {
      $("confirm").close();
      answer(isConfirmed);
    });
  }
  // Escape closes the dialog. The event "close" would come too late if the dialog is opened again at once.
  $("confirm").addEventListener("cancel", () => answer(false));
  $("help-close").addEventListener("click", () => $("help").close());
}
