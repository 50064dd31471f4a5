// Asks before something that cannot be undone.

import { button, el } from "./dom";

/** Resolves to whether the answer was yes. Escape, and what the focus starts on, is no. */
export function confirm(question: string, explanation: string, yes: string): Promise<boolean> {
  return new Promise((resolve) => {
    const heading = el("h2", { id: "confirm-question" }, question);
    const no = button("Keep it", "quiet", () => dialog.close("no"));
    const go = button(yes, "danger", () => dialog.close("yes"));
    const dialog = el(
      "dialog",
      { class: "confirm", "aria-labelledby": "confirm-question" },
      heading,
      el("p", {}, explanation),
      el("div", { class: "actions" }, no, go),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    addEventListener("hashchange", () => dialog.close("no"), { once: true });
    document.body.append(dialog);
    dialog.showModal();
    no.focus();
  });
}
