// Calls a JSON or byte route by fetch, and shows the answer as it comes.

import { bytes as size } from "../ui/format";
import { el } from "../ui/dom";
import type { Output } from "./output";

export interface Call {
  method: string;
  path: string;
  headers: [string, string][];
  body: BodyInit | undefined;
}

export async function callHttp(call: Call, output: Output, signal: AbortSignal): Promise<void> {
  const init: RequestInit = { method: call.method, headers: call.headers, signal };
  if (call.body !== undefined) init.body = call.body;
  const answer = await fetch(call.path, init);
  output.head(`${answer.status} ${answer.statusText}`.trim());
  output.text([...answer.headers].map(([name, value]) => `${name}: ${value}\n`).join("") + "\n");
  const type = answer.headers.get("content-type") ?? "";
  if (answer.ok && type.startsWith("image/")) {
    const blob = await answer.blob();
    output.text(size(blob.size));
    // An SVG is a program as much as a picture.
    if (!type.includes("svg")) output.show(picture(blob));
    return;
  }
  await readText(answer, output);
}

function picture(blob: Blob): HTMLElement {
  const url = URL.createObjectURL(blob);
  const img = el("img", { src: url, alt: "The image that was got" });
  img.addEventListener("load", () => URL.revokeObjectURL(url));
  img.addEventListener("error", () => img.replaceWith(el("p", { class: "muted" }, "This browser cannot draw it.")));
  return img;
}

async function readText(answer: Response, output: Output): Promise<void> {
  const reader = answer.body?.getReader();
  const decoder = new TextDecoder();
  while (reader !== undefined) {
    const { done, value } = await reader.read();
    if (done) break;
    output.text(decoder.decode(value, { stream: true }));
  }
  output.text(decoder.decode());
}
