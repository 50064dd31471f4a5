// An error, said aloud: the message, its points, and what can be done.

import { inWords } from "../errors";
import { el } from "./dom";

export function problem(error: unknown, ...actions: Node[]): HTMLElement {
  const { message, points } = inWords(error);
  const element = el("div", { class: "alert", role: "alert" }, el("p", {}, message));
  if (points.length > 0) element.append(el("ul", {}, ...points.map((point) => el("li", {}, point))));
  if (actions.length > 0) element.append(el("div", { class: "actions" }, ...actions));
  return element;
}
