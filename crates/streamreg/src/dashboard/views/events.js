// The events of the change feed as they arrive, the latest first.

import { $, write } from "../parts/dom.js";
import { moment, number, UNSET } from "../parts/format.js";
import { Table, text } from "../parts/table.js";
import { matcher } from "../parts/url.js";
import { eventText, eventTime, plainColumn, writeBadge } from "./cells.js";

// The colour of each kind of event is that of a status.
const KINDS = {
  registered: "active", taken_over: "paused", expired: "error", unregistered: "closed", status: "connecting",
};

export class Events {
  #table;
  #log;
  #selection = null;

  constructor(log, context) {
    this.#log = log;
    this.#table = new Table($("events"), {
      label: "Events",
      columns: [
        { name: "time", title: "Time", fill: (parts, event) => text(parts, moment(eventTime(event))) },
        { name: "event", title: "Event",
          fill: (parts, { event }) => writeBadge(parts, KINDS[event], event.replace("_", " ")) },
        plainColumn("id", "Stream", ({ stream }) => stream.id),
        plainColumn("type", "Type", ({ stream }) => stream.type),
        plainColumn("source", "Source", ({ stream }) => stream.source_addr),
        plainColumn("node", "Node", ({ stream }) => stream.node),
        { name: "detail", title: "Status or reason", fill: (parts, event) => text(parts, eventText(event) || UNSET) },
      ],
      open: ({ stream }) => context.select({ stream: stream.id }),
      released: () => this.update(),
    });
  }

  select(selection) {
    this.#selection = selection;
    if (selection.view === "events") this.#show();
  }

  update() {
    if (this.#selection?.view === "events" && !this.#table.isHeld) this.#show();
  }

  #show() {
    const matches = matcher(this.#selection);
    const found = this.#log.latest().filter(({ stream }) => matches(stream));
    this.#table.show(found);
    $("events").hidden = found.length === 0;
    write($("events-note"), found.length === 0 ? "Waiting for events. Statistics and heartbeats cause none."
      : `The latest ${number(found.length)} events since this page was opened.`);
  }
}
