// A short message at the foot of the page, also read aloud, that goes by itself.

import { el } from "./dom";

const STAYS = 5_000;

const element = el("div", { class: "notice", role: "status" });
let timer: number | undefined;

export function mountNotice(parent: HTMLElement): void {
  parent.append(element);
}

export function notice(words: string): void {
  clearTimeout(timer);
  element.textContent = words;
  element.classList.add("shown");
  timer = setTimeout(() => {
    element.classList.remove("shown");
    element.textContent = "";
  }, STAYS);
}
