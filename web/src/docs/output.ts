// Where an answer appears as it comes in: a line of what it is, then its items or its text.

import { el } from "../ui/dom";
import { problem } from "../ui/problem";

/** Characters of one JSON string that are shown: a chunk of an image is a megabyte. */
const SHOWN = 160;
/** Characters of an answer that are kept on the page. */
const KEPT = 100_000;

export class Output {
  readonly #head = el("p", { class: "answer-head" });
  readonly #text = el("pre", { class: "answer-text", tabindex: 0 });
  readonly #rest = el("div");
  readonly element = el("div", { class: "answer", role: "status", hidden: true }, this.#head, this.#text, this.#rest);
  #length = 0;

  begin(): void {
    this.element.hidden = false;
    this.element.removeAttribute("data-done");
    this.head("Calling…");
    this.#text.replaceChildren();
    this.#rest.replaceChildren();
    this.#length = 0;
  }

  head(words: string): void {
    this.#head.textContent = words;
  }

  text(text: string): void {
    if (this.#length >= KEPT) return;
    this.#text.append(text.slice(0, KEPT - this.#length));
    this.#length += text.length;
    if (this.#length >= KEPT) this.#text.append("\n… the rest is not shown");
  }

  json(value: unknown): void {
    this.text(`${JSON.stringify(value, (_, part: unknown) => (typeof part === "string" ? short(part) : part), 2)}\n`);
  }

  show(node: Node): void {
    this.#rest.append(node);
  }

  fail(error: unknown): void {
    this.head("It failed.");
    this.#rest.append(problem(error));
  }

  /** Marks the end, for whoever waits for it. */
  end(): void {
    this.element.setAttribute("data-done", "");
  }
}

function short(text: string): string {
  return text.length <= SHOWN ? text : `${text.slice(0, SHOWN)}… (${text.length} characters)`;
}
