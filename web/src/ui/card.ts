// One image in the list: its picture if it is light enough, else what it is in words.

import type { Image } from "../gen/wirephoto/v1/image_service_pb";
import { idOf } from "../ids";
import { el } from "./dom";
import { ago, bytes, dimensions, moment, title, typeName } from "./format";

/** The list shows images themselves up to this many bytes; heavier ones wait until they are opened. */
const THUMBNAIL_LIMIT = 2_000_000;

/** Types that every browser of today draws. SVG is left out on purpose: it is a program as much as a picture. */
const DRAWN = new Set(["image/jpeg", "image/png", "image/gif", "image/webp", "image/avif", "image/bmp"]);

export function isDrawn(mediaType: string): boolean {
  return DRAWN.has(mediaType);
}

export function card(image: Image): HTMLLIElement {
  const caption = el(
    "span",
    { class: "card-caption" },
    el("span", { class: "card-title" }, title(image)),
    facts(image),
  );
  const link = el("a", { class: "card", href: `#/${image.name}` }, picture(image), caption);
  return el("li", { "data-name": image.name }, link);
}

function facts(image: Image): HTMLElement {
  const line = el("span", { class: "card-facts" }, `${typeName(image.mediaType)} · ${dimensions(image)} · `);
  line.append(bytes(Number(image.sizeBytes)));
  if (image.createTime !== undefined) {
    line.append(el("span", { class: "card-time", title: moment(image.createTime) }, ago(image.createTime)));
  }
  return line;
}

function picture(image: Image): HTMLElement {
  const frame = el("span", { class: "card-picture" });
  if (image.sizeBytes >= THUMBNAIL_LIMIT || !isDrawn(image.mediaType)) {
    frame.append(placeholder(image));
    return frame;
  }
  const src = `/i/${idOf(image.name)}?generation=${image.generation}`;
  const img = el("img", { src, alt: "", loading: "lazy", decoding: "async" });
  img.addEventListener("error", () => img.replaceWith(placeholder(image)));
  frame.append(img);
  return frame;
}

function placeholder(image: Image): HTMLElement {
  return el(
    "span",
    { class: "card-placeholder", "aria-hidden": "true" },
    el("strong", {}, typeName(image.mediaType)),
    el("span", {}, bytes(Number(image.sizeBytes))),
  );
}
