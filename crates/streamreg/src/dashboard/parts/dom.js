// Access to the page. Strings in records are untrusted: they become text nodes and attributes, never markup.

export const STATUSES = ["active", "connecting", "paused", "error", "closed"];

export const $ = (id) => document.getElementById(id);

// Creates an element. The names of elements and attributes are constants of this page.
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// Writes the text only if it has changed. Selections then survive, and screen readers do not repeat the text.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function mark(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

// Returns a class for the colour and the symbol of a status. Unknown statuses share one class.
export const statusClass = (kind, status) => `${kind} ${STATUSES.includes(status) ? status : "other"}`;

// Returns a function that runs `draw` before the next frame. Several calls before that frame run it once.
export function onFrame(draw) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  };
}
