// Receives one image's bytes over gRPC-Web's DownloadImage; stopped, it goes on from where it stood.

import { client, sha256 } from "./client";
import type { Image } from "./gen/wirephoto/v1/image_service_pb";

/** Bytes gathered before they are handed to the browser as a Blob, which need not stay in the page's memory. */
const SEAL_AT = 8 * 1024 * 1024;

/** Largest image whose digest is computed: the browser wants all bytes in one buffer for it. */
const DIGEST_LIMIT = 1024 * 1024 * 1024;

/** What came of comparing the bytes with the digest the server gave. */
export type Verdict = "verified" | "differs" | "insecure" | "too large";

export class Receiver {
  /** What the server said of the image; set once the first message is here. */
  image: Image | undefined;
  /** Bytes received. */
  received = 0;
  /** Bytes there are; 0 until the first message. */
  total = 0;

  #sealed: Blob[] = [];
  #open: Uint8Array<ArrayBuffer>[] = [];
  #openSize = 0;

  constructor(readonly name: string) {}

  get complete(): boolean {
    return this.image !== undefined && this.received === this.total;
  }

  /** Receives the bytes that are missing; `onProgress` is called for each message. */
  async receive(signal: AbortSignal, onProgress: () => void): Promise<void> {
    while (!this.complete) {
      if (await this.#stream(signal, onProgress)) return;
      this.#forget();
    }
  }

  /** The bytes. `type` is what the browser shall take them for. */
  blob(type: string): Blob {
    return new Blob([...this.#sealed, ...this.#open], { type });
  }

  async verify(): Promise<Verdict> {
    if (this.total > DIGEST_LIMIT) return "too large";
    const digest = await sha256(await this.blob("").arrayBuffer());
    if (digest === undefined) return "insecure";
    return digest === this.image?.sha256 ? "verified" : "differs";
  }

  /** False when the bytes we hold are of an image that was replaced since. */
  async #stream(signal: AbortSignal, onProgress: () => void): Promise<boolean> {
    const held = this.image;
    for await (const message of client.downloadImage(
      { name: this.name, readOffset: BigInt(this.received) },
      { signal },
    )) {
      if (message.image !== undefined) {
        if (held !== undefined && held.generation !== message.image.generation) return false;
        this.image = message.image;
        this.total = Number(message.image.sizeBytes);
      }
      if (message.chunk !== undefined) this.#take(message.chunk.data);
      onProgress();
    }
    if (!this.complete) throw new Error(`The stream ended after ${this.received} of ${this.total} bytes.`);
    return true;
  }

  #take(data: Uint8Array): void {
    // Bytes off the network never lie in shared memory, which is all that this type leaves open.
    this.#open.push(data as Uint8Array<ArrayBuffer>);
    this.#openSize += data.byteLength;
    this.received += data.byteLength;
    if (this.#openSize >= SEAL_AT) {
      this.#sealed.push(new Blob(this.#open));
      this.#open = [];
      this.#openSize = 0;
    }
  }

  #forget(): void {
    this.image = undefined;
    this.received = 0;
    this.total = 0;
    this.#sealed = [];
    this.#open = [];
    this.#openSize = 0;
  }
}
