// The section "Getting started": commands that work with this server.

import { copy } from "../parts/copy.js";
import { $, write } from "../parts/dom.js";
import { span } from "../parts/format.js";

const DEFAULT_ADDRESS = "127.0.0.1:8580";

// Allow line breaks between words only, so that `--store` is never split.
function command(code, text) {
  const piece = (word) => {
    const element = document.createElement(word.trim() === "" ? "span" : "b");
    element.textContent = word;
    return element;
  };
  code.replaceChildren(...text.split(/([ \n]+)/).map(piece));
}

// Shows what the server says about itself.
export function describe(info) {
  write($("ttl"), span(info.ttl_ms));
  const remote = !/^(localhost|127\..*|\[::1\])$/.test(location.hostname);
  $("guarded").hidden = !(info.read_only || remote);
  write($("guarded"), info.read_only
    ? "This server is read-only: it lists streams but rejects registrations."
    : "Remote writes need the token of the server: add --token-file FILE.");
}

// Adds the URL of this server to the commands that the page shows.
function address() {
  const base = new URL(".", location.href).href.replace(/\/$/, "");
  const [scheme, address] = base.split("://");
  const store = scheme === "http" && address === DEFAULT_ADDRESS ? "" : ` --store ${base}`;
  for (const code of $("start").querySelectorAll("code")) command(code, code.textContent + store);
  command($("curl"), `curl ${base}/api/v1/streams -H 'Content-Type: application/json' \\
  -d '{"id":"cam1","type":"srt","source_addr":"203.0.113.7:40112"}'`);
}

export function init() {
  for (const [at, box] of $("start").querySelectorAll(".command").entries()) {
    const [button, code] = [box.querySelector("button"), box.querySelector("code")];
    code.id ||= `command-${at}`;
    button.setAttribute("aria-live", "polite");
    button.setAttribute("aria-describedby", code.id);
    button.addEventListener("click", () => copy(button, code));
  }
  address();
}
