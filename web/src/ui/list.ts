// The images there are, page by page.

import { client, QUICK } from "../client";
import type { Image } from "../gen/wirephoto/v1/image_service_pb";
import { card } from "./card";
import { copyable } from "./copy";
import { button, el } from "./dom";
import { problem } from "./problem";

const PAGE = 24;

const ORDERS = [
  ["create_time desc", "Newest first"],
  ["create_time", "Oldest first"],
  ["name", "By name"],
  ["size_bytes desc", "Largest first"],
] as const;

export class List {
  readonly element: HTMLElement;
  readonly #grid = el("ul", { class: "grid" });
  readonly #foot = el("div", { class: "list-foot" });
  readonly #count = el("span", { class: "count", role: "status" });
  readonly #order = el("select", { "aria-label": "Order" });
  readonly #cards = new Map<string, HTMLLIElement>();
  #nextPage = "";
  #loading: AbortController | undefined;

  constructor() {
    for (const [value, label] of ORDERS) this.#order.append(el("option", { value }, label));
    this.#order.addEventListener("change", () => void this.reload());
    const heading = el("h1", {}, "Images");
    const bar = el("div", { class: "list-bar" }, heading, this.#count, this.#order);
    this.element = el("section", { class: "list", "aria-label": "Images" }, bar, this.#grid, this.#foot);
  }

  /** Begins again at the first page. */
  async reload(): Promise<void> {
    this.#cards.clear();
    this.#grid.replaceChildren();
    this.#count.textContent = "";
    await this.#load("");
  }

  /** Puts an image that has just come to be in front, whatever the order: it is what one looks for. */
  add(image: Image): void {
    this.remove(image.name);
    const item = card(image);
    item.classList.add("fresh");
    this.#cards.set(image.name, item);
    this.#grid.prepend(item);
    this.#tell();
  }

  remove(name: string): void {
    this.#cards.get(name)?.remove();
    this.#cards.delete(name);
    this.#tell();
  }

  /** Brings the focus back to the image one comes from; false when it is not in the list. */
  focus(name: string): boolean {
    const link = this.#cards.get(name)?.querySelector("a");
    link?.focus();
    return link != null;
  }

  async #load(pageToken: string): Promise<void> {
    this.#loading?.abort();
    const loading = new AbortController();
    this.#loading = loading;
    this.element.setAttribute("aria-busy", "true");
    this.#foot.replaceChildren(el("p", { class: "muted" }, "Loading…"));
    try {
      const page = await client.listImages(
        { pageSize: PAGE, pageToken, orderBy: this.#order.value },
        { signal: loading.signal, timeoutMs: QUICK },
      );
      if (loading.signal.aborted) return;
      this.#nextPage = page.nextPageToken;
      this.#append(page.images, pageToken !== "");
      this.#tell();
    } catch (error) {
      if (loading.signal.aborted) return;
      this.#foot.replaceChildren(
        problem(
          error,
          button("Try again", "quiet", () => void this.#load(pageToken)),
        ),
      );
    }
    this.element.removeAttribute("aria-busy");
  }

  #append(images: Image[], moveFocus: boolean): void {
    const fresh = images.filter(({ name }) => !this.#cards.has(name));
    for (const image of fresh) {
      const item = card(image);
      this.#cards.set(image.name, item);
      this.#grid.append(item);
    }
    const first = fresh[0];
    if (moveFocus && first !== undefined) this.focus(first.name);
  }

  #tell(): void {
    const count = this.#cards.size;
    const more = this.#nextPage !== "";
    this.#count.textContent = count === 0 ? "" : `${count}${more ? " shown, more to come" : ""}`;
    if (more) {
      this.#foot.replaceChildren(button("Show more", "quiet", () => void this.#load(this.#nextPage)));
    } else {
      this.#foot.replaceChildren(...(count === 0 ? [empty()] : []));
    }
  }
}

function empty(): HTMLElement {
  return el(
    "div",
    { class: "empty" },
    el("p", {}, "Nothing here yet. Drop an image above, or send one from a terminal:"),
    copyable("curl", `curl -T photo.jpg ${location.origin}/i/photo.jpg`),
  );
}
