// A transfer's progress: a bar, the figures, and words for screen readers at each quarter.

import { el } from "./dom";
import { bytes } from "./format";

/** Figures are rewritten at most this often, in milliseconds. */
const REDRAW = 80;

export class Progress {
  readonly element: HTMLElement;
  readonly #bar: HTMLProgressElement;
  readonly #figures = el("span", { class: "progress-figures" });
  readonly #spoken = el("span", { class: "visually-hidden", role: "status" });
  #started = 0;
  #from = 0;
  #drawn = 0;
  #quarter = 0;

  constructor(private readonly label: string) {
    this.#bar = el("progress", { max: 1, "aria-label": label });
    this.element = el("div", { class: "progress" }, this.#bar, this.#figures, this.#spoken);
  }

  /** Starts the clock. `from` bytes are there already and do not count for the rate. */
  start(from = 0): void {
    this.#started = performance.now();
    this.#from = from;
    this.#drawn = 0;
    this.#quarter = 0;
    this.#bar.removeAttribute("value");
    this.#figures.textContent = "Waiting for the server…";
    this.#spoken.textContent = `${this.label} started`;
  }

  /** Shows `done` of `total` bytes. */
  update(done: number, total: number): void {
    const now = performance.now();
    if (done < total && now - this.#drawn < REDRAW) return;
    this.#drawn = now;
    const fraction = total === 0 ? 1 : done / total;
    const seconds = (now - this.#started) / 1000;
    const rate = seconds > 0.05 ? ` · ${bytes((done - this.#from) / seconds)}/s` : "";
    this.#bar.value = fraction;
    this.#figures.textContent = `${bytes(done)} of ${bytes(total)} · ${Math.floor(fraction * 100)} %${rate}`;
    const quarter = Math.floor(fraction * 4);
    if (quarter > this.#quarter) {
      this.#quarter = quarter;
      this.#spoken.textContent = `${this.label}: ${quarter * 25} percent`;
    }
  }

  /** Ends with words in place of the figures; the bar stays where it is, or vanishes when all is well. */
  end(words: string, state: "done" | "stopped"): void {
    this.#bar.hidden = state === "done";
    if (!this.#bar.hasAttribute("value")) this.#bar.value = 0;
    this.#figures.textContent = words;
    this.#spoken.textContent = words;
  }

  /** Undoes `end`. */
  resume(): void {
    this.#bar.hidden = false;
  }
}
