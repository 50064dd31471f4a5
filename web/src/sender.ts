// Sends a file: a small one in a single gRPC-Web message, a large one as bytes over HTTP, which browsers can stream.

import { client, newRequestId, QUICK, sha256 } from "./client";
import { Refusal } from "./errors";
import type { Image } from "./gen/wirephoto/v1/image_service_pb";

/** Files up to this many bytes go inside one CreateImage; the server takes 4 MiB there. */
const INLINE_LIMIT = 3 * 1024 * 1024;

/** One file under one id. Sending it again after a lost answer is safe. */
export class Sender {
  readonly #requestId = newRequestId();

  constructor(
    readonly file: File,
    readonly id: string,
  ) {}

  /** Resolves to the image once the server keeps it; never replaces another. `onProgress` is told the bytes sent. */
  async send(signal: AbortSignal, onProgress: (sent: number) => void): Promise<Image> {
    return this.file.size <= INLINE_LIMIT
      ? await this.#inline(signal, onProgress)
      : await this.#streamed(signal, onProgress);
  }

  // The type that a browser guesses from a file's extension is no claim worth making: the server looks at the bytes.
  async #inline(signal: AbortSignal, onProgress: (sent: number) => void): Promise<Image> {
    const bytes = await this.file.arrayBuffer();
    const digest = await sha256(bytes);
    const { image } = await client.createImage(
      {
        imageId: this.id,
        image: { displayName: this.file.name },
        content: new Uint8Array(bytes),
        checksums: digest === undefined ? {} : { sha256: digest },
        requestId: this.#requestId,
      },
      { signal },
    );
    if (image === undefined) throw new Error("The server kept the image and did not describe it.");
    onProgress(bytes.byteLength);
    return image;
  }

  async #streamed(signal: AbortSignal, onProgress: (sent: number) => void): Promise<Image> {
    await this.#put(signal, onProgress);
    // From here on the image is kept: nothing is left to stop.
    const { image } = await client.getImage({ name: `images/${this.id}` }, { timeoutMs: QUICK });
    if (image === undefined) throw new Error("The server kept the image and did not describe it.");
    return image;
  }

  // XMLHttpRequest, because fetch tells nothing of an upload's progress.
  #put(signal: AbortSignal, onProgress: (sent: number) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const request = new XMLHttpRequest();
      const abort = () => request.abort();
      signal.addEventListener("abort", abort);
      request.upload.onprogress = (event) => onProgress(event.loaded);
      request.onload = () => (request.status < 300 ? resolve() : reject(refusal(request)));
      request.onerror = () => reject(new Refusal(0, "The connection broke before the server answered."));
      request.onabort = () => reject(signal.reason);
      request.onloadend = () => signal.removeEventListener("abort", abort);
      request.open("PUT", `/i/${encodeURIComponent(this.id)}`);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.setRequestHeader("Content-Disposition", `attachment; filename*=UTF-8''${extended(this.file.name)}`);
      request.setRequestHeader("If-None-Match", "*");
      request.setRequestHeader("Idempotency-Key", this.#requestId);
      request.send(this.file);
    });
  }
}

/** Text as the value of a header parameter (RFC 8187). */
function extended(text: string): string {
  return encodeURIComponent(text).replace(/['()*]/g, (each) => `%${each.charCodeAt(0).toString(16)}`);
}

/** The words of an `application/problem+json` answer (RFC 9457), or as much as can be said without one. */
function refusal(request: XMLHttpRequest): Refusal {
  const fallback = `The server answered ${request.status} ${request.statusText}`.trimEnd() + ".";
  try {
    const problem: unknown = JSON.parse(request.responseText);
    if (typeof problem === "object" && problem !== null) {
      if ("detail" in problem && typeof problem.detail === "string") return new Refusal(request.status, problem.detail);
      if ("title" in problem && typeof problem.title === "string") return new Refusal(request.status, problem.title);
    }
  } catch {
    // Not JSON: something between the server and us answered.
  }
  return new Refusal(request.status, fallback);
}
