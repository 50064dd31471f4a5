// An error, said aloud: the message, its points, and what can be done.

import { inWords } from "../errors";
import { el } from "./dom";

export function problem(error: unknown, ...actions: Node[]): HTMLElement {
  const { message, points } = inWords(error);
  const said: Node[] = [el("p", {}, message)];
  if (points.length > 0) said.push(el("ul", {}, ...points.map((point) => el("li", {}, point))));
  return alertBox(...said, ...(actions.length > 0 ? [el("div", { class: "actions" }, ...actions)] : []));
}

export function alertBox(...children: Node[]): HTMLElement {
  return el("div", { class: "alert", role: "alert" }, ...children);
}
