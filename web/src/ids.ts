// Image ids: from file names, from resource names, and the next one when one is taken.

const MAX_LENGTH = 128;

/** What an id is, for an input and for people. */
export const ID = {
  pattern: String.raw`(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._\-]{0,${MAX_LENGTH - 1}}`,
  words: `Letters, digits and . _ - without two dots in a row, a letter or digit first, ${MAX_LENGTH} at most`,
};

/** Longest ending that is kept when a name is cut. */
const MAX_ENDING = 16;

/**
 * The id for a file, made as `wirephoto put` makes it: `My Photo (2).jpg` is `my-photo-2.jpg`.
 *
 * A name of which nothing would be left, such as `写真.jpg`, becomes `image-` with a checksum of it.
 */
export function idForFile(fileName: string): string {
  const dot = fileName.lastIndexOf(".");
  const [stem, ending] = dot > 0 ? [fileName.slice(0, dot), slug(fileName.slice(dot + 1))] : [fileName, ""];
  const checksum = () => `image-${crc32c(new TextEncoder().encode(fileName)).toString(16).padStart(8, "0")}`;
  const id = (slug(stem) || checksum()).slice(0, MAX_LENGTH - MAX_ENDING - 1).replace(/[-._]+$/, "");
  return ending === "" ? id : `${id}.${ending.slice(0, MAX_ENDING)}`;
}

/** The id after this one: `photo.jpg`, `photo-2.jpg`, `photo-3.jpg`. */
export function nextId(id: string): string {
  const [, stem = id, ending = ""] = /^(.+)(\.[A-Za-z0-9]{1,16})$/.exec(id) ?? [];
  const [, base = stem, number = "1"] = /^(.+)-(\d{1,6})$/.exec(stem) ?? [];
  const suffix = `-${Number(number) + 1}${ending}`;
  return base.slice(0, MAX_LENGTH - suffix.length) + suffix;
}

/** The id in the resource name `images/{id}`. */
export function idOf(name: string): string {
  return name.replace(/^images\//, "");
}

/** Lower-case ASCII letters, digits and `_`, with runs of anything else as one `-`, or as one `.` if it has a dot. */
function slug(text: string): string {
  const lower = text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  const joined = lower.replace(/[^a-z0-9_]+/g, (run) => (run.includes(".") ? "." : "-"));
  return joined.replace(/^[-._]+|[-._]+$/g, "");
}

/** CRC-32C (Castagnoli), bit by bit: names are short. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}
