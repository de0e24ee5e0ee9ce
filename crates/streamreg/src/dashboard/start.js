// The section "Getting started": commands that work with this server.

import { $ } from "./dom.js";

const COPIED_MS = 2000;
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

// Adds the URL of this server to the commands that the page shows.
function address() {
  const base = new URL(".", location.href).href.replace(/\/$/, "");
  const [scheme, address] = base.split("://");
  const store = scheme === "http" && address === DEFAULT_ADDRESS ? "" : ` --store ${base}`;
  for (const code of document.querySelectorAll("code")) command(code, code.textContent + store);
  command($("curl"), `curl ${base}/api/v1/streams -H 'Content-Type: application/json' \\
  -d '{"id":"cam1","type":"srt","source_addr":"203.0.113.7:40112"}'`);
}

async function copy(button, code) {
  let done = false;
  try {
    await navigator.clipboard.writeText(code.textContent);
    done = true;
  } catch {
    // The clipboard API works on secure pages only. Copying a selection works on every page.
    getSelection().selectAllChildren(code);
    done = document.execCommand("copy");
  }
  button.textContent = done ? "Copied" : "Selected";
  setTimeout(() => { button.textContent = "Copy"; }, COPIED_MS);
}

export function init() {
  for (const [at, box] of document.querySelectorAll(".command").entries()) {
    const [button, code] = [box.querySelector("button"), box.querySelector("code")];
    code.id ||= `command-${at}`;
    button.setAttribute("aria-live", "polite");
    button.setAttribute("aria-describedby", code.id);
    button.addEventListener("click", () => copy(button, code));
  }
  address();
}
