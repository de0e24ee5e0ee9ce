// Changes of a stream: another status, and its end. Both ask for a confirmation.

import { end, Problem, setStatus, useToken } from "../data/api.js";
import { confirmed } from "../parts/dialog.js";
import { $, make, STATUSES, write } from "../parts/dom.js";
import { plain } from "../parts/format.js";

export class Actions {
  #context;
  #done;
  #stream = null;

  // `done` is called after a change.
  constructor(context, done) {
    this.#context = context;
    this.#done = done;
    $("new-status").append(...STATUSES.map((status) => make("option", {}, status)));
    $("set-status").addEventListener("submit", (event) => {
      event.preventDefault();
      const status = $("new-status").value;
      this.#change(`Change the status of ${plain(this.#stream.id)} to ${status}?`, "Change status",
        (id, force) => setStatus(id, status, force));
    });
    $("end").addEventListener("submit", (event) => {
      event.preventDefault();
      const reason = $("end-reason").value.trim();
      const effect = "It moves to the ended streams. This alone does not disconnect its publisher.";
      this.#change(`End ${plain(this.#stream.id)}? ${effect}`, "End stream",
        (id, force) => end(id, reason, force));
    });
    $("write-access").addEventListener("submit", (event) => {
      event.preventDefault();
      useToken($("write-token").value.trim());
      $("write-token").value = "";
      $("write-access").hidden = true;
      write($("action-note"), "Try again with this token.");
    });
  }

  close() {
    this.#stream = null;
    $("actions").hidden = true;
    $("write-access").hidden = true;
    write($("action-note"), "");
    $("end-reason").value = "";
  }

  // Offers the changes of a live stream.
  show(stream) {
    this.#stream = stream;
    $("actions").hidden = this.#context.isReadOnly();
  }

  async #change(question, action, send) {
    const { id, epoch } = this.#stream;
    const leased = epoch ? " Its holder has a lease and loses it, or sets its own status again." : "";
    if (!await confirmed(question + leased, action)) return;
    try {
      // The operator has confirmed, so the change applies even if another program holds the lease.
      await send(id, Boolean(epoch));
      write($("action-note"), `${action}: done.`);
    } catch (error) {
      const isDenied = error instanceof Problem && error.needsToken;
      $("write-access").hidden = !isDenied;
      write($("action-note"), error instanceof Problem ? `${action}: ${error.message}.`
        : `${action}: the server does not respond. The change may have been made or not.`);
    }
    this.#done();
  }
}
