// Takes files: dropped anywhere on the page, chosen, or pasted. One goes at a time.

import type { Image } from "../gen/wirephoto/v1/image_service_pb";
import { button, el } from "./dom";
import { UploadRow } from "./upload-row";

export class Upload {
  readonly element: HTMLElement;
  readonly #rows = el("ul", { class: "upload-rows", "aria-label": "Uploads" });
  readonly #input = el("input", { type: "file", accept: "image/*", multiple: true, hidden: true });
  #queue: Promise<void> = Promise.resolve();

  constructor(private readonly onStored: (image: Image) => void) {
    const choose = button("Choose an image", "primary", () => this.#input.click());
    const hint = el("p", { class: "muted" }, "or drop it anywhere on this page, or paste it");
    this.element = el(
      "section",
      { class: "upload", "aria-label": "Upload" },
      el("div", { class: "drop" }, choose, hint, this.#input),
      this.#rows,
    );
    this.#input.addEventListener("change", () => {
      this.#take(this.#input.files);
      this.#input.value = "";
    });
    this.#listen();
  }

  #listen(): void {
    document.addEventListener("dragover", (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      document.body.classList.add("dragging");
    });
    document.addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) document.body.classList.remove("dragging");
    });
    document.addEventListener("drop", (event) => {
      document.body.classList.remove("dragging");
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      this.#take(event.dataTransfer.files);
    });
    document.addEventListener("paste", (event) => this.#take(event.clipboardData?.files));
  }

  #take(files: FileList | null | undefined): void {
    if (!files?.length) return;
    if (location.hash.startsWith("#/images/")) location.hash = "#/";
    for (const file of files) {
      const row = new UploadRow(file, this.onStored);
      this.#rows.append(row.element);
      this.#queue = this.#queue.then(() => row.send());
    }
  }
}
