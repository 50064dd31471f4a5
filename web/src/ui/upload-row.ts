// One file on its way: its progress, and what can be done when it does not arrive.

import { client, QUICK } from "../client";
import { isNotFound, isTaken, mayRetry } from "../errors";
import type { Image } from "../gen/wirephoto/v1/image_service_pb";
import { ID, idForFile, nextId } from "../ids";
import { Sender } from "../sender";
import { button, el } from "./dom";
import { bytes } from "./format";
import { notice } from "./notice";
import { alertBox, problem } from "./problem";
import { Progress } from "./progress";

/** Names looked at before one is offered without knowing whether it is free. */
const LOOKS = 20;

export class UploadRow {
  readonly element: HTMLLIElement;
  readonly #id = el("code", { class: "upload-id" });
  readonly #below = el("div");
  readonly #progress: Progress;
  #sender: Sender;
  #stop = new AbortController();

  constructor(
    private readonly file: File,
    private readonly onStored: (image: Image) => void,
  ) {
    this.#sender = new Sender(file, idForFile(file.name));
    this.#progress = new Progress(`Upload of ${file.name}`);
    const head = el("div", { class: "upload-head" }, el("strong", {}, file.name), this.#id);
    this.element = el("li", { class: "upload-row" }, head, this.#below);
    this.#id.textContent = this.#sender.id;
    const wait = el("p", { class: "muted" }, `${bytes(file.size)}, waiting for its turn`);
    this.#below.replaceChildren(
      wait,
      this.#dismiss("Do not send", () => this.#stop.abort()),
    );
  }

  /** Sends the file; when it ends, well or not, this row says so and the next file may go. */
  async send(): Promise<void> {
    if (this.#stop.signal.aborted) return;
    const { signal } = this.#stop;
    this.#id.textContent = this.#sender.id;
    const cancel = button("Cancel", "quiet", () => this.#stop.abort());
    this.#below.replaceChildren(el("div", { class: "upload-line" }, this.#progress.element, cancel));
    this.#progress.resume();
    this.#progress.start();
    try {
      const image = await this.#sender.send(signal, (sent) =>
        this.#progress.update(Math.min(sent, this.file.size), this.file.size),
      );
      this.#stored(image);
    } catch (error) {
      if (signal.aborted) this.#stopped();
      else if (isTaken(error)) await this.#offerAnotherName();
      else this.#failed(error);
    }
  }

  #stored(image: Image): void {
    this.element.remove();
    notice(`${this.file.name} is kept as ${this.#sender.id}.`);
    this.onStored(image);
  }

  #stopped(): void {
    const words = el("p", { class: "muted", role: "status" }, "Stopped before the server had all of it.");
    this.#below.replaceChildren(el("div", { class: "upload-line" }, words, this.#again(), this.#dismiss("Dismiss")));
  }

  #failed(error: unknown): void {
    const again = mayRetry(error) ? [this.#again()] : [];
    this.#below.replaceChildren(problem(error, ...again, this.#dismiss("Dismiss")));
  }

  async #offerAnotherName(): Promise<void> {
    const taken = this.#sender.id;
    const input = el("input", {
      type: "text",
      "aria-label": "Another name",
      spellcheck: false,
      autocomplete: "off",
      required: true,
      pattern: ID.pattern,
      title: ID.words,
    });
    input.value = await freeId(taken);
    const go = () => {
      if (!input.reportValidity()) return;
      this.#sender = new Sender(this.file, input.value);
      void this.send();
    };
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") go();
    });
    const words = el("p", {}, "The name ", el("code", {}, taken), " is taken. Send it under another?");
    const actions = el("div", { class: "actions" }, input, button("Send", "primary", go), this.#dismiss("Dismiss"));
    this.#below.replaceChildren(alertBox(words, actions));
    input.select();
  }

  #again(): HTMLElement {
    return button("Try again", "quiet", () => {
      this.#stop = new AbortController();
      void this.send();
    });
  }

  #dismiss(label: string, also?: () => void): HTMLElement {
    return button(label, "quiet", () => {
      also?.();
      this.element.remove();
    });
  }
}

/** The first id after `taken` that no image has. */
async function freeId(taken: string): Promise<string> {
  let id = nextId(taken);
  try {
    for (let look = 0; look < LOOKS; look += 1) {
      await client.getImage({ name: `images/${id}` }, { timeoutMs: QUICK });
      id = nextId(id);
    }
  } catch (error) {
    if (!isNotFound(error)) return nextId(taken);
  }
  return id;
}
