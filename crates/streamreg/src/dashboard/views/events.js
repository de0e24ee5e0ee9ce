// The events of the change feed as they arrive, the latest first.

import { isEnd } from "../data/model.js";
import { $, mark, write } from "../parts/dom.js";
import { clock, moment, number, UNSET } from "../parts/format.js";
import { Table, text } from "../parts/table.js";
import { matcher } from "../parts/url.js";
import { eventText, eventTime, plainColumn, writeBadge } from "./cells.js";
import { gapText, kindOf, MEANINGS } from "./kinds.js";

export class Events {
  #table;
  #log;
  #selection = null;

  constructor(log, context) {
    this.#log = log;
    const columns = [
      { name: "time", title: "Time", fill: (parts, event) => text(parts, moment(eventTime(event))) },
      { name: "event", title: "Event",
        fill: (parts, event) => {
          const { colour, name, meaning } = kindOf(event);
          writeBadge(parts, colour, name);
          mark(parts.cell, "title", `${name}: ${meaning}`);
        } },
      plainColumn("id", "Stream", ({ stream }) => stream.id),
      plainColumn("type", "Type", ({ stream }) => stream.type),
      plainColumn("source", "Source", ({ stream }) => stream.source_addr),
      plainColumn("node", "Node", ({ stream }) => stream.node),
      { name: "detail", title: "Status or reason", fill: (parts, event) => text(parts, eventText(event) || UNSET) },
    ];
    const fill = (column) => (parts, entry, row) => {
      row.classList.toggle("gap", Boolean(entry.gap));
      if (!entry.gap) column.fill(parts, entry);
      else text(parts, { time: clock(entry.gap.to), id: gapText(entry) }[column.name] ?? "");
    };
    this.#table = new Table($("events"), {
      label: "Events",
      columns: columns.map((column) => ({ ...column, fill: fill(column) })),
      open: (entry) => {
        if (!entry.gap) context.select({ stream: entry.stream.id, ended: isEnd(entry) ? entry.revision : null });
      },
      released: () => this.update(),
    });
    write($("events-meanings"), `${MEANINGS.join(". ")}.`);
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
    const found = this.#log.latest().filter(({ gap, stream }) => gap || matches(stream));
    this.#table.show(found);
    $("events").hidden = found.length === 0;
    const count = found.filter(({ gap }) => !gap).length;
    const since = `since this page was opened at ${clock(this.#log.since)}`;
    write($("events-note"), count === 0 ? `No events ${since}. Statistics and heartbeats cause none.`
      : `The latest ${count === 1 ? "event" : `${number(count)} events`} ${since}.`);
  }
}
