// The place of a picture: it has the picture's shape before the picture is there, and fills as the bytes come in.

import type { Image } from "../gen/wirephoto/v1/image_service_pb";
import { el } from "./dom";

export class Frame {
  readonly element = el("div", { class: "frame" });
  readonly #scan = el("div", { class: "scan", "aria-hidden": "true" });

  /** An empty frame of the image's shape. */
  expect(image: Image): void {
    if (image.width > 0 && image.height > 0) {
      this.element.style.setProperty("--width", String(image.width));
      this.element.style.setProperty("--height", String(image.height));
    }
    this.element.classList.toggle("alpha", image.hasAlpha);
    this.element.replaceChildren(this.#scan);
  }

  /** Fills the frame from the top, as a drum scanner did. */
  fill(fraction: number): void {
    this.#scan.style.setProperty("--fraction", String(fraction));
  }

  show(url: string, alt: string): void {
    const img = el("img", { src: url, alt, decoding: "async" });
    img.addEventListener("error", () => this.explain("This browser cannot draw the image. Save it to look at it."));
    img.addEventListener("load", () => this.#scan.remove());
    this.element.append(img);
  }

  explain(words: string): void {
    this.element.replaceChildren(el("p", { class: "muted" }, words));
  }

  clear(): void {
    this.element.replaceChildren();
    this.fill(0);
    this.element.classList.remove("alpha");
    this.element.style.removeProperty("--width");
    this.element.style.removeProperty("--height");
  }
}
