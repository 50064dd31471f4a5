// One way to make a call: a form, the lines for a shell, a button, and the answer below it.

import { copyable } from "../ui/copy";
import { button, el } from "../ui/dom";
import { Output } from "./output";

export interface Way {
  label: string;
  /** What is filled in. */
  fields: Node[];
  /** The lines for a shell, as the form is filled in now. */
  commands: () => [label: string, line: string][];
  /** Makes the call; undefined where browsers cannot. */
  call?: (output: Output, signal: AbortSignal) => Promise<void>;
}

export function wayElement({ label, fields, commands, call }: Way): HTMLElement {
  const output = new Output();
  const lines = el("div", { class: "take" });
  const refresh = () => lines.replaceChildren(...commands().map(([name, line]) => copyable(name, line)));
  let running: AbortController | undefined;
  const run = async () => {
    running?.abort();
    const mine = new AbortController();
    running = mine;
    stop.hidden = false;
    output.begin();
    try {
      await call?.(output, mine.signal);
    } catch (error) {
      output.fail(error);
    }
    if (running === mine) stop.hidden = true;
    output.end();
  };
  const stop = button("Stop", "quiet", () => running?.abort());
  stop.hidden = true;
  const actions = el("div", { class: "actions" });
  if (call === undefined) {
    actions.append(el("p", { class: "muted" }, "Browsers cannot stream requests: call it from a shell."));
  } else {
    actions.append(
      button("Call", "primary", () => void run()),
      stop,
    );
  }
  const form = el("div", { class: "way-form" }, ...fields);
  form.addEventListener("input", refresh);
  refresh();
  return el(
    "details",
    { class: "way", "data-way": label },
    el("summary", {}, label),
    form,
    actions,
    output.element,
    lines,
  );
}
