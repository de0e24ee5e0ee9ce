// Buttons that copy text.

const COPIED_MS = 2000;

// Copies the text of an element, and says so on the button.
export async function copy(button, element) {
  let done = false;
  try {
    await navigator.clipboard.writeText(element.textContent);
    done = true;
  } catch {
    // The clipboard API works on secure pages only. Copying a selection works on every page.
    getSelection().selectAllChildren(element);
    done = document.execCommand("copy");
  }
  const name = button.dataset.name ??= button.textContent;
  button.textContent = done ? "Copied" : "Selected";
  setTimeout(() => { button.textContent = name; }, COPIED_MS);
}
