// A line of text to take along: a link or a command, and a button that copies it.

import { button, el } from "./dom";
import { notice } from "./notice";

export function copyable(label: string, text: string): HTMLElement {
  const code = el("code", { tabindex: 0 }, text);
  const take = button("Copy", "quiet", () => void copy(code, text));
  take.setAttribute("aria-label", `Copy: ${label}`);
  return el("div", { class: "copyable" }, el("span", { class: "copyable-label" }, label), code, take);
}

// The clipboard is there in secure contexts only; elsewhere the text is selected, ready for the keyboard.
async function copy(code: HTMLElement, text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    notice("Copied.");
  } catch {
    getSelection()?.selectAllChildren(code);
    notice("Selected: copy it with your keyboard.");
  }
}
