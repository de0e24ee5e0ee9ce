// Strings in records are untrusted. Insert them into the page only through textContent.

export const STATUSES = ["active", "connecting", "paused", "error", "closed"];

export const $ = (id) => document.getElementById(id);

// Writes the text only if it has changed. Selections then survive, and screen readers do not repeat the text.
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Returns a class for the colour of a status. An unknown status has no class of its own.
export const statusClass = (kind, status) => STATUSES.includes(status) ? `${kind} ${status}` : kind;
