// One image, streamed in over gRPC-Web before one's eyes, checked, then shown.

import { client, newRequestId, QUICK } from "../client";
import type { Image } from "../gen/wirephoto/v1/image_service_pb";
import { Receiver, type Verdict } from "../receiver";
import { isDrawn } from "./card";
import { confirm } from "./confirm";
import { details, takeAlong } from "./details";
import { button, el } from "./dom";
import { bytes, title, typeName } from "./format";
import { Frame } from "./frame";
import { alertBox, problem } from "./problem";
import { Progress } from "./progress";

const VERDICTS: Record<Exclude<Verdict, "differs">, string> = {
  verified: "SHA-256 verified",
  insecure: "SHA-256 not checked: browsers do that only over https or on localhost",
  "too large": "SHA-256 not checked: the image is too large for the browser to do it",
};

const DIFFERS =
  "The bytes received do not have the SHA-256 that the server gave. " +
  "Open the image again; if this stays, what the server keeps is damaged.";

export class Viewer {
  readonly element = el("section", { class: "viewer", "aria-label": "Image" });
  readonly #heading = el("h1", { tabindex: -1 });
  readonly #frame = new Frame();
  readonly #mat = el("div", { class: "mat" });
  readonly #progress = new Progress("Download");
  readonly #actions = el("div", { class: "actions" });
  readonly #alert = el("div");
  readonly #take = el("div", { class: "take" });
  readonly #about = el("div", { class: "about" });
  #receiver = new Receiver("");
  #stop = new AbortController();
  #url: string | undefined;
  /** Version that the page describes now. */
  #described: string | undefined;

  constructor(private readonly onDeleted: (name: string) => void) {
    const back = el("a", { class: "back", href: "#/" }, "← All images");
    const status = el("div", { class: "stage-foot" }, this.#progress.element, this.#actions);
    const stage = el("div", { class: "stage" }, this.#alert, this.#mat, status, this.#take);
    this.#mat.append(this.#frame.element);
    this.element.append(back, this.#heading, el("div", { class: "viewer-body" }, stage, this.#about));
  }

  /** Name of the image that is open, or was last. */
  get name(): string {
    return this.#receiver.name;
  }

  open(name: string): void {
    this.close();
    this.#receiver = new Receiver(name);
    this.#heading.textContent = name;
    this.#described = undefined;
    this.#about.replaceChildren();
    this.#take.replaceChildren();
    this.#heading.focus();
    void this.#receive();
  }

  /** Stops what is running and lets go of the bytes. */
  close(): void {
    this.#stop.abort();
    this.#frame.clear();
    if (this.#url !== undefined) URL.revokeObjectURL(this.#url);
    this.#url = undefined;
    this.#receiver = new Receiver(this.name);
  }

  async #receive(): Promise<void> {
    this.#stop.abort();
    const stop = new AbortController();
    this.#stop = stop;
    const receiver = this.#receiver;
    this.#alert.replaceChildren();
    this.#mat.hidden = false;
    this.#actions.replaceChildren(button("Stop", "quiet", () => stop.abort()));
    this.#progress.resume();
    this.#progress.start(receiver.received);
    try {
      await receiver.receive(stop.signal, () => {
        if (!stop.signal.aborted) this.#advance(receiver);
      });
      this.#actions.replaceChildren();
      this.#progress.end("Checking the digest…", "done");
      const verdict = await receiver.verify();
      if (!stop.signal.aborted) this.#finish(receiver, verdict);
    } catch (error) {
      if (this.#receiver === receiver) this.#halt(receiver, stop.signal.aborted ? undefined : error);
    }
  }

  #advance(receiver: Receiver): void {
    const { image, received, total } = receiver;
    if (image === undefined) return;
    if (this.#described !== image.etag) this.#describe(image);
    this.#progress.update(received, total);
    this.#frame.fill(total === 0 ? 1 : received / total);
  }

  #describe(image: Image): void {
    this.#described = image.etag;
    this.#heading.textContent = title(image);
    document.title = `${title(image)} – Wirephoto`;
    this.#frame.expect(image);
    this.#about.replaceChildren(
      el("h2", {}, "About"),
      details(image),
      button("Delete this image", "danger", () => void this.#delete(image)),
    );
    this.#take.replaceChildren(el("h2", {}, "Take it along"), ...takeAlong(image));
  }

  #finish(receiver: Receiver, verdict: Verdict): void {
    const { image, total } = receiver;
    if (image === undefined) return;
    if (verdict === "differs") {
      this.#progress.end(`${bytes(total)} received, and they are not the image's`, "stopped");
      this.#alert.replaceChildren(alertBox(el("p", {}, DIFFERS)));
      this.#actions.replaceChildren();
      return;
    }
    this.#progress.end(`${bytes(total)} received · ${VERDICTS[verdict]}`, "done");
    const drawn = isDrawn(image.mediaType);
    // What is not drawn gets a type that no browser renders, however the link is opened.
    this.#url = URL.createObjectURL(receiver.blob(drawn ? image.mediaType : "application/octet-stream"));
    if (drawn) this.#frame.show(this.#url, title(image));
    else this.#frame.explain(notDrawn(image));
    const save = el("a", { class: "button primary", href: this.#url, download: title(image) }, "Save");
    this.#actions.replaceChildren(save);
  }

  /** The stream ended early: by the person (no error) or by itself. */
  #halt(receiver: Receiver, error: unknown): void {
    const { received, total } = receiver;
    this.#mat.hidden = total === 0;
    this.#progress.end(
      total === 0 ? "Nothing received" : `Stopped at ${bytes(received)} of ${bytes(total)}`,
      "stopped",
    );
    this.#alert.replaceChildren(...(error === undefined ? [] : [problem(error)]));
    const label = received > 0 ? "Continue" : "Try again";
    this.#actions.replaceChildren(button(label, "primary", () => void this.#receive()));
  }

  async #delete(image: Image): Promise<void> {
    const sure = await confirm(`Delete ${title(image)}?`, "It is gone for everyone, at once and for good.", "Delete");
    if (!sure) return;
    try {
      await client.deleteImage({ name: image.name, etag: image.etag, requestId: newRequestId() }, { timeoutMs: QUICK });
      this.onDeleted(image.name);
    } catch (error) {
      if (this.name === image.name) this.#alert.replaceChildren(problem(error));
    }
  }
}

function notDrawn(image: Image): string {
  return image.mediaType === "image/svg+xml"
    ? "An SVG can carry a program, so it is not drawn here. Save it to look at it."
    : `Browsers do not draw ${typeName(image.mediaType)}. Save it to look at it.`;
}
