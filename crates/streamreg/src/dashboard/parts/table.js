// A table of any number of rows, of which only those on the screen have elements.
//
// The body is as high as all rows together, and the elements are moved to the places of the rows that are on the screen.
// The style sheet sets the height of a row as `--row`, and that of a heading as `--heading`.

import { $, make, mark, onFrame, write } from "./dom.js";
import { fieldOf, isDescending } from "./fields.js";

// Rows above and below the screen that have elements.
const OVERSCAN = 4;
// Strings that are longer than this have a tooltip.
const LONG = 12;

const tables = [];

export class Table {
  #root;
  #columns;
  #open;
  #head;
  #body;
  #items = [];
  #pool = [];
  #active = null;
  #stale = new Set();
  #everyRow = false;
  #heights = { row: 32, heading: 32 };
  // The distance of each row from the top of the body, and of the end of the last row. Null if it must be computed.
  #tops = null;
  #isHeld = false;
  #draw = onFrame(() => this.#layout());

  // `columns` have a `name`, a `title`, a function `fill(parts, item, row)`, and optionally `hint`, `build(parts)` and
  // `sort`, which is the order after the first click on the header. Items with `isHeading` are headings. `open` is
  // called with the item of a row that is clicked or chosen with Enter. `released` is called when the mouse leaves the
  // rows, see `isHeld`.
  constructor(root, { label, columns, open, sort, released }) {
    this.#root = root;
    this.#columns = columns;
    this.#open = open;
    for (const [name, value] of [["role", "grid"], ["tabindex", "0"], ["aria-label", label]]) mark(root, name, value);
    this.#head = make("div", { role: "row", class: "row", "aria-rowindex": "1" });
    for (const { name, title, hint, sort: first } of columns) {
      const cell = make("div", { role: "columnheader", class: `cell ${name}` });
      if (hint) mark(cell, "title", hint);
      if (first) {
        const button = make("button", { type: "button", "data-sort": fieldOf(first) }, title);
        button.addEventListener("click", () => sort(first));
        cell.append(button);
      } else {
        cell.append(title);
      }
      this.#head.append(cell);
    }
    this.#body = make("div", { role: "rowgroup", class: "body" });
    root.append(make("div", { role: "rowgroup", class: "head" }, this.#head), this.#body);
    tables.push(this);
    addEventListener("scroll", this.#draw, { passive: true });
    new ResizeObserver(() => { this.#everyRow = true; this.#draw(); }).observe(root);
    // A touch has no pointer that rests on the rows.
    this.#body.addEventListener("pointerenter", (event) => {
      if (event.pointerType === "mouse") this.#hold(true, released);
    });
    this.#body.addEventListener("pointerleave", () => this.#hold(false, released));
    root.addEventListener("keydown", (event) => this.#press(event));
    this.#body.addEventListener("click", (event) => {
      const row = event.target.closest("[role=row]");
      // A click that ends a selection of text opens nothing.
      if (!row || !getSelection().isCollapsed) return;
      this.activate(this.#items[row.ariaRowIndex - 2]);
      this.#open(this.#active);
    });
  }

  // Whether the mouse is on the rows. They should then keep their places, so that no click hits the wrong row.
  get isHeld() { return this.#isHeld && this.#root.checkVisibility(); }

  #hold(isHeld, released) {
    this.#isHeld = isHeld;
    $("held").hidden = !isHeld;
    if (!isHeld) released();
  }

  // Shows items in their order.
  show(items) {
    this.#items = items;
    this.#tops = null;
    this.#draw();
  }

  // Draws the rows of changed items again.
  touch(items) {
    for (const item of items) this.#stale.add(item);
    this.#draw();
  }

  // Draws all rows again, e.g. because time has passed.
  redraw() {
    this.#everyRow = true;
    this.#draw();
  }

  // Returns the items on the screen.
  visible() {
    return this.#root.checkVisibility() ? this.#pool.filter(({ item }) => item).map(({ item }) => item) : [];
  }

  sorted(sort) {
    const field = fieldOf(sort);
    for (const button of this.#head.querySelectorAll("button")) {
      const header = button.parentElement;
      if (button.dataset.sort !== field) header.removeAttribute("aria-sort");
      else mark(header, "aria-sort", isDescending(sort) ? "descending" : "ascending");
    }
  }

  focus() { this.#root.focus({ preventScroll: true }); }

  // Moves the focus to the first row. Returns false if no row is visible.
  enter() {
    if (this.#items.length === 0 || !this.#root.checkVisibility()) return false;
    this.focus();
    this.#choose(0);
    return true;
  }

  // Marks a row as the one that the keyboard has reached.
  activate(item) {
    this.#active = item;
    this.#everyRow = true;
    this.#draw();
  }

  #layout() {
    if (!this.#root.checkVisibility()) {
      this.#stale.clear();
      this.#everyRow = true;
      return;
    }
    const items = this.#items;
    mark(this.#root, "aria-rowcount", String(items.length + 1));
    this.#measure();
    const total = `${this.#tops[items.length]}px`;
    if (this.#body.style.height !== total) this.#body.style.height = total;
    const top = this.#body.getBoundingClientRect().top;
    const first = Math.max(0, this.#placeAt(-top) - OVERSCAN);
    const end = Math.min(items.length, this.#placeAt(innerHeight - top) + 1 + OVERSCAN);
    while (this.#pool.length < end - first) this.#pool.push(this.#build(this.#pool.length));
    const size = this.#pool.length;
    for (let slot = 0; slot < size; slot += 1) {
      const place = first + (slot - first % size + size) % size;
      const row = this.#pool[slot];
      this.#place(row, place < end ? place : -1, items[place]);
    }
    this.#stale.clear();
    this.#everyRow = false;
    const shown = this.#pool.find(({ item }) => item && item === this.#active);
    if (shown) mark(this.#root, "aria-activedescendant", shown.element.id);
    else this.#root.removeAttribute("aria-activedescendant");
  }

  // Computes where each row is, unless it is known.
  #measure() {
    const style = getComputedStyle(this.#root);
    const [row, heading] = ["--row", "--heading"].map((name) => parseFloat(style.getPropertyValue(name)));
    const isKnown = this.#tops && row === this.#heights.row && heading === this.#heights.heading;
    if (isKnown) return;
    this.#heights = { row, heading };
    this.#tops = new Float64Array(this.#items.length + 1);
    for (const [place, item] of this.#items.entries()) {
      this.#tops[place + 1] = this.#tops[place] + (item.isHeading ? heading : row);
    }
  }

  // Returns the place of the row at a distance from the top of the body, or the number of rows below the last row.
  #placeAt(distance) {
    let [low, high] = [0, this.#items.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#tops[middle + 1] <= distance) low = middle + 1; else high = middle;
    }
    return low;
  }

  #build(slot) {
    const element = make("div", { role: "row", class: "row", id: `${this.#root.id}-${slot}` });
    const cells = this.#columns.map(({ name, title, build }) => {
      const cell = make("div", { role: "gridcell", class: `cell ${name}`, "data-name": title });
      const parts = { cell, text: make("span") };
      cell.append(parts.text);
      build?.(parts);
      element.append(cell);
      return parts;
    });
    this.#body.append(element);
    return { element, cells, item: null, place: -1, top: -1 };
  }

  #place(row, place, item) {
    if (place < 0) {
      row.item = null;
      row.place = -1;
      row.element.hidden = true;
      return;
    }
    if (row.place !== place) {
      row.element.hidden = false;
      mark(row.element, "aria-rowindex", String(place + 2));
      row.place = place;
    }
    const top = this.#tops[place];
    if (row.top !== top) {
      row.element.style.transform = `translateY(${top}px)`;
      row.top = top;
    }
    if (row.item !== item || this.#everyRow || this.#stale.has(item)) {
      row.item = item;
      mark(row.element, "aria-selected", String(item === this.#active));
      for (const [at, column] of this.#columns.entries()) column.fill(row.cells[at], item, row.element);
    }
  }

  #press(event) {
    const page = Math.max(1, Math.floor(innerHeight / this.#heights.row) - 3);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.target !== this.#root || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Enter" && this.#active) {
      this.#open(this.#active);
    } else if (event.key in steps && this.#items.length > 0) {
      const [at, step] = [this.#items.indexOf(this.#active), steps[event.key]];
      this.#measure();
      const firstShown = this.#placeAt(this.#head.offsetHeight - this.#body.getBoundingClientRect().top);
      const next = at < 0 && Number.isFinite(step) ? firstShown : at + step;
      const place = Math.min(Math.max(next, 0), this.#items.length - 1);
      this.#choose(place);
    } else {
      return;
    }
    event.preventDefault();
  }

  // Marks a row, and scrolls so that it is on the screen, and not behind the header.
  #choose(place) {
    this.activate(this.#items[place]);
    this.#measure();
    const offset = this.#body.getBoundingClientRect().top;
    const [top, end] = [this.#tops[place] + offset, this.#tops[place + 1] + offset];
    const head = this.#head.getBoundingClientRect().height;
    if (top < head) scrollBy(0, Math.floor(top - head));
    if (end > innerHeight) scrollBy(0, Math.ceil(end - innerHeight) + 1);
  }
}

// Moves the focus to the first row of the table on the screen. Returns whether there is such a row.
export const enterTable = () => tables.some((table) => table.enter());

// Fills a cell with a string. `full` is the tooltip, because the cell may cut the string.
export function text(parts, value, full = value.length > LONG ? value : "") {
  write(parts.text, value);
  if (parts.cell.title !== full) parts.cell.title = full;
}
