// Image ids: from file names, from resource names, and the next one when one is taken.

const MAX_LENGTH = 128;

/** The id for a file, made as `wirephoto put` makes it: `My Photo (2).jpg` is `my-photo-2.jpg`. */
export function idForFile(fileName: string): string {
  const id = fileName
    .toLowerCase()
    .replace(/[^a-z0-9._]+/g, "-")
    .replace(/-*\.[-.]*/g, ".")
    .replace(/^[^a-z0-9]+|[^a-z0-9]+$/g, "");
  return id === "" ? "image" : shorten(id, "");
}

/** The id after this one: `photo.jpg`, `photo-2.jpg`, `photo-3.jpg`. */
export function nextId(id: string): string {
  const [stem, extension] = split(id);
  const counted = /^(.*)-(\d{1,6})$/.exec(stem);
  const [base, number] = counted ? [counted[1] ?? stem, Number(counted[2]) + 1] : [stem, 2];
  return shorten(`${base}${extension}`, `-${number}`);
}

/** The id in the resource name `images/{id}`. */
export function idOf(name: string): string {
  return name.replace(/^images\//, "");
}

/** Puts `suffix` before the extension, and cuts what stands before it so that the whole fits. */
function shorten(id: string, suffix: string): string {
  const [stem, extension] = split(id);
  return stem.slice(0, MAX_LENGTH - extension.length - suffix.length) + suffix + extension;
}

function split(id: string): [stem: string, extension: string] {
  const match = /^(.+)(\.[a-z0-9]{1,8})$/i.exec(id);
  return match ? [match[1] ?? id, match[2] ?? ""] : [id, ""];
}
