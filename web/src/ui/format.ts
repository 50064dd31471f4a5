// Figures and dates as people read them.

import { timestampDate, type Timestamp } from "@bufbuild/protobuf/wkt";

import type { Image } from "../gen/wirephoto/v1/image_service_pb";

/** A space that no line breaks at. */
const SPACE = "\u00a0";

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

/** `61 bytes`, `4.2 MB`: powers of 1000. */
export function bytes(count: number): string {
  let unit = 0;
  let value = count;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.95 ? value.toFixed(0) : value.toFixed(1)}${SPACE}${UNITS[unit]}`;
}

/** `1,234,567`. */
export function grouped(count: number | bigint): string {
  return count.toLocaleString("en");
}

/** `JPEG` for `image/jpeg`. */
export function typeName(mediaType: string): string {
  return mediaType
    .replace(/^image\//, "")
    .replace(/\+xml$/, "")
    .toUpperCase();
}

export function dimensions(image: Image): string {
  return `${image.width}${SPACE}×${SPACE}${image.height}`;
}

/** The name people gave the image, or its id. */
export function title(image: Image): string {
  return image.displayName || image.name.replace(/^images\//, "");
}

const MOMENT = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat("en", { dateStyle: "medium" });
const AGO = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

export function moment(time: Timestamp | undefined): string {
  return time === undefined ? "unknown" : MOMENT.format(timestampDate(time));
}

/** `5 minutes ago`, or the date once a week has passed. */
export function ago(time: Timestamp): string {
  const seconds = (timestampDate(time).getTime() - Date.now()) / 1000;
  if (seconds > -45) return "just now";
  if (seconds > -3600) return AGO.format(Math.round(seconds / 60), "minute");
  if (seconds > -86_400) return AGO.format(Math.round(seconds / 3600), "hour");
  if (seconds > -7 * 86_400) return AGO.format(Math.round(seconds / 86_400), "day");
  return DAY.format(timestampDate(time));
}
