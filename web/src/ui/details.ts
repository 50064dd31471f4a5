// All that is known of an image, and ways to take it along.

import type { Image } from "../gen/wirephoto/v1/image_service_pb";
import { idOf } from "../ids";
import { copyable } from "./copy";
import { el } from "./dom";
import { bytes, dimensions, grouped, moment, typeName } from "./format";

/** EXIF orientations, 1 to 8, as what the stored pixels are. */
const ORIENTATIONS = [
  "upright",
  "mirrored",
  "turned 180°",
  "flipped",
  "transposed",
  "turned 90°",
  "transversed",
  "turned 270°",
];

/** The server a `wirephoto` command talks to when it is told of none. */
const DEFAULT_SERVER = "http://127.0.0.1:8080";

export function details(image: Image): HTMLElement {
  const size = Number(image.sizeBytes);
  const rows: [field: string, label: string, value: string][] = [
    ["name", "Name", image.name],
    ["media_type", "Type", `${typeName(image.mediaType)} (${image.mediaType})`],
    ["dimensions", "Dimensions", `${dimensions(image)} pixels`],
    ["size_bytes", "Size", size < 1000 ? bytes(size) : `${bytes(size)} (${grouped(size)} bytes)`],
    ["frame_count", "Frames", grouped(image.frameCount)],
    ["has_alpha", "Transparency", image.hasAlpha ? "yes" : "no"],
    ["orientation", "Orientation", ORIENTATIONS[image.orientation - 1] ?? "upright"],
    ["create_time", "Created", moment(image.createTime)],
    ["update_time", "Updated", moment(image.updateTime)],
    ["generation", "Generation", image.generation.toString()],
    ["etag", "Version", image.etag],
    ["crc32c", "CRC-32C", image.crc32c.toString(16).padStart(8, "0")],
    ["sha256", "SHA-256", image.sha256],
    ...Object.entries(image.labels).map(([key, value]): [string, string, string] => [
      `labels.${key}`,
      `Label ${key}`,
      value,
    ]),
  ];
  const list = el("dl", { class: "facts" });
  for (const [field, label, value] of rows) {
    list.append(el("div", {}, el("dt", {}, label), el("dd", { "data-field": field }, value)));
  }
  return list;
}

export function takeAlong(image: Image): HTMLElement[] {
  const id = idOf(image.name);
  const bytesAt = `${location.origin}/i/${id}`;
  const server = location.origin === DEFAULT_SERVER ? "" : ` --server ${location.origin}`;
  return [
    copyable("This page", `${location.origin}/#/${image.name}`),
    copyable("Bytes", bytesAt),
    copyable("curl", `curl -fo ${id} ${bytesAt}`),
    copyable("wirephoto", `wirephoto get ${id}${server}`),
  ];
}
